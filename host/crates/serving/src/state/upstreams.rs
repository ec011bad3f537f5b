//! The upstreams of a state. Each is a model of its own name, in one namespace with those of the site.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use wharf_core::{Digest, LoadError, Model, Name, Tenants, Upstream, UpstreamRelease};

use super::{Absence, Effects, Failure, Load, Release};
use crate::events::EventKind;
use crate::lifecycle::{IndexEntry, ModelState};
use crate::site::{Found, Section};
use crate::status::ModelStatus;

#[derive(Default)]
pub(crate) struct Upstreams(BTreeMap<Name, Slot>);

/// An upstream by name.
#[derive(Default)]
struct Slot {
    current: Option<Release<dyn Upstream>>,
    /// Whose it is; the operator's as long as that could not be read.
    tenants: Option<Tenants>,
    /// Why the file cannot be read.
    refused: Option<Arc<LoadError>>,
    failure: Option<Failure>,
    /// That another thing has the name.
    clash: Option<Arc<LoadError>>,
}

/// By name.
pub(super) type Results = BTreeMap<Name, (Digest, Result<Arc<dyn Upstream>, LoadError>)>;

type Versions = BTreeMap<u64, Arc<dyn Model>>;

impl Upstreams {
    pub(super) fn plan(
        &self,
        section: &Section<UpstreamRelease>,
        now: Option<Instant>,
        loads: &mut Vec<Load>,
    ) {
        for (name, found) in &section.found {
            let Found::Is(release) = found else { continue };
            let slot = self.0.get(name);
            if slot.is_none_or(|slot| slot.needs(release.digest, now)) {
                loads.push(Load::Upstream(release.clone()));
            }
        }
    }

    pub(super) fn apply(
        &mut self,
        section: Section<UpstreamRelease>,
        mut opened: Results,
        effects: &mut Effects,
    ) {
        if section.complete {
            self.0.retain(|name, slot| {
                let stays = section.found.contains_key(name);
                if !stays && slot.current.is_some() {
                    effects
                        .events
                        .push((EventKind::Removed, file(name), String::new()));
                }
                stays
            });
        }
        for (name, found) in section.found {
            let slot = self.0.entry(name.clone()).or_default();
            match found {
                Found::Held => {}
                Found::Refused(error) => slot.refused = Some(error),
                Found::Is(release) => {
                    slot.refused = None;
                    slot.tenants = Some(release.tenants);
                    match opened.remove(&name) {
                        Some((digest, Ok(upstream))) => {
                            slot.failure = None;
                            slot.current = Some(Release::new(upstream, digest));
                            let message = format!("release {digest:.12}");
                            effects
                                .events
                                .push((EventKind::Loaded, file(&name), message));
                        }
                        Some((digest, Err(error))) => {
                            let failure = Failure::after(slot.failure.take(), digest, error);
                            slot.failure = Some(failure);
                        }
                        None if slot.has(release.digest) => slot.failure = None,
                        None => {}
                    }
                }
            }
        }
    }

    /// Puts the models of upstreams beside those of the site. Where both have a name, the site's own keeps it.
    pub(super) fn join(
        &mut self,
        models: &mut BTreeMap<Name, Versions>,
        (defaults, tenants): (&mut BTreeMap<Name, u64>, &mut BTreeMap<Name, Tenants>),
        taken: impl Fn(&Name) -> bool,
    ) {
        for (name, slot) in &mut self.0 {
            slot.clash = None;
            if taken(name) || models.contains_key(name) {
                let message =
                    format!("models/{name} has this name, and keeps it; give one of them another");
                slot.clash = Some(Arc::new(LoadError::new(file(name), message)));
                continue;
            }
            if let Some(model) = slot.model() {
                let version = model.info().version;
                defaults.insert(name.clone(), version);
                tenants.insert(name.clone(), slot.tenants());
                models.insert(name.clone(), BTreeMap::from([(version, model)]));
            }
        }
    }

    /// The upstreams that are not there as models, with the reason for clients.
    pub(super) fn absent(&self) -> BTreeMap<Name, String> {
        let absent = self.0.iter().filter(|(_, slot)| slot.model().is_none());
        absent
            .map(|(name, slot)| (name.clone(), slot.reason()))
            .collect()
    }

    /// Why an upstream is not there as a model.
    pub(super) fn absence(&self, name: &Name) -> Option<Absence> {
        let slot = self.0.get(name)?;
        Some(Absence {
            reason: slot.reason(),
            tenants: slot.tenants(),
        })
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        self.0.keys()
    }

    /// Whether there is an upstream.
    pub(super) fn want_any(&self) -> bool {
        !self.0.is_empty()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.0.values().flat_map(Slot::errors)
    }

    pub(crate) fn status(&self) -> impl Iterator<Item = ModelStatus> {
        self.0.iter().filter_map(|(name, slot)| {
            let current = slot.current.as_ref()?;
            let model = slot.model().filter(|_| slot.clash.is_none())?;
            let info = model.info();
            Some(ModelStatus {
                name: name.clone(),
                version: info.version,
                labels: Vec::new(),
                digest: info.digest,
                loaded_at: current.loaded_at,
                device: info.device.clone(),
                load: model.load(),
            })
        })
    }

    pub(super) fn index(&self) -> impl Iterator<Item = IndexEntry> {
        self.0
            .iter()
            .filter(|(_, slot)| slot.clash.is_none())
            .map(|(name, slot)| {
                let model = slot.model();
                let problem = slot.errors().next();
                IndexEntry {
                    name: name.clone(),
                    version: model.as_ref().map(|model| model.info().version),
                    state: match model {
                        Some(_) => ModelState::Ready,
                        None => ModelState::Unavailable,
                    },
                    reason: problem.map_or_else(String::new, |problem| problem.client_text()),
                    tenants: slot.tenants(),
                }
            })
    }
}

impl Slot {
    fn tenants(&self) -> Tenants {
        self.tenants.clone().unwrap_or_else(|| Tenants::only([]))
    }

    /// Why it is not there as a model, for clients.
    fn reason(&self) -> String {
        let problem = self.errors().next();
        problem.map_or("it is not read yet".to_owned(), |problem| {
            problem.client_message().to_owned()
        })
    }

    fn needs(&self, digest: Digest, now: Option<Instant>) -> bool {
        let failed = self.failure.as_ref();
        !self.has(digest) && !failed.is_some_and(|failure| failure.bars(digest, now))
    }

    fn has(&self, digest: Digest) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| current.digest == digest)
    }

    fn model(&self) -> Option<Arc<dyn Model>> {
        self.current.as_ref()?.item.model()
    }

    fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        let failed = self
            .failure
            .as_ref()
            .map(|failure| Arc::clone(&failure.error));
        let problem = self
            .current
            .as_ref()
            .and_then(|current| current.item.problem());
        let own = [self.refused.clone(), failed, self.clash.clone(), problem];
        own.into_iter().flatten()
    }
}

fn file(name: &Name) -> String {
    format!("upstreams/{name}.toml")
}
