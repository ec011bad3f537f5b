//! What is in force at a moment.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{
    Error, Filter, Model, Name, Plugin, RequestContext, Result as CoreResult, Stage, Tenants, Token,
};

use crate::bundle::{Lot, ReleaseCalls};
use crate::filters::FilterChain;
use crate::guarded::Guarded;
use crate::route::Route;

/// The immutable set of all routes, models and plugins in force. A request takes one and keeps it to its end.
#[derive(Default)]
pub struct Snapshot {
    pub(crate) generation: u64,
    pub(crate) routes: BTreeMap<Name, Arc<Route>>,
    pub(crate) models: BTreeMap<Name, BTreeMap<u64, Arc<dyn Model>>>,
    /// The version of each model that a request goes to which names none.
    pub(crate) defaults: BTreeMap<Name, u64>,
    /// Whose each model is, where it is not everybody's.
    pub(crate) tenants: BTreeMap<Name, Tenants>,
    pub(crate) plugins: BTreeMap<Name, Arc<Guarded>>,
    /// The routes whose requests are divided between two releases of a bundle.
    pub(crate) drawn: BTreeMap<Name, Drawn>,
    /// The routes that only a release on trial has.
    pub(crate) coming: BTreeMap<Name, Arc<Route>>,
    /// Kept for the plugins of releases: they find what they call through these.
    pub(crate) calls: Vec<Arc<ReleaseCalls>>,
}

/// A route in the release of a bundle that is on trial, and the lot that gives it its share of the requests.
pub(crate) struct Drawn {
    pub(crate) lot: Arc<Lot>,
    pub(crate) route: Arc<Route>,
}

/// What is asked for by its name, and for whom. What is another tenant's is not there.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The name.
    pub name: &'a str,
    /// The tenant; none for whom everything is there.
    pub tenant: Option<&'a str>,
}

