//! A route: what an endpoint is made of.

mod file;
mod link;
mod pins;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use wharf_core::{LoadError, Model, ModelInfo, Name, Plugin, Result, Tenants, TensorSpec};

use crate::admission::{self, Admission};
use crate::bundle::{ReleaseName, Tally};
use crate::guarded::Guarded;
use crate::lifecycle::ModelStatistics;
use crate::metrics::{ModelCounters, Refused, RefusedCounters};

pub(crate) use file::parse;
pub(crate) use link::{Labels, Parts, PluginParts, link};
pub(crate) use pins::Pins;

/// What an operator asks for: `routes/NAME.toml`, or for a model without one, its implicit route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteSpec {
    /// The name.
    pub name: Name,
    /// Whether it stands for a model alone, without a file.
    pub implicit: bool,
    /// The plugin that chooses among the candidates.
    pub router: Option<StageSpec>,
    /// The models that it may lead to: at least one.
    pub candidates: Vec<CandidateSpec>,
    /// The stages before the model, in order.
    pub pre: Vec<StageSpec>,
    /// The stages after the model, in order.
    pub post: Vec<StageSpec>,
    /// How long a request may take, where the route says it.
    pub timeout: Option<Duration>,
    /// The most requests at once, where the route says it.
    pub max_in_flight: Option<u32>,
    /// The largest request body in bytes, after decompression, where the route says it. The server's own limit is the most.
    pub max_body_bytes: Option<u64>,
    /// How long a request body may take to arrive, where the route says it.
    pub body_timeout: Option<Duration>,
    /// Whether the route takes a body as the client sent it, where the route says it.
    pub takes_body: Option<bool>,
    /// Whose the route is.
    pub tenants: Tenants,
}

/// A model that a route may lead to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CandidateSpec {
    /// The name of the model.
    pub model: Name,
    /// The version; none for the newest in force.
    pub version: Option<u64>,
    /// What the router knows it by.
    pub labels: Arc<[String]>,
}

/// A plugin in its place in a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageSpec {
    /// The name of the plugin.
    pub plugin: Name,
    /// What becomes of the request when the plugin fails.
    pub on_failure: OnFailure,
}

/// What becomes of a request when a plugin fails. What a guest refuses by its own decision is an answer, not a failure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnFailure {
    /// The request fails.
    #[default]
    Closed,
    /// The stage's input passes on unchanged; a router's first candidate is taken.
    Skip,
    /// The release of the plugin that was in force before this one is asked; where there is none, the request fails.
    Previous,
}

impl OnFailure {
    /// The name in route files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Skip => "skip",
            Self::Previous => "previous",
        }
    }
}

/// What a route takes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteInput<'a> {
    /// A body as the client sent it.
    Body,
    /// Tensors of these specs.
    Tensors(&'a [TensorSpec]),
}

/// What a route gives last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RouteOutput<'a> {
    /// What the last stage makes: a body, as a rule.
    Body,
    /// The model's tensors, of these specs.
    Tensors(&'a [TensorSpec]),
}

/// A route in force: every name of its spec is resolved to a thing that is loaded.
#[derive(Clone)]
pub struct Route {
    pub(crate) spec: Arc<RouteSpec>,
    pub(crate) timeout: Duration,
    pub(crate) max_in_flight: u32,
    pub(crate) takes_body: bool,
    pub(crate) router: Option<Stage>,
    pub(crate) targets: Vec<Target>,
    pub(crate) pre: Vec<Stage>,
    pub(crate) post: Vec<Stage>,
    /// The routes of its versions. A pinned route has none of its own.
    pub(crate) pins: Pins,
    pub(crate) admission: Arc<Admission>,
    pub(crate) refused: Arc<RefusedCounters>,
    /// Told of each failure of a plugin, so that a roll-back need not wait for a timer.
    pub(crate) faults: Arc<Notify>,
    /// The release of a bundle that it is part of.
    pub(crate) release: Option<Arc<ReleaseName>>,
    /// Where the release counts its requests. One that is asked for by its number has none: whoever asks for it by name must
    /// not decide its trial.
    pub(crate) tally: Option<Arc<Tally>>,
    /// The routes of its models' versions, where the numbers that clients use are those of releases: for the release's own plugins.
    pub(crate) inner: Pins,
}

