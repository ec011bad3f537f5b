//! A model by name, and its versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use wharf_core::{Digest, LoadError, Model, ModelVersion, ModelVersions, Name};

use super::{LoadResult, Results, file_of, of, refused};
use crate::events::EventKind;
use crate::reaper::Retired;
use crate::route::Labels;
use crate::state::{Effects, Failure, Loaded, Release};
use crate::status::ModelStatus;

/// A model by name.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) versions: BTreeMap<u64, Slot>,
    /// The labels, each with a version that is in force, or was when it was last looked at.
    pub(super) labels: Labels,
    /// The versions that serve for their label alone.
    only_labelled: BTreeSet<u64>,
    /// Why its versions are not known.
    pub(super) refused: Option<Arc<LoadError>>,
    /// What the site has of it, by the last look.
    pub(super) site: ModelVersions,
    /// Whether it is registered, and has no version yet.
    pub(super) registered: bool,
}

/// A version of a model.
#[derive(Default)]
pub(super) struct Slot {
    /// What the site asks for; none where it asks for this version no more.
    wanted: Option<Digest>,
    pub(super) current: Option<Release<dyn Model>>,
    pub(super) failure: Option<Failure>,
}

/// What is to be done about a version that may serve in the place of one that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StandIn {
    /// Nothing: it serves already, or one above it does.
    Stays,
    /// It is loaded.
    Loads,
    /// It failed, and is not to be tried at this moment.
    Fails,
}

impl Folder {
    /// Whether a version must be loaded to have this content in force.
    pub(super) fn needs(&self, version: u64, digest: Digest, now: Option<Instant>) -> bool {
        let slot = self.versions.get(&version);
        slot.is_none_or(|slot| slot.needs(digest, now))
    }

    /// Whether a version is in force with this content.
    pub(super) fn has(&self, version: u64, digest: Digest) -> bool {
        let slot = self.versions.get(&version);
        slot.is_some_and(|slot| slot.has(digest))
    }

    pub(super) fn serves(&self) -> bool {
        self.versions.values().any(|slot| slot.current.is_some())
    }

    pub(super) fn in_force(&self) -> BTreeMap<u64, Arc<dyn Model>> {
        let current = |slot: &Slot| Some(Arc::clone(&slot.current.as_ref()?.item));
        self.versions
            .iter()
            .filter_map(|(version, slot)| Some((*version, current(slot)?)))
            .collect()
    }

    /// The version of requests that name none: the highest in force that does not serve for its label alone. Where there is
    /// no such version, the highest in force: an answer from another version that is to serve is better than none.
    pub(super) fn default_version(&self) -> Option<u64> {
        let in_force = self.versions.iter().rev();
        let mut in_force = in_force.filter(|(_, slot)| slot.current.is_some());
        let highest = in_force.clone().next();
        let picked = in_force.find(|(version, _)| !self.only_labelled.contains(version));
        picked.or(highest).map(|(version, _)| *version)
    }

