//! Calls of routes and models by plugins: the way of a client's request, without a network.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use tracing::field::Empty;
use wharf_core::{
    BoxFuture, Error, ErrorKind, InvalidName, ModelCalls, Name, Payload, RequestContext, Result,
    Scheduling, stage_span,
};

use crate::in_force::InForce;
use crate::mirrors::{self, Mirrored, Origin};
use crate::pipeline::within;
use crate::route::Route;
use crate::snapshot::{Asked, Missing, Snapshot};

/// The most calls that may lie between the client and a request. A route that calls itself, also by way of others, ends here.
const MOST_NESTED: u32 = 4;

impl ModelCalls for InForce {
    fn call<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        target: &'a str,
        version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            // Kept to the end, as a request of a client keeps it: so the reaper, and never a request, drops the last reference.
            let snapshot = self.snapshot();
            let route = self.target(&snapshot, request, target, version)?;
            run(request, route, input).await
        })
    }

    fn mirror(
        &self,
        request: &Arc<RequestContext>,
        target: &str,
        version: Option<&str>,
        input: Payload,
    ) -> Result<()> {
        let snapshot = self.snapshot();
        let route = Arc::clone(self.target(&snapshot, request, target, version)?);
        self.mirror_to(request, (snapshot, route), input)
    }
}

/// Runs a call of a plugin that works for a request.
pub(crate) async fn run(
    request: &Arc<RequestContext>,
    route: &Route,
    input: Payload,
) -> Result<Payload> {
    let mut nested = nested(request, route)?;
    // The route's own time holds for plugins as well.
    nested.deadline = request.deadline.min(nested.deadline);
    let nested = Arc::new(nested);
    let span = stage_span!("call", endpoint = %route.name(), otel.status_code = Empty);
    let outcome = within(span, route.run(&nested, input)).await;
    outcome.map(|outcome| outcome.payload).inspect_err(|error| {
        // The plugin gets the fixed text alone, so the cause would be lost.
        if error.kind() == ErrorKind::Internal {
            tracing::error!(request_id = %request.id, endpoint = %route.name(), ?error, "a plugin's call failed");
        }
    })
}

/// What a call gets where nothing is served.
pub(crate) fn no_host() -> Error {
    Error::new(ErrorKind::Unavailable, "this host serves no models")
}

impl InForce {
    /// The route that a plugin names.
    fn target<'s>(
        &self,
        snapshot: &'s Snapshot,
        request: &RequestContext,
        target: &str,
        version: Option<&str>,
    ) -> Result<&'s Arc<Route>> {
        let version = version.filter(|version| !version.is_empty());
        let field = |name: &str| request.headers.get(name);
        // A plugin asks for whom it works for: what is another tenant's is not there.
        let asked = Asked {
            name: target,
            tenant: request.tenant.as_deref(),
        };
        snapshot
            .endpoint_for(asked, version, field)
            .map_err(|missing| self.explain(target, version, missing))
    }

    /// Mirrors the request that a plugin works for to a route that is in force, or in a release that is.
    ///
    /// # Errors
    /// `PluginFault` where calls are nested too deep, `Unavailable` where many requests are mirrored already, or half of the
    /// route's places are taken.
    pub(crate) fn mirror_to(
        &self,
        request: &RequestContext,
        (origin, route): (Origin, Arc<Route>),
        input: Payload,
    ) -> Result<()> {
        let mut nested = nested(request, &route)?;
        let counters = self.metrics().mirrored(route.name());
        // The other half is for those who wait for an answer. A route with one place has none to keep.
        if route.in_flight() >= route.max_in_flight().div_ceil(2) {
            counters.full();
            return Err(mirrors::full());
        }
        // Whoever is waited for goes before it.
        nested.scheduling.priority = lowest_priority(&route);
        // A span of its own that the request's does not wait for: it keeps the trace, and ends when it ends.
        let span = stage_span!("mirror", endpoint = %route.name(), otel.status_code = Empty);
        let mirrored = Mirrored {
            route,
            origin,
            request: Arc::new(nested),
            input,
        };
        let most = self.config.load().max_mirrored;
        self.mirrors
            .begin(most, counters, within(span, mirrored.run()))
    }

    fn explain(&self, target: &str, version: Option<&str>, missing: Missing) -> Error {
        let target = match Name::new(target) {
            Ok(target) => target,
            Err(InvalidName) => return Error::invalid("target", InvalidName.to_string()),
        };
        if !*self.loaded.borrow() {
            let message = "the server is still loading; try again soon";
            return Error::new(ErrorKind::Unavailable, message);
        }
        match missing {
            Missing::Name => Error::new(
                ErrorKind::NotFound,
                format!("there is no route or model {target}"),
            ),
            Missing::Version(_) if version.is_some_and(|version| Name::new(version).is_err()) => {
                Error::invalid("version", "a version is a number, or a label like stable")
            }
            Missing::Version(there) => Error::new(
                ErrorKind::NotFound,
                format!("{target} has no such version, but {}", there.join(", ")),
            ),
        }
    }
}

/// The level that every model of a route with levels has, and behind which there are the fewest.
fn lowest_priority(route: &Route) -> Option<NonZeroU32> {
    let levels = route
        .models()
        .map(|model| model.info().queueing.priority_levels);
    levels.filter_map(NonZeroU32::new).min()
}

/// The request of a call: the one that the plugin works for, to another route, with the time of that.
fn nested(request: &RequestContext, route: &Route) -> Result<RequestContext> {
    let depth = request.depth + 1;
    if depth > MOST_NESTED {
        return Err(too_deep());
    }
    Ok(RequestContext {
        id: Arc::clone(&request.id),
        route: route.name().shared(),
        tenant: request.tenant.clone(),
        headers: request.headers.clone(),
        deadline: Instant::now() + route.timeout(),
        timeout: route.timeout(),
        // What the client says of its place means the model that it named: another has other levels and sequences.
        scheduling: Scheduling::default(),
        depth,
    })
}

fn too_deep() -> Error {
    Error::new(
        ErrorKind::PluginFault,
        format!(
            "plugins call routes whose plugins call routes more than {MOST_NESTED} deep; a route must not call itself, nor by way of others"
        ),
    )
}
