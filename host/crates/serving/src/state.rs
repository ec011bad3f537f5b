//! What is loaded, what the site asks for, and how the one follows the other. Nothing here does I/O or waits.
//!
//! The rule of all of it: a thing that cannot be served changes nothing. The old content of a plugin, model or route serves
//! until its new content does; only what was taken away goes.

mod bundles;
mod demand;
mod models;
mod plugins;
mod routes;
mod upstreams;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::Notify;
use wharf_core::{
    Digest, LoadError, Model, ModelVersion, Name, Plugin, PluginFile, PluginOwner, PluginRelease,
    Tenants, Upstream, UpstreamRelease,
};

use crate::bundle::{Member, Release as BundleRelease, ReleaseLoad, ReleaseName};
use crate::config::Config;
use crate::events::EventKind;
use crate::guarded::Guards;
use crate::lifecycle::IndexEntry;
use crate::metrics::Metrics;
use crate::reaper::Retired;
use crate::route::{Parts, RouteSpec};
use crate::site::{Ports, Scan};
use crate::snapshot::Snapshot;
use bundles::Bundles;
use demand::Demand;
use models::Models;
use plugins::Plugins;
use routes::Routes;
use upstreams::Upstreams;

pub(crate) use bundles::write as write_record;
pub(crate) use models::{StandIn, UnderWay, Versions};

/// Everything that is loaded.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) plugins: Plugins,
    pub(crate) models: Models,
    pub(crate) upstreams: Upstreams,
    routes: Routes,
    pub(crate) bundles: Bundles,
    /// The names that bundles and the site both have.
    clashes: Vec<Arc<LoadError>>,
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

/// What the site has and what does not serve, although it is to.
pub(crate) struct Absence {
    /// Why, for clients.
    pub(crate) reason: String,
    /// Whose it is.
    pub(crate) tenants: Tenants,
}

/// Something to load.
pub(crate) enum Load {
    Plugin(Box<PluginLoad>),
    Model(ModelVersion),
    Release(Box<ReleaseLoad>),
    Upstream(UpstreamRelease),
}

/// A plugin to load.
pub(crate) struct PluginLoad {
    pub(crate) file: PluginFile,
    pub(crate) digest: Digest,
    pub(crate) release: Option<PluginRelease>,
    /// What it belongs to, where that is not the site itself.
    pub(crate) owner: Option<PluginOwner>,
}

/// What became of a load.
pub(crate) enum Loaded {
    Plugin(Name, Digest, Result<Arc<dyn Plugin>, LoadError>),
    Model(ModelVersion, Result<Arc<dyn Model>, LoadError>),
    Release(
        ReleaseName,
        Digest,
        Result<Box<BundleRelease>, Vec<LoadError>>,
    ),
    Upstream(Name, Digest, Result<Arc<dyn Upstream>, LoadError>),
}

/// The plugins and models of a state that are in force.
pub(crate) struct InForceParts {
    pub(crate) plugins: Vec<Arc<dyn Plugin>>,
    pub(crate) models: Vec<Arc<dyn Model>>,
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
    /// The release of a bundle that the routes belong to.
    pub(crate) member: Option<&'a Member>,
}

impl State {
    pub(crate) fn new(config: &Config, guards: &Arc<Guards>) -> Self {
        Self {
            plugins: Plugins::new(guards),
            models: Models::new(Demand::new(config)),
            ..Self::default()
        }
    }

    /// The same for a site, which may have bundles; `noticed` is told of the faults of their releases.
    pub(crate) fn of_site(config: &Config, guards: &Arc<Guards>, noticed: &Arc<Notify>) -> Self {
        Self {
            bundles: Bundles::new(guards, noticed),
            ..Self::new(config, guards)
        }
    }

    /// Says what must be loaded for the state to follow the site.
    pub(crate) fn plan(&self, scan: &mut Scan, purpose: &Purpose) -> Vec<Load> {
        let now = purpose.now();
        let mut loads = Vec::new();
        self.plugins.plan(&mut scan.plugins, now, &mut loads);
        self.models.plan(&scan.models, purpose, &mut loads);
        self.upstreams.plan(&scan.upstreams, now, &mut loads);
        loads.extend(self.plan_releases(scan, purpose, &[]));
        loads
    }

    /// Says which releases of bundles must be loaded beside those of this pass that were: in the place of those that failed, and to
    /// be tried beside those that did not.
    pub(crate) fn plan_releases(
        &self,
        scan: &mut Scan,
        purpose: &Purpose,
        loaded: &[Loaded],
    ) -> Vec<Load> {
        let now = purpose.now();
        let mut loads = Vec::new();
        let names = self.names(scan);
        self.bundles
            .plan(&mut scan.bundles, &names, now, loaded, &mut loads);
        loads
    }

