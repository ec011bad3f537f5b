//! How every version of every model is.

use std::collections::BTreeSet;

use wharf_core::{ModelVersions, Name, Tenants};

use super::Models;
use super::folder::{Folder, Slot};
use crate::lifecycle::{IndexEntry, ModelState};

/// Versions by name and number.
pub(crate) type Versions = BTreeSet<(Name, u64)>;

/// What goes on beside what is in force.
#[derive(Default)]
pub(crate) struct UnderWay {
    /// What is being loaded.
    pub(crate) loading: Versions,
    /// What is in force no more, and still used.
    pub(crate) unloading: Versions,
}

impl Models {
    pub(crate) fn index(&self, under_way: &UnderWay) -> Vec<IndexEntry> {
        let mut names: BTreeSet<&Name> = self.folders.keys().collect();
        let busy = under_way.loading.iter().chain(&under_way.unloading);
        names.extend(busy.map(|(name, _)| name));
        let nothing = Folder::default();
        names
            .into_iter()
            .flat_map(|name| {
                let folder = self.folders.get(name).unwrap_or(&nothing);
                folder.index(name, self.demand.reason(name), under_way)
            })
            .collect()
    }
}

impl Folder {
    /// Whose the model is. As long as that was not read, it is the operator's.
    pub(super) fn tenants(&self) -> Tenants {
        match self.registered || self.site != ModelVersions::default() {
            true => self.site.tenants.clone(),
            false => Tenants::only([]),
        }
    }

    fn index(
        &self,
        name: &Name,
        unwanted: Option<&'static str>,
        under_way: &UnderWay,
    ) -> Vec<IndexEntry> {
        let mut versions: BTreeSet<u64> = self.versions.keys().copied().collect();
        versions.extend(self.site.serve.iter().map(|version| version.version));
        versions.extend(&self.site.idle);
        for busy in [&under_way.loading, &under_way.unloading] {
            let of_this = (name.clone(), 0)..=(name.clone(), u64::MAX);
            versions.extend(busy.range(of_this).map(|(_, version)| *version));
        }
        let entry = |version: Option<u64>, (state, reason): (ModelState, String)| IndexEntry {
            name: name.clone(),
            version,
            state,
            reason,
            tenants: self.tenants(),
        };
        if versions.is_empty() && self.registered {
            let reason = "it is registered, and has no version yet".to_owned();
            return vec![entry(None, (ModelState::Registered, reason))];
        }
        if versions.is_empty() {
            let reason = unwanted.map(str::to_owned).or_else(|| self.refusal());
            let state = (ModelState::Unavailable, reason.unwrap_or_default());
            return vec![entry(None, state)];
        }
        versions
            .into_iter()
            .map(|version| {
                let key = (name.clone(), version);
                entry(Some(version), self.state(&key, unwanted, under_way))
            })
            .collect()
    }

    /// How a version is, and why.
    fn state(
        &self,
        key: &(Name, u64),
        unwanted: Option<&'static str>,
        under_way: &UnderWay,
    ) -> (ModelState, String) {
        let slot = self.versions.get(&key.1);
        let failure = slot.and_then(|slot| slot.failure.as_ref());
        let failure = failure.map(|failure| failure.error.client_text());
        if slot.is_some_and(|slot| slot.current.is_some()) {
            let refused = failure.or_else(|| self.refusal());
            let reason = refused.map(|error| format!("newer content was refused: {error}"));
            let reason =
                reason.or_else(|| slot.filter(|slot| slot.stands_in()).and(self.awaited()));
            return (ModelState::Ready, reason.unwrap_or_default());
        }
        if under_way.loading.contains(key) {
            return (ModelState::Loading, String::new());
        }
        let idle = self.site.idle.contains(&key.1);
        let known = self.site.serve.iter().any(|known| known.version == key.1);
        let reason = failure
            .or_else(|| unwanted.map(str::to_owned))
            .or_else(|| self.refusal())
            .unwrap_or_else(|| {
                let reason = match (idle, known) {
                    (true, _) => "not among those that the version policy serves",
                    (_, true) => "it is served when the model is loaded again",
                    _ => "it was taken out of the site",
                };
                reason.to_owned()
            });
        if under_way.unloading.contains(key) {
            return (ModelState::Unloading, reason);
        }
        (ModelState::Unavailable, reason)
    }

    /// What those wait for that serve although the site does not ask for them.
    fn awaited(&self) -> Option<String> {
        let failure = |slot: &Slot| Some(slot.failure.as_ref()?.error.client_text());
        let wanted = self.site.serve.iter();
        let mut wanted = wanted.filter_map(|wanted| self.versions.get(&wanted.version));
        let error = wanted.find_map(failure)?;
        Some(format!(
            "it serves until what is to serve can be loaded; {error}"
        ))
    }

    fn refusal(&self) -> Option<String> {
        self.refused.as_ref().map(|error| error.client_text())
    }
}
