//! The models of a state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wharf_core::{Digest, LoadError, Model, ModelVersion, ModelVersions, Name};

use super::{Effects, Failure, Load, Loaded, Release};
use crate::events::EventKind;
use crate::reaper::Retired;
use crate::site::{Found, Section};
use crate::status::ModelStatus;

#[derive(Default)]
pub(crate) struct Models(BTreeMap<Name, Folder>);

/// A model by name.
#[derive(Default)]
struct Folder {
    versions: BTreeMap<u64, Slot>,
    /// Why its versions are not known.
    refused: Option<Arc<LoadError>>,
}

/// A version of a model.
#[derive(Default)]
struct Slot {
    /// What the site asks for; none where it asks for this version no more.
    wanted: Option<Digest>,
    current: Option<Release<dyn Model>>,
    failure: Option<Failure>,
}

/// What became of loading a version.
type LoadResult = (ModelVersion, Result<Arc<dyn Model>, LoadError>);

type Results = BTreeMap<(Name, u64), LoadResult>;

impl Models {
    pub(super) fn plan(
        &self,
        section: &Section<ModelVersions>,
        now: Option<Instant>,
        loads: &mut Vec<Load>,
    ) {
        let empty = Slot::default();
        for (name, found) in &section.found {
            let Found::Is(versions) = found else { continue };
            for version in &versions.serve {
                let slot = self
                    .0
                    .get(name)
                    .and_then(|folder| folder.versions.get(&version.version))
                    .unwrap_or(&empty);
                if slot.needs(version.digest, now) {
                    loads.push(Load::Model(version.clone()));
                }
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<ModelVersions>,
        mut loaded: Results,
        effects: &mut Effects,
    ) {
        if section.complete {
            self.0.retain(|name, folder| {
                let stays = section.found.contains_key(name);
                if !stays {
                    for (version, slot) in &mut folder.versions {
                        slot.retire(name, *version, effects);
                    }
                }
                stays
            });
        }
        for (name, found) in section.found {
            let folder = self.0.entry(name.clone()).or_default();
            match found {
                Found::Held => {}
                Found::Refused(error) => folder.refused = Some(error),
                Found::Is(versions) => {
                    folder.refused = None;
                    folder.follow(&name, &versions.serve, &mut loaded, effects);
                }
            }
        }
    }

    /// The models that failed altogether: none of their versions is in force, and none was loaded now. Of each, the lowest
    /// version that failed.
    pub(super) fn fallen<'a>(&self, loaded: &'a [Loaded]) -> Vec<&'a ModelVersion> {
        let mut fallen: BTreeMap<&Name, Option<&ModelVersion>> = BTreeMap::new();
        for one in loaded {
            let Loaded::Model(version, result) = one else {
                continue;
            };
            let lowest = fallen.entry(&version.name).or_insert(Some(version));
            *lowest = match result {
                Ok(_) => None,
                Err(_) => lowest.map(|lowest| match version.version < lowest.version {
                    true => version,
                    false => lowest,
                }),
            };
        }
        let serves = |name: &Name| {
            let folder = self.0.get(name);
            folder.is_some_and(|folder| folder.versions.values().any(|slot| slot.current.is_some()))
        };
        fallen
            .into_iter()
            .filter(|(name, _)| !serves(name))
            .filter_map(|(_, lowest)| lowest)
            .collect()
    }

    pub(super) fn in_force(&self) -> BTreeMap<Name, BTreeMap<u64, Arc<dyn Model>>> {
        self.0
            .iter()
            .map(|(name, folder)| {
                let versions: BTreeMap<_, _> = folder
                    .versions
                    .iter()
                    .filter_map(|(version, slot)| {
                        Some((*version, Arc::clone(&slot.current.as_ref()?.item)))
                    })
                    .collect();
                (name.clone(), versions)
            })
            .filter(|(_, versions)| !versions.is_empty())
            .collect()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.0.values().flat_map(|folder| {
            let failures = folder
                .versions
                .values()
                .filter_map(|slot| Some(&slot.failure.as_ref()?.error));
            folder.refused.iter().chain(failures).map(Arc::clone)
        })
    }

    pub(crate) fn status(&self) -> Vec<ModelStatus> {
        self.0
            .iter()
            .flat_map(|(name, folder)| folder.versions.iter().map(move |slot| (name, slot)))
            .filter_map(|(name, (version, slot))| {
                let current = slot.current.as_ref()?;
                Some(ModelStatus {
                    name: name.clone(),
                    version: *version,
                    digest: current.digest,
                    loaded_at: current.loaded_at,
                    device: current.item.info().device.clone(),
                    load: current.item.load(),
                })
            })
            .collect()
    }
}

impl Folder {
    /// Goes over to the versions that the site asks for. Versions that it asks for no more go when all the others are in
    /// force: where version 2 does not load, version 1 serves on.
    fn follow(
        &mut self,
        name: &Name,
        versions: &[ModelVersion],
        loaded: &mut Results,
        effects: &mut Effects,
    ) {
        for slot in self.versions.values_mut() {
            slot.wanted = None;
        }
        for version in versions {
            let slot = self.versions.entry(version.version).or_default();
            slot.wanted = Some(version.digest);
            let result = loaded.remove(&(name.clone(), version.version));
            slot.follow(name, version, result, effects);
        }
        // What was loaded in the place of a version that failed stays until that version does load.
        let of_this = (name.clone(), 0)..=(name.clone(), u64::MAX);
        let others: Vec<_> = loaded.range(of_this).map(|(key, _)| key.clone()).collect();
        for key in others {
            let Some((version, Ok(model))) = loaded.remove(&key) else {
                continue;
            };
            let slot = self.versions.entry(version.version).or_default();
            slot.follow(name, &version.clone(), Some((version, Ok(model))), effects);
        }
        let complete = self.versions.values().all(Slot::follows);
        self.versions.retain(|version, slot| {
            let stays = slot.wanted.is_some() || (!complete && slot.current.is_some());
            if !stays {
                slot.retire(name, *version, effects);
            }
            stays
        });
    }
}

impl Slot {
    fn needs(&self, digest: Digest, now: Option<Instant>) -> bool {
        let loaded = self
            .current
            .as_ref()
            .is_some_and(|current| current.digest == digest);
        let failed = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.bars(digest, now));
        !loaded && !failed
    }

    /// Whether what is wanted is in force.
    fn follows(&self) -> bool {
        self.wanted.is_none_or(|wanted| {
            self.current
                .as_ref()
                .is_some_and(|current| current.digest == wanted)
        })
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
                    folder(name, version.version),
                    format!("content {digest:.12}"),
                ));
            }
            Some((loaded, Err(error))) => {
                self.failure = Some(Failure::after(self.failure.take(), loaded.digest, error));
            }
            // The old content came back after new content failed.
            None if self.follows() => self.failure = None,
            None => {}
        }
    }

    fn retire(&mut self, name: &Name, version: u64, effects: &mut Effects) {
        if let Some(old) = self.current.take() {
            effects.retired.push(Retired::Model(old.item));
            effects
                .events
                .push((EventKind::Removed, folder(name, version), String::new()));
        }
    }
}

fn folder(name: &Name, version: u64) -> String {
    format!("models/{name}/{version}")
}