/// A plugin in its place in a route in force.
#[derive(Clone)]
pub(crate) struct Stage {
    pub(crate) plugin: Arc<Guarded>,
    /// The release before, where the policy asks for it.
    pub(crate) previous: Option<Arc<Guarded>>,
    pub(crate) on_failure: OnFailure,
}

/// A model that a route in force may lead to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) model: Arc<dyn Model>,
    pub(crate) labels: Arc<[String]>,
    pub(crate) counters: Arc<ModelCounters>,
}

impl Route {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.spec.name
    }

    /// Whether the route is there for a tenant. To others it does not exist.
    #[must_use]
    pub fn is_for(&self, tenant: Option<&str>) -> bool {
        self.spec.tenants.include(tenant)
    }

    /// How long a request may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The most requests at once.
    #[must_use]
    pub fn max_in_flight(&self) -> u32 {
        self.max_in_flight
    }

    /// The requests that run now, over all generations of the route.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.admission.in_flight()
    }

    /// Says early that the route or its model is full, before anything is done for a request. It takes no place:
    /// [`Route::run`] does. Which model a router would choose is not known yet, so no model is asked then.
    ///
    /// # Errors
    /// `Unavailable` where `run` would refuse for it now.
    pub fn check_room(&self) -> Result<()> {
        if self.in_flight() >= self.max_in_flight {
            self.no_room(Refused::Full);
            return Err(admission::full());
        }
        match self.only_target() {
            Some(target) => target
                .model
                .check_room()
                .inspect_err(|_full| self.no_room(Refused::ModelFull)),
            None => Ok(()),
        }
    }

    /// What every request goes to, where there is no choice.
    fn only_target(&self) -> Option<&Target> {
        match (&self.router, &*self.targets) {
            (None, [target]) => Some(target),
            _ => None,
        }
    }

    /// Counts a request for which there is no room. Where it is known what it would have gone to, it failed there.
    pub(crate) fn no_room(&self, why: Refused) {
        self.refused.add(why);
        if let Some(target) = self.only_target() {
            target.counters.refused();
        }
        // How many the route takes is the operator's word. That a model is full may be the release's doing.
        if why == Refused::ModelFull
            && let Some(tally) = &self.tally
        {
            tally.no_room();
        }
    }

    /// The release of a bundle that it is part of.
    #[must_use]
    pub fn release(&self) -> Option<&ReleaseName> {
        self.release.as_deref()
    }

    /// Whether it is known what a candidate of it takes and gives.
    #[must_use]
    pub fn is_described(&self) -> bool {
        self.targets.iter().any(|it| it.model.is_described())
    }

    /// The first candidate that is described, or else the first.
    fn describing(&self) -> Option<&Target> {
        let mut targets = self.targets.iter();
        let described = targets.find(|target| target.model.is_described());
        described.or(self.targets.first())
    }

    /// What the route takes first: a body as the client sent it, or tensors. The specs are those of the first candidate that is
    /// described; where tensors go to the model itself, those of all candidates agree in names and datatypes.
    #[must_use]
    pub fn input(&self) -> RouteInput<'_> {
        match self.describing() {
            Some(target) if !self.takes_body => RouteInput::Tensors(&target.model.info().inputs),
            _ => RouteInput::Body,
        }
    }

    /// What the route gives last: what its last stage makes, or the tensors of its first candidate that is described.
    #[must_use]
    pub fn outputs(&self) -> RouteOutput<'_> {
        match self.describing() {
            Some(target) if self.post.is_empty() && !self.serves_bodies() => {
                RouteOutput::Tensors(&target.model.info().outputs)
            }
            _ => RouteOutput::Body,
        }
    }

    /// Whether its candidates are plain services, which take and give bodies.
    pub(crate) fn serves_bodies(&self) -> bool {
        let first = self.targets.first();
        first.is_some_and(|target| target.model.service().is_some())
    }

    /// What the model of the first candidate is.
    ///
    /// # Panics
    /// Never: a route without a candidate is not linked.
    #[must_use]
    pub fn model_info(&self) -> &ModelInfo {
        let target = self.targets.first();
        target
            .expect("a route in force has a candidate")
            .model
            .info()
    }

    /// The versions that a request may name, ascending; of a route that is pinned to a version, that one.
    #[must_use]
    pub fn versions(&self) -> Vec<u64> {
        let versions: Vec<u64> = self.pins.versions().collect();
        match (versions.is_empty(), &self.release) {
            (true, Some(release)) => vec![release.release],
            (true, None) => vec![self.model_info().version],
            (false, _) => versions,
        }
    }

    /// The labels that a request may name instead of a version, with the version that each stands for, sorted.
    #[must_use]
    pub fn labels(&self) -> Vec<(Arc<str>, u64)> {
        self.pins
            .labels()
            .map(|(label, version)| (Arc::clone(label), version))
            .collect()
    }

    /// What requests came to, of each model that the route or one of its versions leads to, sorted by version.
    pub(crate) fn statistics(&self) -> Vec<ModelStatistics> {
        let pinned = self.pins.routes().flat_map(|route| &route.targets);
        let mut counters: Vec<&Arc<ModelCounters>> = Vec::new();
        for target in self.targets.iter().chain(pinned) {
            // They are the same ones in every route that counts for a name and a version.
            if !counters.iter().any(|c| Arc::ptr_eq(c, &target.counters)) {
                counters.push(&target.counters);
            }
        }
        let mut statistics: Vec<_> = counters.into_iter().map(|c| c.statistics()).collect();
        statistics.sort_by_key(|statistics| statistics.version);
        statistics
    }

    /// The versions and labels that a request may name.
    pub(crate) fn version_names(&self) -> Vec<String> {
        let versions = self.pins.versions().map(|version| version.to_string());
        let labels = self.pins.labels().map(|(label, _)| label.to_string());
        versions.chain(labels).collect()
    }

    /// What the operator asked for.
    #[must_use]
    pub fn spec(&self) -> &RouteSpec {
        &self.spec
    }

    /// The models that it may lead to, in the order of the candidates.
    pub fn models(&self) -> impl Iterator<Item = &Arc<dyn Model>> {
        self.targets.iter().map(|target| &target.model)
    }

    /// The plugins that it calls or may call, with those that a policy falls back on.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        self.router
            .iter()
            .chain(&self.pre)
            .chain(&self.post)
            .flat_map(|stage| std::iter::once(&stage.plugin).chain(&stage.previous))
            .map(|guarded| guarded.plugin())
    }
}

