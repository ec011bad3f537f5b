//! The bundles of a state.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::time::Instant;

use tokio::sync::Notify;
use wharf_core::{Digest, Error, ErrorKind, LoadError, Name, Result};

use super::{Effects, Load, Loaded};
use crate::bundle::{
    BundleOrder, BundleStatus, Carried, Kit, Public, Reading, Record, Release, ReleaseLoad,
    ReleaseName, Results, Slot, Taken,
};
use crate::guarded::Guards;
use crate::in_force::InForce;
use crate::lifecycle::{IndexEntry, ModelState};
use crate::site::{BundleFound, Focus, FocusOn, Found, Ports, ReleaseFound, Section, Serves};
use crate::state::Surroundings;

#[derive(Default)]
pub(crate) struct Bundles {
    slots: BTreeMap<Name, Slot>,
    kit: Kit,
}

/// A release that was loaded, or why it was not.
pub(super) type LoadedRelease = (Name, u64, Digest, Result<Box<Release>, Vec<LoadError>>);

impl Bundles {
    pub(super) fn new(guards: &Arc<Guards>, noticed: &Arc<Notify>) -> Self {
        Self {
            slots: BTreeMap::new(),
            kit: Kit {
                guards: Arc::clone(guards),
                outside: Weak::new(),
                noticed: Arc::clone(noticed),
            },
        }
    }

    /// Says what plugins of releases call where the release itself does not have it.
    pub(crate) fn connect(&mut self, outside: Weak<InForce>) {
        self.kit.outside = outside;
    }

    /// Whether there is a bundle: one without a release, and without something that should be one, is none.
    pub(super) fn want_any(&self) -> bool {
        !self.slots.is_empty()
    }

    /// Says which releases are to be looked at.
    pub(crate) fn focus(&self) -> Focus {
        let on = self
            .slots
            .iter()
            .map(|(name, slot)| (name.clone(), slot.focus()));
        Focus::Known(on.filter_map(|(name, on)| Some((name, on?))).collect())
    }

    /// Adds the releases that must be loaded for the state to follow the site, beside those of this pass that were.
    pub(super) fn plan(
        &self,
        section: &mut Section<BundleFound>,
        by_site: &BTreeMap<Name, String>,
        now: Option<Instant>,
        loaded: &[Loaded],
        loads: &mut Vec<Load>,
    ) {
        for (name, found) in &mut section.found {
            let Found::Is(found) = found else { continue };
            let fresh;
            let slot = match self.slots.get(name) {
                Some(slot) => slot,
                None => {
                    fresh = Slot::new(name.clone(), self.kit.clone(), found);
                    &fresh
                }
            };
            let of_this = loaded.iter().filter_map(|one| match one {
                Loaded::Release(of, digest, result) if of.bundle == *name => {
                    Some((of.release, (*digest, result.is_ok())))
                }
                _ => None,
            });
            let done = of_this.collect();
            slot.plan(found, &self.taken(by_site, name), now, &done, loads);
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<BundleFound>,
        loaded: Vec<LoadedRelease>,
        by_site: &BTreeMap<Name, String>,
        effects: &mut Effects,
    ) {
        let mut results: BTreeMap<Name, Results> = BTreeMap::new();
        for (bundle, release, digest, result) in loaded {
            let of_this = results.entry(bundle).or_default();
            of_this.insert(release, (digest, result));
        }
        if section.complete {
            let gone = self
                .slots
                .extract_if(.., |name, _| !section.found.contains_key(name));
            for (_, slot) in gone.collect::<Vec<_>>() {
                slot.retire(effects);
            }
        }
        for (name, found) in section.found {
            let Found::Is(found) = found else { continue };
            let of_this = results.remove(&name).unwrap_or_default();
            if found.numbers.is_empty() && found.errors.is_empty() {
                if let Some(slot) = self.slots.remove(&name) {
                    slot.retire(effects);
                }
                continue;
            }
            let slot = self.slots.remove(&name);
            let mut slot =
                slot.unwrap_or_else(|| Slot::new(name.clone(), self.kit.clone(), &found));
            let taken = self.taken(by_site, &name);
            slot.apply(&found, of_this, &taken, effects);
            self.slots.insert(name, slot);
        }
        let unused = results.into_values().flat_map(BTreeMap::into_values);
        for release in unused.filter_map(|(_, result)| result.ok()) {
            release.retire(effects);
        }
    }

    /// The names that a bundle cannot have.
    fn taken<'a>(&self, by_site: &'a BTreeMap<Name, String>, bundle: &Name) -> Taken<'a> {
        let others = self.slots.iter().filter(|(name, _)| *name != bundle);
        Taken {
            by_site: Some(by_site),
            by_others: others.flat_map(|(_, slot)| slot.places()).collect(),
        }
    }

    /// Links the releases, and gives what they add to what is in force.
    pub(super) fn link(&mut self, around: Surroundings<'_>) -> Public {
        let mut public = Public::default();
        for slot in self.slots.values_mut() {
            slot.link(around, &mut public);
        }
        public
    }

    /// The place of a public route.
    pub(super) fn place(&self, route: &Name) -> Option<String> {
        let mut places = self.slots.values().flat_map(Slot::places);
        Some(places.find(|(name, _)| name == route)?.1)
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.slots.values().flat_map(Slot::errors)
    }

    /// Whether a release is on trial anywhere.
    pub(crate) fn on_trial(&self) -> bool {
        self.slots.values().any(Slot::is_trying)
    }

    /// Whether `carry_out` would do something.
    pub(crate) fn verdict_due(&self) -> bool {
        self.slots.values().any(Slot::verdict_due)
    }

    /// Does what the verdicts on the releases on trial say.
    pub(crate) fn carry_out(&mut self, effects: &mut Effects) {
        for slot in self.slots.values_mut() {
            slot.carry_out(effects);
        }
    }

    /// Carries an order out, or notes what is to be loaded for it.
    pub(crate) fn order(
        &mut self,
        bundle: &Name,
        order: BundleOrder,
        effects: &mut Effects,
    ) -> Result<Carried> {
        let slot = self
            .slots
            .get_mut(bundle)
            .ok_or_else(|| no_bundle(bundle))?;
        slot.order(order, effects)
    }

    /// What became of an order to serve a release.
    pub(crate) fn carried(&self, bundle: &Name, release: u64) -> Result<()> {
        let slot = self.slots.get(bundle).ok_or_else(|| no_bundle(bundle))?;
        slot.carried(release)
    }

    /// Whether something of what became of releases is not on disk.
    pub(crate) fn unsaved(&self) -> bool {
        self.slots.values().any(Slot::unsaved)
    }

    /// What is not on disk.
    pub(crate) fn to_save(&self) -> Vec<(Name, Record)> {
        self.slots.values().filter_map(Slot::to_save).collect()
    }

    /// Notes what became of writing a record. What cannot be written is not tried again before there is something new to write.
    pub(crate) fn saved(&mut self, bundle: &Name, record: &Record, result: io::Result<()>) {
        if let Some(slot) = self.slots.get_mut(bundle) {
            slot.saved(record, result);
        }
    }

    pub(crate) fn status(&self) -> Vec<BundleStatus> {
        self.slots.values().map(Slot::status).collect()
    }

    pub(crate) fn readings(&self) -> Vec<Reading> {
        self.slots.values().flat_map(Slot::readings).collect()
    }

    /// How many plugins and models the releases have.
    pub(crate) fn parts(&self) -> [u64; 2] {
        let parts = self
            .slots
            .values()
            .flat_map(Slot::loaded)
            .map(Release::parts);
        parts.fold([0, 0], |[a, b], [c, d]| [a + c, b + d])
    }

    /// How every release with a public route is.
    pub(super) fn index(&self) -> impl Iterator<Item = IndexEntry> {
        let releases = self.slots.values().flat_map(Slot::loaded);
        releases.flat_map(|release| {
            release.routes().map(|(name, route)| IndexEntry {
                name,
                version: Some(release.number()),
                state: ModelState::Ready,
                reason: String::new(),
                tenants: route.spec().tenants.clone(),
            })
        })
    }
}