    /// The version in whose place one below may serve: the lowest that the policy picks, where all of those that it picks
    /// failed, and none of them is in force in any content. `loaded` is what was loaded just now.
    pub(super) fn fallen<'a>(
        &self,
        found: &'a ModelVersions,
        loaded: &[Loaded],
        now: Option<Instant>,
    ) -> Option<&'a ModelVersion> {
        let fell = |version: &ModelVersion| {
            let slot = self.versions.get(&version.version);
            if slot.is_some_and(|slot| slot.current.is_some()) {
                return false;
            }
            let result = loaded.iter().find_map(|one| match one {
                Loaded::Model(loaded, result) if loaded == version => Some(result),
                _ => None,
            });
            match result {
                Some(result) => result.is_err(),
                None => slot.is_some_and(|slot| slot.failed(version.digest, now)),
            }
        };
        let picked = |version: &&ModelVersion| !found.only_labelled.contains(&version.version);
        let mut picked = found.serve.iter().filter(picked);
        let lowest = picked.next()?;
        (fell(lowest) && picked.all(fell)).then_some(lowest)
    }

    /// What is to be done about a version that may serve in the place of one above it.
    pub(super) fn stand_in(&self, version: u64, digest: Digest, now: Option<Instant>) -> StandIn {
        let serves_above = |(other, slot): (&u64, &Slot)| {
            *other > version && slot.current.is_some() && !self.only_labelled.contains(other)
        };
        if self.versions.iter().any(serves_above) {
            return StandIn::Stays;
        }
        match self.versions.get(&version) {
            // With a failure, its older content came back, and that is noted by loading it.
            Some(slot) if slot.has(digest) && slot.failure.is_none() => StandIn::Stays,
            Some(slot) if slot.failed(digest, now) => StandIn::Fails,
            _ => StandIn::Loads,
        }
    }

    /// What is wrong with what the site asks for, and with what serves. What was tried in vain in the place of another is no
    /// error of the site's.
    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        let slots = self.versions.values();
        let failures = slots
            .filter(|slot| slot.wanted.is_some() || slot.current.is_some())
            .filter_map(|slot| Some(&slot.failure.as_ref()?.error));
        self.refused.iter().chain(failures).map(Arc::clone)
    }

    /// Why the model is not in force as the site has it. What is asked for goes before what serves in its place.
    pub(super) fn problem(&self) -> Option<Arc<LoadError>> {
        fn failure(slot: &Slot) -> Option<&Arc<LoadError>> {
            Some(&slot.failure.as_ref()?.error)
        }
        let mut slots = self.versions.values();
        let mut wanted = slots.clone().filter(|slot| slot.wanted.is_some());
        let error = self.refused.as_ref();
        let error = error.or_else(|| wanted.find_map(failure));
        error.or_else(|| slots.find_map(failure)).map(Arc::clone)
    }

    pub(super) fn status(&self, name: &Name) -> impl Iterator<Item = ModelStatus> {
        self.versions.iter().filter_map(move |(version, slot)| {
            let current = slot.current.as_ref()?;
            let labels = self.labels.iter().filter(|(_, named)| *named == version);
            Some(ModelStatus {
                name: name.clone(),
                version: *version,
                labels: labels.map(|(label, _)| Arc::clone(label)).collect(),
                digest: current.digest,
                loaded_at: current.loaded_at,
                device: current.item.info().device.clone(),
                load: current.item.load(),
            })
        })
    }

    /// Goes over to the versions that the site asks for. Versions that it asks for no more go when all the others are in
    /// force: where version 2 does not load, version 1 serves on.
    pub(super) fn follow(
        &mut self,
        name: &Name,
        found: &ModelVersions,
        loaded: &mut Results,
        effects: &mut Effects,
    ) {
        for slot in self.versions.values_mut() {
            slot.wanted = None;
        }
        for version in &found.serve {
            let slot = self.versions.entry(version.version).or_default();
            slot.wanted = Some(version.digest);
            let result = loaded.remove(&(name.clone(), version.version));
            slot.follow(name, version, result, effects);
        }
        // What was loaded in the place of a version that failed stays until that version does load.
        let others: Vec<_> = of(name, loaded).map(|(key, _)| key.clone()).collect();
        for (version, result) in others.iter().filter_map(|key| loaded.remove(key)) {
            let slot = self.versions.entry(version.version).or_default();
            slot.follow(name, &version.clone(), Some((version, result)), effects);
        }
        let complete = self.versions.values().all(Slot::follows);
        self.versions.retain(|version, slot| {
            // A failure stays as well: it keeps the same content from being tried at every look.
            let is_used = slot.current.is_some() || slot.failure.is_some();
            let stays = slot.wanted.is_some() || (!complete && is_used);
            if !stays {
                slot.retire(name, *version, "", effects);
            }
            stays
        });
        self.only_labelled = found.only_labelled.clone();
        self.follow_labels(&found.labels);
    }

    /// Goes over to other labels. One whose version is not in force stays where it was, like everything that cannot be
    /// served as it is asked for.
    fn follow_labels(&mut self, wanted: &Labels) {
        let serves = |version: &u64| {
            let slot = self.versions.get(version);
            slot.is_some_and(|slot| slot.current.is_some())
        };
        self.labels = wanted
            .iter()
            .filter_map(|(label, version)| {
                let before = self.labels.get(label);
                let version = Some(version).filter(|v| serves(v)).or(before)?;
                serves(version).then(|| (Arc::clone(label), *version))
            })
            .collect();
    }

    /// Notes why a model that was asked for cannot be loaded. What of it could is let go: it comes into force as a whole.
    pub(super) fn fail(&mut self, name: &Name, loaded: &mut Results, effects: &mut Effects) {
        self.versions.retain(|_, slot| slot.current.is_some());
        let keys: Vec<_> = of(name, loaded).map(|(key, _)| key.clone()).collect();
        for (version, result) in keys.iter().filter_map(|key| loaded.remove(key)) {
            match result {
                Ok(model) => effects.retired.push(Retired::Model(model)),
                Err(error) => {
                    // Nothing else tells of it: the model is not to serve.
                    effects.events.push(refused(&error));
                    let slot = self.versions.entry(version.version).or_default();
                    slot.fail(version.digest, error);
                }
            }
        }
    }

    /// Lets go of every version.
    pub(super) fn retire(&mut self, name: &Name, why: &str, effects: &mut Effects) {
        for (version, mut slot) in std::mem::take(&mut self.versions) {
            slot.retire(name, version, why, effects);
        }
        self.labels.clear();
    }
}

