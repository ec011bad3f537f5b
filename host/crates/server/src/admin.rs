//! What the admin listener answers: metrics, what is loaded, and reload; bundles and what is ordered of them; its description.

pub(crate) mod bundles;
pub(crate) mod document;
mod operator;

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use wharf_core::Result;
use wharf_serving::Serving;

use crate::access::{Management, check_host, check_origin, host};
use crate::app::{RequestId, refuse, with_fallbacks};
use crate::endpoint::Surface;
use crate::openapi;
use document::{Reload, Snapshot};
pub(crate) use operator::Operators;
pub use operator::Token;

type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// Who may ask the admin listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Audience {
    /// For metrics.
    pub(crate) metrics: Management,
    /// For all else but the description.
    pub(crate) rest: Management,
}

/// The paths of operators.
pub(crate) fn router(
    serving: Serving,
    metrics_text: MetricsText,
    audience: Audience,
) -> axum::Router {
    let metrics = axum::Router::new()
        .route("/metrics", get(metrics))
        .route_layer(from_fn_with_state(audience.metrics, check_sender))
        .with_state(metrics_text);
    let router = axum::Router::new()
        .route("/admin/snapshot", get(snapshot))
        .route("/admin/reload", post(reload))
        .route("/admin/bundles", get(bundles::list))
        .route("/admin/bundles/{bundle}/promote", post(bundles::promote))
        .route("/admin/bundles/{bundle}/rollback", post(bundles::roll_back))
        .route_layer(from_fn_with_state(audience.rest, check_sender))
        .with_state(serving)
        .merge(metrics)
        .merge(openapi::router(None));
    with_fallbacks(Surface::Admin, router)
}

/// Refuses orders that a page of another site has a browser send, and where only this machine can reach the listener, all that
/// comes under another name: a page of that name could read the answer.
async fn check_sender(
    State(management): State<Management>,
    Extension(id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    match check(&request, management) {
        Ok(()) => next.run(request).await,
        Err(error) => refuse(&error.into(), &id),
    }
}

fn check(request: &Request, management: Management) -> Result<()> {
    let (headers, uri) = (request.headers(), request.uri());
    if request.method() == Method::POST {
        check_origin(headers, uri)?;
    }
    let refusal = "this listener is for its own machine alone: name it localhost or by a loopback address, or set \
                   server.admin_token_file in wharf.toml";
    check_host(management, host(headers, uri), refusal)
}

async fn metrics(State(text): State<MetricsText>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    // Gauges are read here, and a GPU's driver may take its time: not on a thread that serves.
    let rendered = tokio::task::spawn_blocking(move || text()).await;
    match rendered {
        Ok(text) => ([(CONTENT_TYPE, content_type)], text).into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn snapshot(State(serving): State<Serving>) -> Json<Snapshot> {
    Json(Snapshot::of(serving.status()))
}

/// Answers 200 also where things were refused: the reload was done, and the document says what it found.
async fn reload(State(serving): State<Serving>) -> Json<Reload> {
    Json(Reload::of(serving.reload().await))
}
