//! Turns the spec of a route into a route in force: every name becomes the loaded thing, and what does not fit together is
//! refused before a request meets it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;
use wharf_core::{LoadError, Model, Name, Stage as StageKind, Tenants};

use super::{CandidateSpec, OnFailure, Pins, Route, RouteSpec, Stage, StageSpec, Target};
use crate::admission::Admission;
use crate::bundle::Member;
use crate::config::Config;
use crate::guarded::Guarded;
use crate::metrics::{Metrics, ModelCounters};
use crate::snapshot::same;

/// What routes are made of.
pub(crate) struct Parts<'a> {
    pub(crate) config: &'a Config,
    pub(crate) metrics: &'a Metrics,
    pub(crate) faults: &'a Arc<Notify>,
    /// The release of a bundle that the routes belong to.
    pub(crate) member: Option<&'a Member>,
    pub(crate) models: &'a BTreeMap<Name, BTreeMap<u64, Arc<dyn Model>>>,
    pub(crate) plugins: &'a BTreeMap<Name, PluginParts>,
    /// The labels of the versions in force.
    pub(crate) labels: &'a BTreeMap<Name, Labels>,
    /// The version of each model that a request goes to which names none.
    pub(crate) defaults: &'a BTreeMap<Name, u64>,
    /// Whose each model is, where it is not everybody's.
    pub(crate) tenants: &'a BTreeMap<Name, Tenants>,
    /// The models that are not to be loaded, with the reason.
    pub(crate) unwanted: &'a BTreeMap<Name, &'static str>,
    /// The upstreams that are not in force, with the reason.
    pub(crate) absent: &'a BTreeMap<Name, String>,
}

impl Parts<'_> {
    /// The counters of a route and a version. The version that a bundle's route is known by is its release.
    pub(super) fn counters(&self, route: &Name, model: &Name, version: u64) -> Arc<ModelCounters> {
        let version = self.member.map_or(version, |member| member.name.release);
        self.metrics.model(route, model, version)
    }
}

/// What the versions of a model may be called instead of their numbers.
pub(crate) type Labels = BTreeMap<Arc<str>, u64>;

/// A plugin that routes may name.
pub(crate) struct PluginParts {
    pub(crate) current: Arc<Guarded>,
    pub(crate) previous: Option<Arc<Guarded>>,
}

/// Links a route. Where that comes to the same as the route in force, it gives that very one.
///
/// # Errors
/// One for each thing that the spec names and that is not there or does not fit.
pub(crate) fn link(
    spec: &Arc<RouteSpec>,
    parts: &Parts<'_>,
    in_force: Option<&Arc<Route>>,
) -> Result<Arc<Route>, Vec<LoadError>> {
    let mut linker = Linker {
        file: format!("routes/{}.toml", spec.name),
        parts,
        errors: Vec::new(),
    };
    let router = spec
        .router
        .as_ref()
        .and_then(|stage| linker.stage("router", stage, StageKind::Router));
    let targets = linker.targets(spec);
    let pre = linker.stages("pre", &spec.pre, StageKind::Preprocess);
    let post = linker.stages("post", &spec.post, StageKind::Postprocess);
    let serves_bodies = linker.check_services(&targets);
    let takes_body = spec
        .takes_body
        .unwrap_or(!spec.pre.is_empty() || serves_bodies);
    if spec.pre.is_empty() && serves_bodies {
        linker.check_service(takes_body);
    } else if spec.pre.is_empty() {
        linker.check_direct(takes_body, &targets);
    }
    if !linker.errors.is_empty() {
        return Err(linker.errors);
    }
    let mut route = Route {
        spec: Arc::clone(spec),
        timeout: spec
            .timeout
            .unwrap_or_else(|| parts.config.default_timeout()),
        max_in_flight: spec.max_in_flight.unwrap_or(parts.config.max_in_flight),
        takes_body,
        router,
        targets,
        pre,
        post,
        pins: Pins::default(),
        admission: in_force
            .map_or_else(Arc::<Admission>::default, |old| Arc::clone(&old.admission)),
        refused: parts.metrics.refused(&spec.name),
        faults: Arc::clone(parts.faults),
        release: parts.member.map(|member| Arc::clone(&member.name)),
        tally: parts.member.map(|member| Arc::clone(&member.tally)),
        inner: Pins::default(),
    };
    let pins = Pins::of(&route, parts, in_force);
    match parts.member {
        // Clients name releases; the versions of its models are the release's own business.
        Some(member) => {
            route.inner = pins;
            route.pins = Pins::of_release(&route, member, in_force);
        }
        None => route.pins = pins,
    }
    match in_force {
        Some(old) if route.same_as(old) => Ok(Arc::clone(old)),
        _ => Ok(Arc::new(route)),
    }
}

