//! The plugins of a state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Digest, LoadError, Name, Plugin};

use super::{Effects, Failure, Load, PluginLoad, Release, Routes};
use crate::events::EventKind;
use crate::guarded::{Guarded, Guards, Suspect};
use crate::reaper::Retired;
use crate::route::PluginParts;
use crate::site::{Found, PluginFound, Section};
use crate::status::PluginStatus;

#[derive(Default)]
pub(crate) struct Plugins {
    slots: BTreeMap<Name, Slot>,
    guards: Arc<Guards>,
}

/// A plugin by name.
#[derive(Default)]
struct Slot {
    /// Whether the site has it. One that is gone serves on for the routes in force that use it.
    wanted: bool,
    current: Option<Release<Guarded>>,
    /// The release before: what a roll-back and the failure policy `previous` fall back on.
    standby: Option<Release<Guarded>>,
    /// Why the file cannot be read.
    refused: Option<Arc<LoadError>>,
    failure: Option<Failure>,
    /// What was rolled back: not loaded again until the content is another.
    rejected: Option<(Digest, Arc<LoadError>)>,
}

/// What became of loading a release: its digest, and the plugin.
type LoadResult<P> = (Digest, Result<Arc<P>, LoadError>);

impl Plugins {
    pub(super) fn new(guards: &Arc<Guards>) -> Self {
        Self {
            slots: BTreeMap::new(),
            guards: Arc::clone(guards),
        }
    }

