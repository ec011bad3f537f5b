//! What is in force at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use wharf_core::{Model, Name, Plugin};

use crate::route::Route;

/// The immutable set of all routes, models and plugins in force. A request takes one and keeps it to its end.
#[derive(Default)]
pub struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) routes: BTreeMap<Name, Arc<Route>>,
    pub(crate) models: BTreeMap<Name, BTreeMap<u64, Arc<dyn Model>>>,
    pub(crate) plugins: BTreeMap<Name, Arc<dyn Plugin>>,
}

/// What there is not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Missing {
    /// No route has the name.
    Name,
    /// The route has no such version, but these, with their labels.
    Version(Vec<String>),
}

impl Snapshot {
    /// Counts the swaps since the start; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The route of a name.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    /// The route that serves a version of a name: a number, or a label such as `stable`; without a version, the route
    /// itself.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn endpoint(&self, name: &str, version: Option<&str>) -> Result<&Arc<Route>, Missing> {
        let route = self.routes.get(name).ok_or(Missing::Name)?;
        match version {
            None => Ok(route),
            Some(version) => route
                .pins
                .get(version)
                .ok_or_else(|| Missing::Version(route.version_names())),
        }
    }

    /// Every route, sorted by name, without those of its versions.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// Every model, sorted by name and version.
    pub fn models(&self) -> impl Iterator<Item = &Arc<dyn Model>> {
        self.models.values().flat_map(BTreeMap::values)
    }

    /// Every plugin, sorted by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        self.plugins.values()
    }

    /// A version of a model; without a version the newest in force.
    #[must_use]
    pub fn model(&self, name: &str, version: Option<u64>) -> Option<&Arc<dyn Model>> {
        let versions = self.models.get(name)?;
        match version {
            Some(version) => versions.get(&version),
            None => versions.last_key_value().map(|(_, model)| model),
        }
    }

    /// Whether the other holds the very same things: then a swap would change nothing.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let same_models = |a: &BTreeMap<u64, Arc<dyn Model>>, b: &BTreeMap<u64, Arc<dyn Model>>| {
            a.len() == b.len() && a.iter().zip(b).all(|((v, a), (w, b))| v == w && same(a, b))
        };
        self.routes.len() == other.routes.len()
            && self.models.len() == other.models.len()
            && self.plugins.len() == other.plugins.len()
            && self
                .routes
                .values()
                .zip(other.routes.values())
                .all(|(a, b)| Arc::ptr_eq(a, b))
            && self
                .models
                .iter()
                .zip(&other.models)
                .all(|((n, a), (m, b))| n == m && same_models(a, b))
            && self
                .plugins
                .values()
                .zip(other.plugins.values())
                .all(|(a, b)| same(a, b))
    }
}

/// Whether two `Arc`s of trait objects are one. Vtables may be duplicated, so addresses alone are compared.
pub(crate) fn same<T: ?Sized>(a: &Arc<T>, b: &Arc<T>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}
