//! The routes beside a route: one for each version that it can serve, by number and by label.

use std::collections::BTreeMap;
use std::sync::Arc;

use wharf_core::{Error, ErrorKind, Model, Name, Result};

use super::link::Parts;
use super::{CandidateSpec, Route, Target};
use crate::bundle::Member;

/// What a request that names a version goes through: the same stages, the same admission, and one model without a router.
/// Made when the route is linked, so that finding one is a lookup.
#[derive(Clone, Default)]
pub(crate) struct Pins {
    versions: BTreeMap<u64, Arc<Route>>,
    labels: BTreeMap<Arc<str>, Arc<Route>>,
}

impl Pins {
    /// Makes the pinned routes of a route. Those of the route in force that come to the same are kept.
    ///
    /// Where models of several names can be reached, a number stands for the version of the first candidate that has it;
    /// a label of a candidate reaches the others. A candidate's label goes before one of a model.
    pub(super) fn of(route: &Route, parts: &Parts<'_>, in_force: Option<&Arc<Route>>) -> Self {
        let mut pins = Self::default();
        let mut made: BTreeMap<(&Name, u64), Arc<Route>> = BTreeMap::new();
        let before = in_force.map(|old| match parts.member {
            Some(_) => &old.inner,
            None => &old.pins,
        });
        for (candidate, target) in route.spec.candidates.iter().zip(&route.targets) {
            let chosen = target.model.info().version;
            for (version, model) in reachable(candidate, parts) {
                let pinned = made.entry((&candidate.model, version)).or_insert_with(|| {
                    let pinned = pin(route, candidate, model, parts);
                    before.map_or_else(|| Arc::clone(&pinned), |before| before.kept(&pinned))
                });
                pins.versions
                    .entry(version)
                    .or_insert_with(|| Arc::clone(pinned));
                if version == chosen {
                    for label in candidate.labels.iter() {
                        pins.labels
                            .entry(label.as_str().into())
                            .or_insert_with(|| Arc::clone(pinned));
                    }
                }
            }
        }
        for candidate in &route.spec.candidates {
            let labels = parts.labels.get(&candidate.model);
            for (label, version) in labels.into_iter().flat_map(|labels| labels.iter()) {
                if let Some(pinned) = made.get(&(&candidate.model, *version)) {
                    pins.labels
                        .entry(Arc::clone(label))
                        .or_insert_with(|| Arc::clone(pinned));
                }
            }
        }
        pins
    }

    /// Makes the route by which a client names the release: the same, but that its requests do not count in a trial.
    pub(super) fn of_release(
        route: &Route,
        member: &Member,
        in_force: Option<&Arc<Route>>,
    ) -> Self {
        let named = Arc::new(Route {
            tally: None,
            ..route.clone()
        });
        let named = in_force.map_or_else(|| Arc::clone(&named), |old| old.pins.kept(&named));
        Self {
            versions: BTreeMap::from([(member.name.release, named)]),
            labels: BTreeMap::new(),
        }
    }

    /// Those of another release beside these. Where both have a number, it stands for the one in force.
    fn beside(&self, other: &Self) -> Self {
        let mut both = self.clone();
        for (version, route) in &other.versions {
            both.versions
                .entry(*version)
                .or_insert_with(|| Arc::clone(route));
        }
        both
    }

    /// The route of a version: digits are a number, as its folder is named, and anything else is a label.
    pub(crate) fn get(&self, version: &str) -> Option<&Arc<Route>> {
        if version.bytes().all(|byte| byte.is_ascii_digit()) {
            let number = version.parse().ok()?;
            let is_plain = !version.starts_with('0') || version == "0";
            self.versions.get(&number).filter(|_| is_plain)
        } else {
            self.labels.get(version)
        }
    }

    pub(crate) fn versions(&self) -> impl Iterator<Item = u64> {
        self.versions.keys().copied()
    }

    /// The labels with the versions that they stand for.
    pub(crate) fn labels(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        let version = |route: &Route| route.model_info().version;
        self.labels
            .iter()
            .map(move |(label, route)| (label, version(route)))
    }

    /// Every pinned route. One that has a number and a label comes once for each.
    pub(crate) fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.versions.values().chain(self.labels.values())
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        fn same<K: Eq>(a: &BTreeMap<K, Arc<Route>>, b: &BTreeMap<K, Arc<Route>>) -> bool {
            a.len() == b.len()
                && a.iter()
                    .zip(b)
                    .all(|((v, a), (w, b))| v == w && Arc::ptr_eq(a, b))
        }
        same(&self.versions, &other.versions) && same(&self.labels, &other.labels)
    }

    /// The pinned route from before where it is the same.
    fn kept(&self, pinned: &Arc<Route>) -> Arc<Route> {
        let same = self.routes().find(|old| pinned.same_as(old));
        Arc::clone(same.unwrap_or(pinned))
    }
}

/// The versions in force that a candidate stands for.
fn reachable<'a>(
    candidate: &CandidateSpec,
    parts: &Parts<'a>,
) -> impl Iterator<Item = (u64, &'a Arc<dyn Model>)> {
    let wanted = candidate.version;
    parts
        .models
        .get(&candidate.model)
        .into_iter()
        .flatten()
        .filter(move |(version, _)| wanted.is_none_or(|wanted| wanted == **version))
        .map(|(version, model)| (*version, model))
}

fn pin(
    route: &Route,
    candidate: &CandidateSpec,
    model: &Arc<dyn Model>,
    parts: &Parts<'_>,
) -> Arc<Route> {
    Arc::new(Route {
        spec: Arc::clone(&route.spec),
        timeout: route.timeout,
        max_in_flight: route.max_in_flight,
        takes_body: route.takes_body,
        router: None,
        targets: vec![Target {
            model: Arc::clone(model),
            labels: Arc::clone(&candidate.labels),
            counters: parts.counters(&route.spec.name, &candidate.model, model.info().version),
        }],
        pre: route.pre.clone(),
        post: route.post.clone(),
        pins: Pins::default(),
        admission: Arc::clone(&route.admission),
        refused: Arc::clone(&route.refused),
        faults: Arc::clone(&route.faults),
        release: route.release.clone(),
        tally: None,
        inner: Pins::default(),
    })
}

impl Route {
    /// The route with the releases of another one beside its own: that is how one is described whose requests are divided.
    pub(crate) fn beside(&self, other: &Self) -> Arc<Self> {
        Arc::new(Self {
            pins: self.pins.beside(&other.pins),
            ..self.clone()
        })
    }

    /// What a plugin of the same release calls by this name.
    ///
    /// # Errors
    /// `NotFound` where the release has no such version of its model.
    pub(crate) fn inner(self: &Arc<Self>, version: Option<&str>) -> Result<&Arc<Self>> {
        let found = match version {
            // By the way on which its requests do not count: the request that the plugin works for does.
            None => Some(self.pins.routes().next().unwrap_or(self)),
            Some(version) => self.inner.get(version),
        };
        found.ok_or_else(|| {
            let there: Vec<String> = self.inner.versions().map(|v| v.to_string()).collect();
            let message = format!(
                "{} has no such version, but {}",
                self.name(),
                there.join(", ")
            );
            Error::new(ErrorKind::NotFound, message)
        })
    }
}
