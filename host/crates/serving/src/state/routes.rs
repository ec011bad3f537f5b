//! The routes of a state.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use wharf_core::{LoadError, Name, Plugin, Tenants};

use super::{Absence, Effects};
use crate::events::EventKind;
use crate::lifecycle::{IndexEntry, ModelState};
use crate::route::{Parts, Route, RouteSpec, link};
use crate::site::{Found, Section};
use crate::snapshot::same;

#[derive(Default)]
pub(crate) struct Routes(BTreeMap<Name, Slot>);

/// A route by name.
#[derive(Default)]
struct Slot {
    /// The route file; none where the route is a model's implicit one.
    file: Option<File>,
    /// The spec that was last linked whole.
    good: Option<Arc<RouteSpec>>,
    route: Option<Arc<Route>>,
    /// Why the file is not in force as it stands.
    errors: Vec<Arc<LoadError>>,
}

enum File {
    Is(Arc<RouteSpec>),
    Refused(Arc<LoadError>),
    /// It was there from the first and was never read whole.
    Unread,
}

impl Routes {
    pub(super) fn apply(&mut self, section: Section<Arc<RouteSpec>>) {
        if section.complete {
            for (name, slot) in &mut self.0 {
                if !section.found.contains_key(name) {
                    slot.file = None;
                }
            }
        }
        for (name, found) in section.found {
            let slot = self.0.entry(name).or_default();
            match found {
                Found::Held => {
                    slot.file.get_or_insert(File::Unread);
                }
                Found::Is(spec) => slot.file = Some(File::Is(spec)),
                Found::Refused(error) => slot.file = Some(File::Refused(error)),
            }
        }
    }

    /// Links every route with what is in force. `wanted` says whether the site has a plugin.
    pub(super) fn link(
        &mut self,
        parts: &Parts<'_>,
        wanted: impl Fn(&Name) -> bool,
        effects: &mut Effects,
    ) {
        let names: BTreeSet<Name> = self.0.keys().chain(parts.models.keys()).cloned().collect();
        for name in names {
            let slot = self.0.entry(name.clone()).or_default();
            let before = slot.route.clone();
            slot.link(&name, parts, &wanted);
            // Implicit routes come and go with their models, whose events say so.
            let spec = |route: &Option<Arc<Route>>| {
                let spec = &route.as_ref()?.spec;
                (!spec.implicit).then(|| Arc::clone(spec))
            };
            let kind = match (spec(&before), spec(&slot.route)) {
                (Some(_), None) => EventKind::Removed,
                (old, Some(new)) if old.as_ref() != Some(&new) => EventKind::Loaded,
                _ => continue,
            };
            effects
                .events
                .push((kind, format!("routes/{name}.toml"), String::new()));
        }
        self.0
            .retain(|_, slot| slot.file.is_some() || slot.route.is_some());
    }

    /// Whether the site has a route with a file, but those all of whose models are not to be loaded.
    pub(super) fn want_any(&self, is_unwanted: impl Fn(&Name) -> bool) -> bool {
        let mut files = self.0.values().filter_map(|slot| slot.file.as_ref());
        files.any(|file| file.is_wanted(&is_unwanted))
    }

    /// Why a route with a file is not in force; none where all of its models are not to be loaded.
    pub(super) fn absence(
        &self,
        name: &Name,
        is_unwanted: impl Fn(&Name) -> bool,
    ) -> Option<Absence> {
        let slot = self.0.get(name)?;
        slot.file.as_ref().filter(|it| it.is_wanted(is_unwanted))?;
        let error = slot.errors.first();
        Some(Absence {
            reason: error.map_or("it is not read yet".to_owned(), |error| error.client_text()),
            tenants: slot.tenants(),
        })
    }

    pub(super) fn in_force(&self) -> BTreeMap<Name, Arc<Route>> {
        self.0
            .iter()
            .filter_map(|(name, slot)| Some((name.clone(), Arc::clone(slot.route.as_ref()?))))
            .collect()
    }

    /// Whether a route in force calls or may call this very release.
    pub(crate) fn use_plugin(&self, plugin: &Arc<dyn Plugin>) -> bool {
        self.0
            .values()
            .filter_map(|slot| slot.route.as_ref())
            .flat_map(|route| route.plugins())
            .any(|used| same(used, plugin))
    }

    /// The names that have a file.
    pub(super) fn names(&self) -> impl Iterator<Item = &Name> {
        let with_file = self.0.iter().filter(|(_, slot)| slot.file.is_some());
        with_file.map(|(name, _)| name)
    }