    /// The names of the site's own routes, models and upstreams, with the place of each, as a look found them.
    fn names(&self, scan: &Scan) -> BTreeMap<Name, String> {
        let model = |name: &Name| (name.clone(), format!("models/{name}"));
        let route = |name: &Name| (name.clone(), format!("routes/{name}.toml"));
        let upstream = |name: &Name| (name.clone(), format!("upstreams/{name}.toml"));
        let mut names = BTreeMap::new();
        if !scan.upstreams.complete {
            names.extend(self.upstreams.names().map(upstream));
        }
        names.extend(scan.upstreams.found.keys().map(upstream));
        if !scan.models.complete {
            names.extend(self.models.names().map(model));
        }
        names.extend(scan.models.found.keys().map(model));
        if !scan.routes.complete {
            names.extend(self.routes.names().map(route));
        }
        names.extend(scan.routes.found.keys().map(route));
        names
    }

    /// Loads every release of every bundle that a look found, keeps none, and says what is wrong with them. Blocks.
    pub(crate) fn check_bundles(&self, scan: &mut Scan, ports: Ports<'_>) -> Vec<Arc<LoadError>> {
        let names = self.names(scan);
        let bundles = std::mem::take(&mut scan.bundles);
        bundles::check(bundles, &names, ports)
    }

    /// What of plugins and models is in force.
    pub(crate) fn in_force(&self) -> InForceParts {
        let plugins = self.plugins.in_force().into_values();
        let models = self.models.in_force().into_values();
        InForceParts {
            plugins: plugins
                .map(|guarded| Arc::clone(guarded.plugin()))
                .collect(),
            models: models.flat_map(BTreeMap::into_values).collect(),
        }
    }

