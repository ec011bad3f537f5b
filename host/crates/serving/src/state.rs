//! What is loaded, what the site asks for, and how the one follows the other. Nothing here does I/O or waits.
//!
//! The rule of all of it: a thing that cannot be served changes nothing. The old content of a plugin, model or route serves
//! until its new content does; only what was taken away goes.

mod demand;
mod models;
mod plugins;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use wharf_core::{Digest, LoadError, Model, ModelVersion, Name, Plugin, PluginFile, PluginRelease};

use crate::config::Config;
use crate::events::EventKind;
use crate::guarded::Guards;
use crate::lifecycle::IndexEntry;
use crate::metrics::Metrics;
use crate::reaper::Retired;
use crate::route::Parts;
use crate::site::Scan;
use crate::snapshot::Snapshot;
use demand::Demand;
use models::Models;
use plugins::Plugins;
use routes::Routes;

pub(crate) use models::{UnderWay, Versions};

/// Everything that is loaded.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) plugins: Plugins,
    pub(crate) models: Models,
    routes: Routes,
    /// What is wrong with folders and names.
    site_errors: Vec<Arc<LoadError>>,
    /// What is wrong with `wharf.toml`, by the program that reads it.
    pub(crate) site_config_error: Option<Arc<LoadError>>,
}

/// Something loaded, with its story.
pub(crate) struct Release<T: ?Sized> {
    pub(crate) item: Arc<T>,
    pub(crate) digest: Digest,
    pub(crate) loaded_at: SystemTime,
    pub(crate) in_force_since: Instant,
}

/// A content that could not be loaded. The same content is tried again by order, and by itself after a while: what was
/// missing may have been memory.
pub(crate) struct Failure {
    digest: Digest,
    error: Arc<LoadError>,
    attempts: u32,
    again_at: Instant,
}

/// Something to load.
pub(crate) enum Load {
    Plugin(PluginLoad),
    Model(ModelVersion),
}

/// A plugin to load.
pub(crate) struct PluginLoad {
    pub(crate) file: PluginFile,
    pub(crate) digest: Digest,
    pub(crate) release: Option<PluginRelease>,
}

/// What became of a load.
pub(crate) enum Loaded {
    Plugin(Name, Digest, Result<Arc<dyn Plugin>, LoadError>),
    Model(ModelVersion, Result<Arc<dyn Model>, LoadError>),
}

/// What a pass over the site is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To follow the site. What failed before is tried again when its time has come.
    Follow,
    /// The same by order: what failed before is tried again now.
    Thorough,
    /// To load a model that somebody asked for.
    Load(Name),
}

/// What a change of the state leaves for others to do.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) retired: Vec<Retired>,
    pub(crate) events: Vec<(EventKind, String, String)>,
}

/// What routes are linked with beside the state.
#[derive(Clone, Copy)]
pub(crate) struct Surroundings<'a> {
    pub(crate) config: &'a Config,
    pub(crate) metrics: &'a Metrics,
    pub(crate) faults: &'a Arc<Notify>,
}

impl State {
    pub(crate) fn new(config: &Config, guards: &Arc<Guards>) -> Self {
        Self {
            plugins: Plugins::new(guards),
            models: Models::new(Demand::new(config)),
            ..Self::default()
        }
    }

    /// Says what must be loaded for the state to follow the site.
    pub(crate) fn plan(&self, scan: &mut Scan, purpose: &Purpose) -> Vec<Load> {
        let now = (*purpose == Purpose::Follow).then(Instant::now);
        let mut loads = Vec::new();
        self.plugins.plan(&mut scan.plugins, now, &mut loads);
        self.models.plan(&scan.models, purpose, &mut loads);
        loads
    }

