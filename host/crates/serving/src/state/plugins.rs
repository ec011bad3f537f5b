//! The plugins of a state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Digest, LoadError, Name, Plugin};

use super::{Effects, Failure, Load, PluginLoad, Release, Routes};
use crate::events::EventKind;
use crate::reaper::Retired;
use crate::route::PluginParts;
use crate::site::{Found, PluginFound, Section};
use crate::status::PluginStatus;

#[derive(Default)]
pub(crate) struct Plugins(BTreeMap<Name, Slot>);

/// A plugin by name.
#[derive(Default)]
struct Slot {
    /// Whether the site has it. One that is gone serves on for the routes in force that use it.
    wanted: bool,
    current: Option<Release<dyn Plugin>>,
    /// The release before: what a roll-back and the failure policy `previous` fall back on.
    standby: Option<Release<dyn Plugin>>,
    /// Why the file cannot be read.
    refused: Option<Arc<LoadError>>,
    failure: Option<Failure>,
    /// What was rolled back: not loaded again until the content is another.
    rejected: Option<(Digest, Arc<LoadError>)>,
}

/// What became of loading a release: its digest, and the plugin.
type LoadResult = (Digest, Result<Arc<dyn Plugin>, LoadError>);

impl Plugins {
    pub(super) fn plan(
        &self,
        section: &mut Section<PluginFound>,
        now: Option<Instant>,
        loads: &mut Vec<Load>,
    ) {
        let empty = Slot::default();
        for (name, found) in &mut section.found {
            let Found::Is(found) = found else { continue };
            let slot = self.0.get(name).unwrap_or(&empty);
            if slot.needs(found.digest, now) {
                loads.push(Load::Plugin(PluginLoad {
                    file: found.file.clone(),
                    digest: found.digest,
                    release: found.release.take(),
                }));
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<PluginFound>,
        mut loaded: BTreeMap<Name, LoadResult>,
        effects: &mut Effects,
    ) {
        if section.complete {
            for (name, slot) in &mut self.0 {
                if !section.found.contains_key(name) {
                    slot.wanted = false;
                    slot.refused = None;
                    slot.failure = None;
                    slot.rejected = None;
                }
            }
        }
        for (name, found) in section.found {
            let slot = self.0.entry(name.clone()).or_default();
            slot.wanted = true;
            match found {
                Found::Held => {}
                Found::Refused(error) => slot.refused = Some(error),
                Found::Is(found) => {
                    slot.refused = None;
                    slot.follow(&name, found.digest, loaded.remove(&name), effects);
                }
            }
        }
    }

    /// What routes may be made of.
    pub(super) fn parts(&self) -> BTreeMap<Name, PluginParts> {
        self.0
            .iter()
            .filter_map(|(name, slot)| {
                let parts = PluginParts {
                    current: Arc::clone(&slot.current.as_ref()?.item),
                    previous: slot
                        .standby
                        .as_ref()
                        .map(|standby| Arc::clone(&standby.item)),
                };
                Some((name.clone(), parts))
            })
            .collect()
    }

    /// Whether the site has a plugin.
    pub(super) fn wanted(&self, name: &Name) -> bool {
        self.0.get(name).is_some_and(|slot| slot.wanted)
    }

    /// Lets go of the plugins that the site has no more and that no route uses.
    pub(super) fn release(&mut self, routes: &Routes, effects: &mut Effects) {
        self.0.retain(|name, slot| {
            let used = slot
                .current
                .as_ref()
                .is_some_and(|current| routes.use_plugin(&current.item));
            if slot.wanted || used {
                return true;
            }
            if slot.current.is_some() {
                effects.event(EventKind::Removed, name, String::new());
            }
            effects.retire(slot.current.take());
            effects.retire(slot.standby.take());
            false
        });
    }

    pub(super) fn in_force(&self) -> BTreeMap<Name, Arc<dyn Plugin>> {
        self.0
            .iter()
            .filter_map(|(name, slot)| {
                Some((name.clone(), Arc::clone(&slot.current.as_ref()?.item)))
            })
            .collect()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.0.values().flat_map(|slot| {
            let failed = slot.failure.as_ref().map(|failure| &failure.error);
            let rejected = slot.rejected.as_ref().map(|(_, error)| error);
            slot.refused
                .iter()
                .chain(failed)
                .chain(rejected)
                .map(Arc::clone)
        })
    }

    pub(crate) fn status(&self) -> Vec<PluginStatus> {
        self.0
            .iter()
            .filter_map(|(name, slot)| {
                let current = slot.current.as_ref()?;
                Some(PluginStatus {
                    name: name.clone(),
                    digest: current.digest,
                    loaded_at: current.loaded_at,
                    previous: slot.standby.as_ref().map(|standby| standby.digest),
                    rejected: slot.rejected.as_ref().map(|(digest, _)| *digest),
                    health: current.item.health(),
                })
            })
            .collect()
    }

    /// Whether a release before is kept anywhere: then there is a probation to watch.
    pub(crate) fn keep_any(&self) -> bool {
        self.0.values().any(|slot| slot.standby.is_some())
    }

    /// Whether `roll_back` would do something.
    pub(crate) fn roll_back_due(&self, faults: u64, probation: Duration) -> bool {
        self.0.values().any(|slot| slot.fails(faults, probation))
    }

    /// Puts the release before back in force where a new one has `faults` in a row.
    pub(crate) fn roll_back(&mut self, faults: u64, probation: Duration, effects: &mut Effects) {
        for (name, slot) in &mut self.0 {
            if !slot.fails(faults, probation) {
                continue;
            }
            let (Some(bad), Some(mut good)) = (slot.current.take(), slot.standby.take()) else {
                continue;
            };
            let message = format!(
                "release {:.12} failed {} times in a row, and the release before it is in force again; replace it by one that works",
                bad.digest,
                bad.faults_in_a_row(),
            );
            effects.event(EventKind::RolledBack, name, message.clone());
            slot.rejected = Some((bad.digest, Arc::new(LoadError::new(file(name), message))));
            effects.retire(Some(bad));
            good.come_back();
            slot.current = Some(good);
        }
    }

    /// Whether `end_probation` would do something.
    pub(super) fn probation_over(&self, probation: Duration, routes: &Routes) -> bool {
        self.0
            .values()
            .any(|slot| slot.keeps_in_vain(probation, routes))
    }

    /// Lets go of the releases that are kept for a roll-back that can happen no more.
    pub(super) fn end_probation(
        &mut self,
        probation: Duration,
        routes: &Routes,
        effects: &mut Effects,
    ) {
        for slot in self.0.values_mut() {
            if slot.keeps_in_vain(probation, routes) {
                effects.retire(slot.standby.take());
            }
        }
    }
}

impl Slot {
    fn needs(&self, digest: Digest, now: Option<Instant>) -> bool {
        let is = |release: &Option<Release<dyn Plugin>>| {
            release
                .as_ref()
                .is_some_and(|release| release.digest == digest)
        };
        let rejected = self
            .rejected
            .as_ref()
            .is_some_and(|(rejected, _)| *rejected == digest);
        let failed = self
            .failure
            .as_ref()
            .is_some_and(|failure| failure.bars(digest, now));
        !is(&self.current) && !is(&self.standby) && !rejected && !failed
    }

    /// Goes over to what the site asks for, where that is loaded.
    fn follow(
        &mut self,
        name: &Name,
        digest: Digest,
        loaded: Option<LoadResult>,
        effects: &mut Effects,
    ) {
        if self
            .rejected
            .as_ref()
            .is_some_and(|(old, _)| *old != digest)
        {
            self.rejected = None;
        }
        match loaded {
            Some((digest, Ok(plugin))) => {
                self.failure = None;
                let release = Release::new(plugin, digest);
                let retired = std::mem::replace(&mut self.standby, self.current.replace(release));
                effects.retire(retired);
                effects.event(EventKind::Loaded, name, format!("release {digest:.12}"));
            }
            Some((digest, Err(error))) => {
                self.failure = Some(Failure::after(self.failure.take(), digest, error));
            }
            None if self
                .current
                .as_ref()
                .is_some_and(|now| now.digest == digest) =>
            {
                self.failure = None;
            }
            // The release before came back while it is still loaded.
            None if self
                .standby
                .as_ref()
                .is_some_and(|old| old.digest == digest) =>
            {
                self.failure = None;
                std::mem::swap(&mut self.current, &mut self.standby);
                if let Some(current) = &mut self.current {
                    current.come_back();
                }
                effects.event(
                    EventKind::Loaded,
                    name,
                    format!("release {digest:.12} again"),
                );
            }
            None => {}
        }
    }

    fn on_probation(&self, probation: Duration) -> bool {
        self.standby.is_some()
            && self
                .current
                .as_ref()
                .is_some_and(|current| current.in_force_since.elapsed() < probation)
    }

    /// Whether the release in force is to be rolled back. 0 faults switch that off.
    fn fails(&self, faults: u64, probation: Duration) -> bool {
        faults > 0
            && self.on_probation(probation)
            && self
                .current
                .as_ref()
                .is_some_and(|current| current.faults_in_a_row() >= faults)
    }

    /// Whether the release before is neither needed for a roll-back nor what a route falls back on.
    fn keeps_in_vain(&self, probation: Duration, routes: &Routes) -> bool {
        !self.on_probation(probation)
            && self
                .standby
                .as_ref()
                .is_some_and(|standby| !routes.use_plugin(&standby.item))
    }
}

impl Release<dyn Plugin> {
    /// Puts a release in force that was in force before.
    fn come_back(&mut self) {
        self.in_force_since = Instant::now();
        self.faults_before = self.item.health().faults;
    }

    /// The faults since the last call without one, of those since the release came into force.
    fn faults_in_a_row(&self) -> u64 {
        let health = self.item.health();
        let since = health.faults.saturating_sub(self.faults_before);
        health.consecutive_faults.min(since)
    }
}

impl Effects {
    fn retire(&mut self, release: Option<Release<dyn Plugin>>) {
        self.retired
            .extend(release.map(|release| Retired::Plugin(release.item)));
    }

    fn event(&mut self, kind: EventKind, name: &Name, message: String) {
        self.events.push((kind, file(name), message));
    }
}

fn file(name: &Name) -> String {
    format!("plugins/{name}.wasm")
}