    /// The versions in whose place one below may serve.
    pub(crate) fn fallen<'a>(
        &self,
        scan: &'a Scan,
        loaded: &[Loaded],
        purpose: &Purpose,
    ) -> Vec<&'a ModelVersion> {
        self.models.fallen(&scan.models, loaded, purpose)
    }

    /// Whether the site has something that is to be served: a model that is to be loaded, a route that does not depend on
    /// models alone which are not, an upstream, or a bundle.
    pub(crate) fn wants_any(&self) -> bool {
        let is_unwanted = |name: &Name| self.models.is_unwanted(name);
        self.models.want_any()
            || self.upstreams.want_any()
            || self.routes.want_any(is_unwanted)
            || self.bundles.want_any()
    }

    /// Takes what was found and what was loaded.
    pub(crate) fn apply(
        &mut self,
        scan: Scan,
        loaded: Vec<Loaded>,
        purpose: &Purpose,
        effects: &mut Effects,
    ) {
        let names = self.names(&scan);
        // A look at one model says nothing about the rest.
        if !matches!(purpose, Purpose::Load(_)) {
            self.site_errors = scan.errors;
        }
        let (mut plugins, mut models) = (BTreeMap::new(), BTreeMap::new());
        let (mut releases, mut opened) = (Vec::new(), BTreeMap::new());
        for one in loaded {
            match one {
                Loaded::Plugin(name, digest, result) => {
                    plugins.insert(name, (digest, result));
                }
                Loaded::Model(version, result) => {
                    models.insert((version.name.clone(), version.version), (version, result));
                }
                Loaded::Release(name, digest, result) => {
                    releases.push((name.bundle, name.release, digest, result));
                }
                Loaded::Upstream(name, digest, result) => {
                    opened.insert(name, (digest, result));
                }
            }
        }
        self.plugins.apply(scan.plugins, plugins, effects);
        self.models.apply(scan.models, models, purpose, effects);
        self.upstreams.apply(scan.upstreams, opened, effects);
        self.routes.apply(scan.routes);
        self.bundles.apply(scan.bundles, releases, &names, effects);
    }

    /// Makes the snapshot of the state: links every route. The generation is for the caller to set.
    pub(crate) fn link(&mut self, around: Surroundings<'_>, effects: &mut Effects) -> Snapshot {
        let mut models = self.models.in_force();
        let (plugins, labels) = (self.plugins.parts(), self.models.labels());
        let mut tenants = self.models.tenants();
        let (mut defaults, unwanted) = (self.models.defaults(), self.models.unwanted());
        let taken = |name: &Name| self.models.has_folder(name);
        self.upstreams
            .join(&mut models, (&mut defaults, &mut tenants), taken);
        let absent = self.upstreams.absent();
        self.routes.link(
            &Parts {
                config: around.config,
                metrics: around.metrics,
                faults: around.faults,
                member: around.member,
                models: &models,
                plugins: &plugins,
                labels: &labels,
                defaults: &defaults,
                tenants: &tenants,
                unwanted: &unwanted,
                absent: &absent,
            },
            |plugin| self.plugins.wanted(plugin),
            effects,
        );
        drop(plugins);
        self.plugins.release(&self.routes, effects);
        let mut routes = self.routes.in_force();
        let public = self.bundles.link(around);
        self.clashes.clear();
        for (name, route) in public.routes {
            // What is in force keeps its name: a file that came after it takes none away.
            if let Some(own) = routes.insert(name.clone(), route) {
                let clash = clash(&own.spec, self.bundles.place(&name));
                self.clashes.push(Arc::new(clash));
            }
        }
        Snapshot {
            generation: 0,
            routes,
            models,
            defaults,
            tenants,
            plugins: self.plugins.in_force(),
            drawn: public.drawn,
            coming: public.coming,
            calls: public.calls,
        }
    }

    /// Says what keeps a route from being in force with what is now.
    pub(crate) fn check_route(
        &mut self,
        spec: &Arc<RouteSpec>,
        around: Surroundings<'_>,
    ) -> Vec<LoadError> {
        let (mut models, plugins) = (self.models.in_force(), self.plugins.parts());
        let (labels, mut defaults) = (self.models.labels(), self.models.defaults());
        let taken = |name: &Name| self.models.has_folder(name);
        let mut tenants = self.models.tenants();
        self.upstreams
            .join(&mut models, (&mut defaults, &mut tenants), taken);
        let parts = Parts {
            config: around.config,
            metrics: around.metrics,
            faults: around.faults,
            member: around.member,
            models: &models,
            plugins: &plugins,
            labels: &labels,
            defaults: &defaults,
            tenants: &tenants,
            unwanted: &self.models.unwanted(),
            absent: &self.upstreams.absent(),
        };
        let mut errors = spec.removed_plugins(|plugin| self.plugins.wanted(plugin));
        errors.extend(
            crate::route::link(spec, &parts, None)
                .err()
                .unwrap_or_default(),
        );
        if let Some(place) = self.bundles.place(&spec.name) {
            let file = format!("routes/{}.toml", spec.name);
            let message = format!("{place} has this name; give the route another");
            let for_clients = "a bundle has this name; give the route another";
            errors.push(LoadError::new(file, message).with_text_for_clients(for_clients));
        }
        errors
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
        index.extend(self.upstreams.index());
        for entry in self.routes.index().into_iter().chain(self.bundles.index()) {
            let same =
                |other: &IndexEntry| (&other.name, other.version) == (&entry.name, entry.version);
            if !index.iter().any(same) {
                index.push(entry);
            }
        }
        index.sort_by(|a, b| (&a.name, a.version).cmp(&(&b.name, b.version)));
        index
    }

    /// Why a name that no request finds does not serve, where the site has it and it is to.
    pub(crate) fn absence(&self, name: &Name) -> Option<Absence> {
        let is_unwanted = |name: &Name| self.models.is_unwanted(name);
        self.routes
            .absence(name, is_unwanted)
            .or_else(|| self.models.absence(name))
            .or_else(|| self.upstreams.absence(name))
    }

    /// Every present error of the site.
    pub(crate) fn errors(&self) -> Vec<Arc<LoadError>> {
        let mut errors = self.site_errors.clone();
        errors.extend(self.site_config_error.clone());
        errors.extend(self.plugins.errors());
        errors.extend(self.models.errors());
        errors.extend(self.upstreams.errors());
        errors.extend(self.routes.errors());
        errors.extend(self.bundles.errors());
        errors.extend(self.clashes.iter().map(Arc::clone));
        errors
    }
}

/// Says that a route of the site is not served, because a bundle in force has its name.
fn clash(own: &RouteSpec, place: Option<String>) -> LoadError {
    let name = &own.name;
    let file = match own.implicit {
        true => format!("models/{name}"),
        false => format!("routes/{name}.toml"),
    };
    let place = place.unwrap_or_default();
    let message = format!("{place} has this name, and keeps it; give one of them another");
    LoadError::new(file, message)
}

impl Purpose {
    /// The moment at which a content that failed may be tried again; none where everything is tried.
    fn now(&self) -> Option<Instant> {
        (*self == Self::Follow).then(Instant::now)
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

    pub(crate) fn after(before: Option<Failure>, digest: Digest, error: LoadError) -> Self {
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
    pub(crate) fn bars(&self, digest: Digest, now: Option<Instant>) -> bool {
        self.digest == digest && now.is_some_and(|now| now < self.again_at)
    }
}