impl RouteSpec {
    /// The route of a model alone: its newest version, without stages, for those whose the model is.
    pub(crate) fn implicit(model: Name, tenants: Tenants) -> Self {
        Self {
            name: model.clone(),
            implicit: true,
            router: None,
            candidates: vec![CandidateSpec {
                model,
                version: None,
                labels: Arc::new([]),
            }],
            pre: Vec::new(),
            post: Vec::new(),
            timeout: None,
            max_in_flight: None,
            max_body_bytes: None,
            body_timeout: None,
            takes_body: None,
            tenants,
        }
    }

    /// The stages of a plugin that the route calls.
    pub(crate) fn calls_of(&self, plugin: &Name) -> impl Iterator<Item = wharf_core::Stage> {
        let of = |stages: &[StageSpec], kind: wharf_core::Stage| {
            let calls = stages.iter().any(|stage| stage.plugin == *plugin);
            calls.then_some(kind)
        };
        [
            of(self.router.as_slice(), wharf_core::Stage::Router),
            of(&self.pre, wharf_core::Stage::Preprocess),
            of(&self.post, wharf_core::Stage::Postprocess),
        ]
        .into_iter()
        .flatten()
    }

    /// Errors for the plugins that the site has no more, although they are still loaded for this route.
    pub(crate) fn removed_plugins(&self, wanted: impl Fn(&Name) -> bool) -> Vec<LoadError> {
        let at = |key: &'static str, stages: &[StageSpec]| -> Vec<(String, Name)> {
            stages
                .iter()
                .enumerate()
                .map(|(index, stage)| (format!("{key}[{index}]"), stage.plugin.clone()))
                .collect()
        };
        let router = self
            .router
            .iter()
            .map(|stage| ("router".to_owned(), stage.plugin.clone()));
        router
            .chain(at("pre", &self.pre))
            .chain(at("post", &self.post))
            .filter(|(_, plugin)| !wanted(plugin))
            .map(|(key, plugin)| {
                LoadError::new(
                    format!("routes/{}.toml", self.name),
                    format!("plugins/{plugin}.wasm is not there; add it, or take the stage out"),
                )
                .with_key(key)
                .with_text_for_clients(format!("the plugin {plugin} is not there"))
            })
            .collect()
    }
}
