//! Which releases of a bundle are to serve and to be tried: a decision from what is there alone.

use std::collections::{BTreeMap, BTreeSet};

use wharf_core::Digest;

/// A release: its number, and what it is made of.
pub(super) type Numbered = (u64, Digest);

/// What is there.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    /// The release that somebody ordered, and else the one that the settings name.
    pub(super) told: Option<u64>,
    /// The one in force.
    pub(super) current: Option<Numbered>,
    /// The one that was in force last, maybe before a restart.
    pub(super) promoted: Option<u64>,
    /// Every release whose folder is there.
    pub(super) present: BTreeSet<u64>,
    /// Those that can be read and did not fail to load.
    pub(super) fit: BTreeMap<u64, Digest>,
    /// Those of them that were rolled back.
    pub(super) rejected: BTreeSet<u64>,
    /// Those that are being written.
    pub(super) held: BTreeSet<u64>,
}

/// What is to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// The release that is to serve; none where it is not known, or there is none.
    pub(super) serve: Option<Numbered>,
    /// The one that is to be on trial beside it.
    pub(super) trial: Option<Numbered>,
}

impl View {
    pub(super) fn choose(&self) -> Choice {
        if let Some(told) = self.told {
            // What cannot be served changes nothing.
            return Choice {
                serve: self.fit(told).or(self.current),
                trial: None,
            };
        }
        match self.current {
            Some(current) if self.present.contains(&current.0) => Choice {
                serve: Some(current),
                trial: self.newcomer(current),
            },
            // Its folder is gone: any good one is better, and none that did badly.
            Some(current) => Choice {
                serve: self.good().next().or(Some(current)),
                trial: None,
            },
            None => Choice {
                serve: self.first(),
                trial: None,
            },
        }
    }

    fn fit(&self, release: u64) -> Option<Numbered> {
        self.fit.get(&release).map(|digest| (release, *digest))
    }

    /// The releases that may serve and were not rolled back, the newest first.
    fn good(&self) -> impl Iterator<Item = Numbered> {
        let fit = self.fit.iter().rev();
        fit.filter(|(release, _)| !self.rejected.contains(release))
            .map(|(release, digest)| (*release, *digest))
    }

    /// What serves where nothing does: the one that was promoted, or what came before it. Newer ones must prove themselves beside it.
    fn first(&self) -> Option<Numbered> {
        let promoted = self
            .promoted
            .filter(|release| self.present.contains(release));
        let Some(promoted) = promoted else {
            // Better one that did badly than none.
            return self
                .good()
                .next()
                .or_else(|| self.fit.last_key_value().map(|(n, d)| (*n, *d)));
        };
        if self.held.contains(&promoted) {
            return None;
        }
        let mut older = self.good().filter(|(release, _)| *release <= promoted);
        let older = older.next().or_else(|| self.fit(promoted));
        older.or_else(|| self.good().next())
    }

    /// What is to be tried: the newest one, or else new content of the one in force.
    fn newcomer(&self, current: Numbered) -> Option<Numbered> {
        let newest = self
            .good()
            .next()
            .filter(|(release, _)| *release >= current.0);
        newest.filter(|newest| *newest != current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(content: u8) -> Digest {
        Digest::new([content; 32])
    }

    /// Releases with a content each.
    fn view(releases: &[(u64, u8)]) -> View {
        let fit = releases
            .iter()
            .map(|(release, content)| (*release, digest(*content)));
        View {
            present: releases.iter().map(|(release, _)| *release).collect(),
            fit: fit.collect(),
            ..View::default()
        }
    }

    fn chosen(view: &View) -> (Option<u64>, Option<u64>) {
        let choice = view.choose();
        let number = |numbered: Option<Numbered>| numbered.map(|(release, _)| release);
        (number(choice.serve), number(choice.trial))
    }

    #[test]
    fn the_newest_begins_and_newer_ones_are_tried() {
        let mut view = view(&[(1, 1), (3, 3)]);
        assert_eq!(chosen(&view), (Some(3), None));
        view.current = Some((1, digest(1)));
        assert_eq!(chosen(&view), (Some(1), Some(3)));
        view.rejected.insert(3);
        assert_eq!(chosen(&view), (Some(1), None));
        // Older ones are not tried.
        view.current = Some((3, digest(3)));
        assert_eq!(chosen(&view), (Some(3), None));
        // New content of the one in force is.
        view.rejected.clear();
        view.current = Some((3, digest(9)));
        assert_eq!(view.choose().trial, Some((3, digest(3))));
    }

    #[test]
    fn a_restart_serves_what_was_promoted() {
        let mut view = view(&[(1, 1), (2, 2), (3, 3)]);
        view.promoted = Some(2);
        assert_eq!(chosen(&view), (Some(2), None));
        // It does not load: the one before it, and not one that was never tried.
        view.fit.remove(&2);
        assert_eq!(chosen(&view), (Some(1), None));
        view.held.insert(2);
        assert_eq!(chosen(&view), (None, None));
        view.held.clear();
        // There is nothing that a newer one could be tried beside.
        let only = view.fit.remove(&1);
        assert_eq!(chosen(&view), (Some(3), None));
        view.fit.extend(only.map(|digest| (1, digest)));
        // It is gone, and so is all that it was compared with.
        view.present.remove(&2);
        assert_eq!(chosen(&view), (Some(3), None));
    }

    #[test]
    fn what_did_badly_is_better_than_nothing() {
        let mut view = view(&[(2, 2)]);
        view.promoted = Some(2);
        view.rejected.insert(2);
        assert_eq!(chosen(&view), (Some(2), None));
        view.promoted = None;
        assert_eq!(chosen(&view), (Some(2), None));
    }

    #[test]
    fn what_is_taken_away_goes_when_another_serves() {
        let mut view = view(&[(1, 1)]);
        view.current = Some((2, digest(2)));
        assert_eq!(chosen(&view), (Some(1), None));
        // One that was rolled back takes nobody's place.
        (view.present, view.fit) = ([1, 3].into(), [(1, digest(1)), (3, digest(3))].into());
        (view.promoted, view.rejected) = (Some(2), [3].into());
        assert_eq!(chosen(&view), (Some(1), None));
        view.fit.remove(&1);
        assert_eq!(chosen(&view), (Some(2), None));
        view.fit.clear();
        assert_eq!(chosen(&view), (Some(2), None));
    }

    #[test]
    fn what_is_told_is_done_where_it_can_be() {
        let mut view = view(&[(1, 1), (2, 2), (3, 3)]);
        view.current = Some((2, digest(2)));
        view.told = Some(1);
        assert_eq!(chosen(&view), (Some(1), None));
        view.told = Some(7);
        assert_eq!(chosen(&view), (Some(2), None));
    }
}