impl<'a> From<&'a str> for Asked<'a> {
    fn from(name: &'a str) -> Self {
        Self { name, tenant: None }
    }
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

    /// The route of a name, as it is described: of a bundle's, the one in force.
    #[must_use]
    pub fn route(&self, name: &str) -> Option<&Arc<Route>> {
        self.routes.get(name)
    }

    /// The route that a request takes. Where a release of a bundle is on trial, the lot is drawn here, once for each request; a
    /// bundle that keeps users to their release asks for the value of its header field.
    #[must_use]
    pub fn route_for<'a, 'h>(
        &self,
        asked: impl Into<Asked<'a>>,
        field: impl FnOnce(&str) -> Option<&'h str>,
    ) -> Option<&Arc<Route>> {
        let Asked { name, tenant } = asked.into();
        let route = self.routes.get(name).filter(|route| route.is_for(tenant))?;
        if self.drawn.is_empty() {
            return Some(route);
        }
        match self
            .drawn
            .get(name)
            .filter(|drawn| drawn.route.is_for(tenant))
        {
            Some(drawn) if drawn.lot.draw(field) => Some(&drawn.route),
            _ => Some(route),
        }
    }

    /// The route that a request takes: as [`Snapshot::endpoint`], and without a version as [`Snapshot::route_for`].
    ///
    /// # Errors
    /// Says what is missing.
    pub fn endpoint_for<'a, 'h>(
        &self,
        asked: impl Into<Asked<'a>>,
        version: Option<&str>,
        field: impl FnOnce(&str) -> Option<&'h str>,
    ) -> Result<&Arc<Route>, Missing> {
        match version {
            None => self.route_for(asked, field).ok_or(Missing::Name),
            Some(_) => self.endpoint(asked, version),
        }
    }

    /// The route that serves a version of a name: a number, or a label such as `stable`; without a version, the route
    /// itself. The versions of a bundle's route are the releases that are loaded.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn endpoint<'a>(
        &self,
        asked: impl Into<Asked<'a>>,
        version: Option<&str>,
    ) -> Result<&Arc<Route>, Missing> {
        let Asked { name, tenant } = asked.into();
        let coming = || self.coming.get(name).filter(|_| version.is_some());
        let route = self.routes.get(name).or_else(coming);
        let route = route.filter(|route| route.is_for(tenant));
        let route = route.ok_or(Missing::Name)?;
        match version {
            None => Ok(route),
            Some(version) => route
                .pins
                .get(version)
                .ok_or_else(|| Missing::Version(route.version_names())),
        }
    }

    /// The version of a model of the site that requests go to which name none.
    pub(crate) fn default_version(&self, model: &Name) -> Option<u64> {
        self.defaults.get(model).copied()
    }

    /// Every route, sorted by name, without those of its versions.
    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.values()
    }

    /// Every model, sorted by name and version.
    pub fn models(&self) -> impl Iterator<Item = &Arc<dyn Model>> {
        self.models.values().flat_map(BTreeMap::values)
    }

    /// Whose a model is.
    #[must_use]
    pub fn tenants_of(&self, model: &Name) -> &Tenants {
        static EVERYBODY: Tenants = Tenants::everybody();
        self.tenants.get(model).unwrap_or(&EVERYBODY)
    }

    /// Every plugin, sorted by name.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<dyn Plugin>> {
        self.plugins.values().map(|guarded| guarded.plugin())
    }

    /// Opens the filters of a generated text, those of these plugins in their order. Where a plugin is not called for a while
    /// because it kept failing, no text begins.
    ///
    /// # Errors
    /// `Internal` where a plugin is not in force or filters no tokens; else as the plugins refuse.
    pub async fn filter_tokens(
        &self,
        request: &Arc<RequestContext>,
        plugins: &[Name],
    ) -> CoreResult<FilterChain<Vec<Token>>> {
        let mut filters: Vec<Box<dyn Filter<Vec<Token>>>> = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let guarded = self.filtering(plugin, Stage::TokenFilter)?;
            filters.push(guarded.filter_tokens(request).await?);
        }
        Ok(FilterChain::new(filters))
    }

    /// Opens the filters of a body that comes in chunks, as [`Snapshot::filter_tokens`] does those of a text.
    ///
    /// # Errors
    /// The same.
    pub async fn filter_chunks(
        &self,
        request: &Arc<RequestContext>,
        plugins: &[Name],
        media_type: &str,
    ) -> CoreResult<FilterChain<Bytes>> {
        let mut filters: Vec<Box<dyn Filter<Bytes>>> = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            let guarded = self.filtering(plugin, Stage::ChunkFilter)?;
            filters.push(guarded.filter_chunks(request, media_type).await?);
        }
        Ok(FilterChain::new(filters))
    }

    fn filtering(&self, plugin: &Name, stage: Stage) -> CoreResult<&Arc<Guarded>> {
        let guarded = self.plugins.get(plugin);
        guarded
            .filter(|guarded| guarded.info().stages.contains(&stage))
            .ok_or_else(|| {
                let stage = stage.name();
                Error::internal(format!(
                    "no plugin {plugin} with the stage {stage} is in force"
                ))
            })
    }

    /// A version of a model; without a version the one of requests that name none: the newest in force that its version
    /// policy picks.
    #[must_use]
    pub fn model(&self, name: &str, version: Option<u64>) -> Option<&Arc<dyn Model>> {
        let versions = self.models.get(name)?;
        versions.get(&version.or_else(|| self.defaults.get(name).copied())?)
    }

    /// Whether the other holds the very same things: then a swap would change nothing.
    pub(crate) fn same_as(&self, other: &Self) -> bool {
        let same_models = |a: &BTreeMap<u64, Arc<dyn Model>>, b: &BTreeMap<u64, Arc<dyn Model>>| {
            a.len() == b.len() && a.iter().zip(b).all(|((v, a), (w, b))| v == w && same(a, b))
        };
        self.routes.len() == other.routes.len()
            && self.models.len() == other.models.len()
            && self.defaults == other.defaults
            && self.tenants == other.tenants
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
                .all(|(a, b)| same(a.plugin(), b.plugin()))
            && self.same_bundles(other)
    }

    fn same_bundles(&self, other: &Self) -> bool {
        let same_drawn =
            |a: &Drawn, b: &Drawn| Arc::ptr_eq(&a.lot, &b.lot) && Arc::ptr_eq(&a.route, &b.route);
        self.drawn.len() == other.drawn.len()
            && self.coming.len() == other.coming.len()
            && self.calls.len() == other.calls.len()
            && self
                .drawn
                .iter()
                .zip(&other.drawn)
                .all(|((n, a), (m, b))| n == m && same_drawn(a, b))
            && self
                .coming
                .values()
                .zip(other.coming.values())
                .all(|(a, b)| Arc::ptr_eq(a, b))
            && self
                .calls
                .iter()
                .zip(&other.calls)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

/// Whether two `Arc`s of trait objects are one. Vtables may be duplicated, so addresses alone are compared.
pub(crate) fn same<T: ?Sized>(a: &Arc<T>, b: &Arc<T>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(a), Arc::as_ptr(b))
}