impl Slot {
    fn has(&self, digest: Digest) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.digest == digest)
    }

    fn needs(&self, digest: Digest, now: Option<Instant>) -> bool {
        !self.has(digest) && !self.failed(digest, now)
    }

    /// Whether this content failed, and is not to be tried at this moment.
    fn failed(&self, digest: Digest, now: Option<Instant>) -> bool {
        let failure = self.failure.as_ref();
        failure.is_some_and(|failure| failure.bars(digest, now))
    }

    /// Whether it serves although the site does not ask for it: until what it asks for can be loaded.
    pub(super) fn stands_in(&self) -> bool {
        self.wanted.is_none() && self.current.is_some()
    }

    /// Whether what is wanted is in force.
    fn follows(&self) -> bool {
        self.wanted.is_none_or(|wanted| self.has(wanted))
    }

    fn follow(
        &mut self,
        name: &Name,
        version: &ModelVersion,
        loaded: Option<LoadResult>,
        effects: &mut Effects,
    ) {
        match loaded {
            Some((loaded, Ok(model))) => {
                self.failure = None;
                let digest = loaded.digest;
                let old = self.current.replace(Release::new(model, digest));
                effects
                    .retired
                    .extend(old.map(|old| Retired::Model(old.item)));
                effects.events.push((
                    EventKind::Loaded,
                    file_of(name, version.version),
                    format!("content {digest:.12}"),
                ));
            }
            Some((loaded, Err(error))) => self.fail(loaded.digest, error),
            // The old content came back after new content failed.
            None if self.follows() => self.failure = None,
            None => {}
        }
    }

    fn fail(&mut self, digest: Digest, error: LoadError) {
        self.failure = Some(Failure::after(self.failure.take(), digest, error));
    }

    fn retire(&mut self, name: &Name, version: u64, why: &str, effects: &mut Effects) {
        if let Some(old) = self.current.take() {
            effects.retired.push(Retired::Model(old.item));
            let removed = (EventKind::Removed, file_of(name, version), why.to_owned());
            effects.events.push(removed);
        }
    }
}