    /// The models that would not serve at all: of each, the lowest version that failed.
    pub(crate) fn fallen<'a>(&self, loaded: &'a [Loaded]) -> Vec<&'a ModelVersion> {
        self.models.fallen(loaded)
    }

    /// Takes what was found and what was loaded.
    pub(crate) fn apply(
        &mut self,
        scan: Scan,
        loaded: Vec<Loaded>,
        purpose: &Purpose,
        effects: &mut Effects,
    ) {
        // A look at one model says nothing about the rest.
        if !matches!(purpose, Purpose::Load(_)) {
            self.site_errors = scan.errors;
        }
        let (mut plugins, mut models) = (BTreeMap::new(), BTreeMap::new());
        for one in loaded {
            match one {
                Loaded::Plugin(name, digest, result) => {
                    plugins.insert(name, (digest, result));
                }
                Loaded::Model(version, result) => {
                    models.insert((version.name.clone(), version.version), (version, result));
                }
            }
        }
        self.plugins.apply(scan.plugins, plugins, effects);
        self.models.apply(scan.models, models, purpose, effects);
        self.routes.apply(scan.routes);
    }

    /// Makes the snapshot of the state: links every route. The generation is for the caller to set.
    pub(crate) fn link(&mut self, around: Surroundings<'_>, effects: &mut Effects) -> Snapshot {
        let models = self.models.in_force();
        let (plugins, labels) = (self.plugins.parts(), self.models.labels());
        let unwanted = self.models.unwanted();
        self.routes.link(
            &Parts {
                config: around.config,
                metrics: around.metrics,
                faults: around.faults,
                models: &models,
                plugins: &plugins,
                labels: &labels,
                unwanted: &unwanted,
            },
            |plugin| self.plugins.wanted(plugin),
            effects,
        );
        drop(plugins);
        self.plugins.release(&self.routes, effects);
        Snapshot {
            generation: 0,
            routes: self.routes.in_force(),
            models,
            plugins: self.plugins.in_force(),
        }
    }

    /// Whether `end_probation` would do something.
    pub(crate) fn probation_over(&self, probation: Duration) -> bool {
        self.plugins.probation_over(probation, &self.routes)
    }

    /// Lets go of the plugin releases that are kept for a roll-back that can happen no more.
    pub(crate) fn end_probation(&mut self, probation: Duration, effects: &mut Effects) {
        self.plugins.end_probation(probation, &self.routes, effects);
    }

    /// How every version of every model and every route with a file is. A route of a model's name adds what the model's
    /// versions do not say.
    pub(crate) fn index(&self, under_way: &UnderWay) -> Vec<IndexEntry> {
        let mut index = self.models.index(under_way);
        for entry in self.routes.index() {
            let same =
                |other: &IndexEntry| (&other.name, other.version) == (&entry.name, entry.version);
            if !index.iter().any(same) {
                index.push(entry);
            }
        }
        index.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        index
    }

    /// Every present error of the site.
    pub(crate) fn errors(&self) -> Vec<Arc<LoadError>> {
        let mut errors = self.site_errors.clone();
        errors.extend(self.site_config_error.clone());
        errors.extend(self.plugins.errors());
        errors.extend(self.models.errors());
        errors.extend(self.routes.errors());
        errors
    }
}

impl<T: ?Sized> Release<T> {
    fn new(item: Arc<T>, digest: Digest) -> Self {
        Self {
            item,
            digest,
            loaded_at: SystemTime::now(),
            in_force_since: Instant::now(),
        }
    }
}

impl Failure {
    /// The wait before the second attempt; it doubles with each.
    const FIRST_WAIT: Duration = Duration::from_secs(30);

    fn after(before: Option<Failure>, digest: Digest, error: LoadError) -> Self {
        let attempts = before
            .filter(|before| before.digest == digest)
            .map_or(0, |before| before.attempts + 1);
        Self {
            digest,
            error: Arc::new(error),
            attempts,
            again_at: Instant::now() + Self::FIRST_WAIT * (1 << attempts.min(7)),
        }
    }

    /// Whether this content is not to be tried at this moment. Without a moment everything is tried.
    fn bars(&self, digest: Digest, now: Option<Instant>) -> bool {
        self.digest == digest && now.is_some_and(|now| now < self.again_at)
    }
}