impl Slot {
    /// Which releases are to be looked at; none where that is not known yet.
    fn focus(&self) -> Option<FocusOn> {
        let in_force = self.in_force();
        let ordered = self.ordered();
        let from = ordered.into_iter().chain(in_force).min()?;
        Some(FocusOn {
            from,
            serves: match in_force {
                Some(_) => Serves::Yes,
                None => Serves::No,
            },
        })
    }
}

/// Writes a record to its place in the site. Blocks.
pub(crate) fn write(site: &Path, bundle: &Name, record: &Record) -> io::Result<()> {
    record.write(&site.join("bundles").join(bundle.as_str()))
}

fn no_bundle(bundle: &Name) -> Error {
    let message = format!("the site has no bundle {bundle}; GET /admin/bundles lists them");
    Error::new(ErrorKind::NotFound, message).with_field("bundle")
}

/// Loads every release, keeps none, and says what is wrong with them. Of two bundles with the same name of a route, the second one is
/// refused. Blocks.
pub(super) fn check(
    section: Section<BundleFound>,
    by_site: &BTreeMap<Name, String>,
    ports: Ports<'_>,
) -> Vec<Arc<LoadError>> {
    let mut errors = Vec::new();
    let mut by_others = BTreeMap::new();
    for (bundle, found) in section.found {
        let Found::Is(found) = found else { continue };
        let taken = Taken {
            by_site: Some(by_site),
            by_others: by_others.clone(),
        };
        let mut slot = Slot::new(bundle.clone(), Kit::default(), &found);
        slot.note(&found, &taken);
        errors.extend(slot.errors());
        for (release, found) in found.releases {
            let Found::Is(ReleaseFound {
                digest,
                routes,
                scan: Some(scan),
            }) = found
            else {
                continue;
            };
            let name = ReleaseName {
                bundle: bundle.clone(),
                release,
            };
            let place = |route: Name| {
                let place = format!("{}/routes/{route}.toml", name.folder());
                (route, place)
            };
            by_others.extend(routes.into_iter().map(place));
            let load = ReleaseLoad {
                name,
                digest,
                scan,
                kit: Kit::default(),
            };
            errors.extend(load.run(ports).err().into_iter().flatten().map(Arc::new));
        }
    }
    errors
}
