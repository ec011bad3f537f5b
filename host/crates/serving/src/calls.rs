//! Calls of routes and models by plugins: the way of a client's request, without a network.

use std::sync::Arc;
use std::time::Instant;

use tracing::field::Empty;
use wharf_core::{
    BoxFuture, Error, ErrorKind, InvalidName, ModelCalls, Name, Payload, RequestContext, Result,
    Scheduling, stage_span,
};

use crate::in_force::InForce;
use crate::pipeline::within;
use crate::route::Route;
use crate::snapshot::Missing;

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
            let depth = request.depth + 1;
            if depth > MOST_NESTED {
                return Err(too_deep());
            }
            // Kept to the end, as a request of a client keeps it: so the reaper, and never a request, drops the last reference.
            let snapshot = self.snapshot();
            let version = version.filter(|version| !version.is_empty());
            let route = snapshot
                .endpoint(target, version)
                .map_err(|missing| self.explain(target, version, missing))?;
            let nested = Arc::new(nested(request, route, depth));
            let span = stage_span!("call", endpoint = %route.name(), otel.status_code = Empty);
            let outcome = within(span, route.run(&nested, input)).await;
            outcome.map(|outcome| outcome.payload).inspect_err(|error| {
                // The plugin gets the fixed text alone, so the cause would be lost.
                if error.kind() == ErrorKind::Internal {
                    tracing::error!(request_id = %request.id, endpoint = %route.name(), ?error, "a plugin's call failed");
                }
            })
        })
    }
}

impl InForce {
    fn explain(&self, target: &str, version: Option<&str>, missing: Missing) -> Error {
        let target = match Name::new(target) {
            Ok(target) => target,
            Err(InvalidName) => return Error::invalid("target", InvalidName.to_string()),
        };
        if !*self.ready.borrow() {
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

/// The request of a call: the one that the plugin works for, to another route.
fn nested(request: &RequestContext, route: &Route, depth: u32) -> RequestContext {
    RequestContext {
        id: Arc::clone(&request.id),
        route: route.name().shared(),
        tenant: request.tenant.clone(),
        headers: request.headers.clone(),
        // The route's own time holds for plugins as well.
        deadline: request.deadline.min(Instant::now() + route.timeout()),
        // What the client says of its place means the model that it named: another has other levels and sequences.
        scheduling: Scheduling::default(),
        depth,
    }
}

fn too_deep() -> Error {
    Error::new(
        ErrorKind::PluginFault,
        format!(
            "plugins call routes whose plugins call routes more than {MOST_NESTED} deep; a route must not call itself, nor by way of others"
        ),
    )
}