    pub(super) fn plan(
        &self,
        section: &mut Section<PluginFound>,
        now: Option<Instant>,
        loads: &mut Vec<Load>,
    ) {
        let empty = Slot::default();
        for (name, found) in &mut section.found {
            let Found::Is(found) = found else { continue };
            let slot = self.slots.get(name).unwrap_or(&empty);
            if slot.needs(found.digest, now) {
                loads.push(Load::Plugin(Box::new(PluginLoad {
                    file: found.file.clone(),
                    digest: found.digest,
                    release: found.release.take(),
                    owner: None,
                })));
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<PluginFound>,
        mut loaded: BTreeMap<Name, LoadResult<dyn Plugin>>,
        effects: &mut Effects,
    ) {
        if section.complete {
            for (name, slot) in &mut self.slots {
                if !section.found.contains_key(name) {
                    slot.wanted = false;
                    slot.refused = None;
                    slot.failure = None;
                    slot.rejected = None;
                }
            }
        }
        for (name, found) in section.found {
            let slot = self.slots.entry(name.clone()).or_default();
            slot.wanted = true;
            match found {
                Found::Held => {}
                Found::Refused(error) => slot.refused = Some(error),
                Found::Is(found) => {
                    slot.refused = None;
                    let loaded = loaded.remove(&name).map(|(digest, plugin)| {
                        let plugin = plugin.map(|plugin| Guarded::new(plugin, &self.guards));
                        (digest, plugin.map(Arc::new))
                    });
                    slot.follow(&name, found.digest, loaded, effects);
                }
            }
        }
    }

    /// What routes may be made of.
    pub(super) fn parts(&self) -> BTreeMap<Name, PluginParts> {
        self.slots
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
        self.slots.get(name).is_some_and(|slot| slot.wanted)
    }

    /// Lets go of the plugins that the site has no more and that no route uses.
    pub(super) fn release(&mut self, routes: &Routes, effects: &mut Effects) {
        self.slots.retain(|name, slot| {
            let used = slot
                .current
                .as_ref()
                .is_some_and(|current| routes.use_plugin(current.item.plugin()));
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

    pub(super) fn in_force(&self) -> BTreeMap<Name, Arc<Guarded>> {
        self.slots
            .iter()
            .filter_map(|(name, slot)| {
                let current = slot.current.as_ref()?;
                Some((name.clone(), Arc::clone(&current.item)))
            })
            .collect()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.slots.values().flat_map(|slot| {
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
        self.slots
            .iter()
            .filter_map(|(name, slot)| {
                let current = slot.current.as_ref()?;
                Some(PluginStatus {
                    name: name.clone(),
                    digest: current.digest,
                    loaded_at: current.loaded_at,
                    previous: slot.standby.as_ref().map(|standby| standby.digest),
                    rejected: slot.rejected.as_ref().map(|(digest, _)| *digest),
                    health: current.item.plugin().health(),
                })
            })
            .collect()
    }

    /// Whether a release before is kept anywhere: then there is a probation to watch.
    pub(crate) fn keep_any(&self) -> bool {
        self.slots.values().any(|slot| slot.standby.is_some())
    }

    /// Whether `roll_back` would do something.
    pub(crate) fn roll_back_due(&self, faults: u64, probation: Duration) -> bool {
        self.slots
            .values()
            .any(|slot| slot.fails(faults, probation))
    }

    /// The release before that of a suspect, while that one is on trial.
    pub(crate) fn release_before(
        &self,
        suspect: &Suspect,
        probation: Duration,
    ) -> Option<Arc<dyn Plugin>> {
        let slot = self.accused(suspect, probation)?;
        let standby = slot.standby.as_ref()?;
        Some(Arc::clone(standby.item.plugin()))
    }

    /// Notes that the release before does what a suspect failed at.
    pub(crate) fn regressed(&self, suspect: &Suspect, probation: Duration) {
        let slot = self.accused(suspect, probation);
        if let Some(current) = slot.and_then(|slot| slot.current.as_ref()) {
            current.item.regressed(suspect);
        }
    }

    fn accused(&self, suspect: &Suspect, probation: Duration) -> Option<&Slot> {
        let slot = self.slots.get(&suspect.plugin)?;
        let is = |current: &Release<Guarded>| current.digest == suspect.release;
        let accused = slot.on_probation(probation) && slot.current.as_ref().is_some_and(is);
        accused.then_some(slot)
    }

    /// Puts the release before back in force where a new one has `faults` in a row that it has not.
    pub(crate) fn roll_back(&mut self, faults: u64, probation: Duration, effects: &mut Effects) {
        for (name, slot) in &mut self.slots {
            if !slot.fails(faults, probation) {
                continue;
            }
            let (Some(bad), Some(mut good)) = (slot.current.take(), slot.standby.take()) else {
                continue;
            };
            let message = format!(
                "release {:.12} failed {} times in a row where the release before it did not, and that one is in force again; replace it by one that works",
                bad.digest,
                bad.item.regressions(),
            );
            effects.event(EventKind::RolledBack, name, message.clone());
            slot.rejected = Some((bad.digest, Arc::new(LoadError::new(file(name), message))));
            effects.retire(Some(bad));
            good.in_force_since = Instant::now();
            slot.current = Some(good);
        }
    }

    /// Whether `end_probation` would do something.
    pub(super) fn probation_over(&self, probation: Duration, routes: &Routes) -> bool {
        self.slots.values().any(|slot| {
            slot.keeps_in_vain(probation, routes) || slot.on_trial_in_vain(probation).is_some()
        })
    }

    /// Lets go of the releases that are kept for a roll-back that can happen no more.
    pub(super) fn end_probation(
        &mut self,
        probation: Duration,
        routes: &Routes,
        effects: &mut Effects,
    ) {
        for slot in self.slots.values_mut() {
            if slot.keeps_in_vain(probation, routes) {
                effects.retire(slot.standby.take());
            }
            if let Some(current) = slot.on_trial_in_vain(probation) {
                current.item.end_trial();
            }
        }
    }
}

impl Slot {
    fn needs(&self, digest: Digest, now: Option<Instant>) -> bool {
        let is = |release: &Option<Release<Guarded>>| {
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
        loaded: Option<LoadResult<Guarded>>,
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
                self.begin_trial();
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
                    current.in_force_since = Instant::now();
                }
                self.begin_trial();
                effects.event(
                    EventKind::Loaded,
                    name,
                    format!("release {digest:.12} again"),
                );
            }
            None => {}
        }
    }

    /// Puts the release in force on trial, where there is one before it to compare it with.
    fn begin_trial(&self) {
        if let (Some(current), Some(standby)) = (&self.current, &self.standby) {
            standby.item.end_trial();
            current.item.begin_trial();
        }
    }

    fn on_trial_in_vain(&self, probation: Duration) -> Option<&Release<Guarded>> {
        let current = self.current.as_ref()?;
        (!self.on_probation(probation) && current.item.is_on_trial()).then_some(current)
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
                .is_some_and(|current| current.item.regressions() >= faults)
    }

    /// Whether the release before is neither needed for a roll-back nor what a route falls back on.
    fn keeps_in_vain(&self, probation: Duration, routes: &Routes) -> bool {
        !self.on_probation(probation)
            && self
                .standby
                .as_ref()
                .is_some_and(|standby| !routes.use_plugin(standby.item.plugin()))
    }
}

impl Effects {
    fn retire(&mut self, release: Option<Release<Guarded>>) {
        self.retired
            .extend(release.map(|release| Retired::Plugin(Arc::clone(release.item.plugin()))));
    }

    fn event(&mut self, kind: EventKind, name: &Name, message: String) {
        self.events.push((kind, file(name), message));
    }
}

fn file(name: &Name) -> String {
    format!("plugins/{name}.wasm")
}