    /// How every route with a file is: with the versions that it leads to.
    pub(super) fn index(&self) -> Vec<IndexEntry> {
        let with_file = self.0.iter().filter(|(_, slot)| slot.file.is_some());
        with_file
            .flat_map(|(name, slot)| {
                let error = slot.errors.first().map(|error| error.client_text());
                let tenants = slot.tenants();
                let entry = |version, state, reason| IndexEntry {
                    name: name.clone(),
                    version,
                    state,
                    reason,
                    tenants: tenants.clone(),
                };
                let Some(route) = &slot.route else {
                    let reason = error.unwrap_or_default();
                    return vec![entry(None, ModelState::Unavailable, reason)];
                };
                let reason = error.map(|error| format!("newer content was refused: {error}"));
                let reason = reason.unwrap_or_default();
                let versions: BTreeSet<u64> =
                    route.models().map(|model| model.info().version).collect();
                versions
                    .into_iter()
                    .map(|version| entry(Some(version), ModelState::Ready, reason.clone()))
                    .collect()
            })
            .collect()
    }

    pub(super) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        self.0.values().flat_map(|slot| slot.errors.iter().cloned())
    }
}

impl File {
    /// Whether it is to serve: not where all of its models are not to be loaded.
    fn is_wanted(&self, is_unwanted: impl Fn(&Name) -> bool) -> bool {
        match self {
            Self::Is(spec) => !spec.candidates.iter().all(|it| is_unwanted(&it.model)),
            Self::Refused(_) | Self::Unread => true,
        }
    }
}

impl Slot {
    /// Whose the route is. As long as its file could not be read, it is the operator's.
    fn tenants(&self) -> Tenants {
        match (&self.route, &self.file) {
            (Some(route), _) => route.spec.tenants.clone(),
            (None, Some(File::Is(spec))) => spec.tenants.clone(),
            (None, _) => Tenants::only([]),
        }
    }

    fn link(&mut self, name: &Name, parts: &Parts<'_>, wanted: impl Fn(&Name) -> bool) {
        self.errors.clear();
        let tenants = parts.tenants.get(name).cloned().unwrap_or_default();
        let spec = match &self.file {
            Some(File::Is(spec)) => Arc::clone(spec),
            Some(File::Refused(error)) => {
                self.errors.push(Arc::clone(error));
                return self.keep(parts);
            }
            Some(File::Unread) => return self.keep(parts),
            None if parts.models.contains_key(name) => match &self.good {
                Some(spec) if spec.implicit && spec.tenants == tenants => Arc::clone(spec),
                _ => Arc::new(RouteSpec::implicit(name.clone(), tenants)),
            },
            None => {
                self.good = None;
                self.route = None;
                return;
            }
        };
        let mut errors = spec.removed_plugins(wanted);
        match link(&spec, parts, self.route.as_ref()) {
            Ok(route) if errors.is_empty() => {
                self.good = Some(spec);
                self.route = Some(route);
                return;
            }
            Ok(_) => {}
            Err(more) => {
                let known: Vec<_> = errors.iter().map(|error| error.key.clone()).collect();
                errors.extend(more.into_iter().filter(|error| !known.contains(&error.key)));
            }
        }
        self.errors = errors.into_iter().map(Arc::new).collect();
        self.keep(parts);
    }

    /// The file is not to be served as it stands. The last good spec is: with what is in force now, without the candidates
    /// whose model was taken away. A removed model frees its memory, and a route without a model left goes.
    fn keep(&mut self, parts: &Parts<'_>) {
        let Some(good) = &self.good else {
            return;
        };
        let present = |candidate: &&crate::CandidateSpec| {
            parts
                .models
                .get(&candidate.model)
                .is_some_and(|versions| match candidate.version {
                    Some(version) => versions.contains_key(&version),
                    None => !versions.is_empty(),
                })
        };
        let candidates: Vec<_> = good.candidates.iter().filter(present).cloned().collect();
        if candidates.is_empty() {
            self.route = None;
            return;
        }
        let spec = if candidates.len() == good.candidates.len() {
            Arc::clone(good)
        } else {
            Arc::new(RouteSpec {
                candidates,
                ..RouteSpec::clone(good)
            })
        };
        // A plugin that lost the stage that the route calls: then the release before serves on, in the route as it is.
        if let Ok(route) = link(&spec, parts, self.route.as_ref()) {
            self.route = Some(route);
        }
    }
}