struct Linker<'a> {
    file: String,
    parts: &'a Parts<'a>,
    errors: Vec<LoadError>,
}

impl Linker<'_> {
    fn error(&mut self, key: impl Into<String>, message: String) {
        self.errors
            .push(LoadError::new(&self.file, message).with_key(key));
    }

    /// Where the message tells the operator of files, clients read the other.
    fn error_of_file(&mut self, key: impl Into<String>, message: String, for_clients: String) {
        let error = LoadError::new(&self.file, message).with_key(key);
        self.errors.push(error.with_text_for_clients(for_clients));
    }

    fn targets(&mut self, spec: &RouteSpec) -> Vec<Target> {
        let mut targets: Vec<Target> = Vec::with_capacity(spec.candidates.len());
        for (index, candidate) in spec.candidates.iter().enumerate() {
            let key = if spec.candidates.len() == 1 && spec.router.is_none() {
                "model".to_owned()
            } else {
                format!("candidates[{index}]")
            };
            let Some(target) = self.target(&key, spec, candidate) else {
                continue;
            };
            if targets
                .iter()
                .any(|other| same(&other.model, &target.model))
            {
                let info = target.model.info();
                let message = format!(
                    "{} version {} is a candidate twice, once as the newest; give each candidate a version",
                    info.name, info.version
                );
                self.error(key, message);
                continue;
            }
            targets.push(target);
        }
        targets
    }

    fn target(&mut self, key: &str, spec: &RouteSpec, candidate: &CandidateSpec) -> Option<Target> {
        let name = &candidate.model;
        let Some(versions) = self.parts.models.get(name).filter(|v| !v.is_empty()) else {
            match (self.parts.unwanted.get(name), self.parts.absent.get(name)) {
                (None, Some(reason)) => {
                    let is = format!("upstream {name} is not in force: {reason}");
                    let message = format!("{is}; upstreams/{name}.toml says where it is");
                    self.error_of_file(key, message, is);
                }
                (Some(reason), _) => {
                    let message = format!(
                        "model {name} is not loaded: {reason}; load it, and the route is in force again"
                    );
                    self.error(key, message);
                }
                (None, None) => {
                    let is = format!("no model {name} is in force");
                    let message = format!(
                        "{is}; add models/{name}/1/model.onnx or upstreams/{name}.toml, or mend it where it is refused"
                    );
                    self.error_of_file(key, message, is);
                }
            }
            return None;
        };
        let found = match candidate.version {
            Some(version) => versions.get_key_value(&version),
            None => {
                let default = self.parts.defaults.get(name);
                default.and_then(|version| versions.get_key_value(version))
            }
        };
        let Some((version, model)) = found else {
            let present: Vec<String> = versions.keys().map(u64::to_string).collect();
            let is = format!(
                "model {name} has no version {} in force, but {}",
                candidate.version.unwrap_or_default(),
                present.join(", "),
            );
            let message = format!(
                "{is}; name one of these, or look at the version policy in models/{name}/model.toml"
            );
            self.error_of_file(key, message, is);
            return None;
        };
        Some(Target {
            model: Arc::clone(model),
            labels: Arc::clone(&candidate.labels),
            counters: self.parts.counters(&spec.name, name, *version),
        })
    }

    fn stages(&mut self, key: &str, specs: &[StageSpec], kind: StageKind) -> Vec<Stage> {
        specs
            .iter()
            .enumerate()
            .filter_map(|(index, spec)| self.stage(&format!("{key}[{index}]"), spec, kind))
            .collect()
    }

    fn stage(&mut self, key: &str, spec: &StageSpec, kind: StageKind) -> Option<Stage> {
        let name = &spec.plugin;
        let Some(parts) = self.parts.plugins.get(name) else {
            let is = format!("no plugin {name} is in force");
            let message = format!("{is}; add plugins/{name}.wasm, or mend it where it is refused");
            self.error_of_file(key, message, is);
            return None;
        };
        let has = |plugin: &Guarded| plugin.info().stages.contains(&kind);
        if !has(&parts.current) {
            let stages: Vec<&str> = parts
                .current
                .info()
                .stages
                .iter()
                .map(|stage| stage.name())
                .collect();
            let message = format!(
                "plugin {name} has no {} stage; it has: {}",
                kind.name(),
                if stages.is_empty() {
                    "none".to_owned()
                } else {
                    stages.join(", ")
                },
            );
            self.error(key, message);
            return None;
        }
        Some(Stage {
            plugin: Arc::clone(&parts.current),
            previous: parts
                .previous
                .clone()
                .filter(|previous| spec.on_failure == OnFailure::Previous && has(previous)),
            on_failure: spec.on_failure,
        })
    }

    /// Says whether the targets take and give bodies. All of them do, or none: the stages are the same for all.
    fn check_services(&mut self, targets: &[Target]) -> bool {
        let mut services = targets
            .iter()
            .map(|target| target.model.service().is_some());
        let Some(first) = services.next() else {
            return false;
        };
        if services.any(|other| other != first) {
            let message = "some candidates are plain services and take bodies, others are models and take tensors; make two routes of it";
            self.error("candidates", message.to_owned());
        }
        first
    }

    /// Checks a route to services without preprocess stages.
    fn check_service(&mut self, takes_body: bool) {
        if !takes_body {
            let message = "a plain service takes no tensors; add a preprocess stage to `pre`, or take input out";
            self.error("input", message.to_owned());
        }
    }

    /// Checks a route without preprocess stages: what the client sends goes to the model as it is.
    fn check_direct(&mut self, takes_body: bool, targets: &[Target]) {
        if takes_body {
            self.error(
                "input",
                "a model takes no body; add a preprocess stage to `pre`, or set input = \"tensors\""
                    .to_owned(),
            );
        }
        let mut described = targets.iter().filter(|target| target.model.is_described());
        let Some(first) = described.next() else {
            return;
        };
        let inputs = |target: &Target| -> Vec<_> {
            let mut inputs: Vec<_> = target
                .model
                .info()
                .inputs
                .iter()
                .map(|spec| (Arc::clone(&spec.name), spec.datatype.name()))
                .collect();
            inputs.sort_unstable();
            inputs
        };
        let expected = inputs(first);
        if let Some(other) = described.find(|target| inputs(target) != expected) {
            let info = other.model.info();
            let message = format!(
                "{} version {} takes other inputs than the first candidate; without a preprocess stage all take the same",
                info.name, info.version
            );
            self.error("candidates", message);
        }
    }
}

impl Route {
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let same_stages = |a: &[Stage], b: &[Stage]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same_as(b))
        };
        self.spec == other.spec
            && self.timeout == other.timeout
            && self.max_in_flight == other.max_in_flight
            && same_stages(&self.pre, &other.pre)
            && same_stages(&self.post, &other.post)
            && match (&self.router, &other.router) {
                (Some(a), Some(b)) => a.same_as(b),
                (None, None) => true,
                _ => false,
            }
            && self.targets.len() == other.targets.len()
            && self
                .targets
                .iter()
                .zip(&other.targets)
                .all(|(a, b)| same(&a.model, &b.model) && a.labels == b.labels)
            && self.pins.same_as(&other.pins)
            && self.inner.same_as(&other.inner)
            && match (&self.tally, &other.tally) {
                (Some(a), Some(b)) => Arc::ptr_eq(a, b),
                (None, None) => true,
                _ => false,
            }
    }
}

impl Stage {
    fn same_as(&self, other: &Self) -> bool {
        same(&self.plugin, &other.plugin)
            && match (&self.previous, &other.previous) {
                (Some(a), Some(b)) => same(a, b),
                (None, None) => true,
                _ => false,
            }
    }
}
