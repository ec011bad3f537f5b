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
use wharf_serving::Serving;

use crate::access::{Management, check_host};
use crate::app::{RequestId, refuse, with_fallbacks};
use crate::endpoint::Surface;
use crate::oip::rest::management::{check_origin, host};
use crate::openapi;
use document::{Reload, Snapshot};
pub(crate) use operator::Operators;
pub use operator::Token;

type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The paths of operators.
pub(crate) fn router(
    serving: Serving,
    metrics_text: MetricsText,
    management: Management,
) -> axum::Router {
    let router = axum::Router::new()
        .route("/admin/snapshot", get(snapshot))
        .route("/admin/reload", post(reload))
        .route("/admin/bundles", get(bundles::list))
        .route("/admin/bundles/{bundle}/promote", post(bundles::promote))
        .route("/admin/bundles/{bundle}/rollback", post(bundles::roll_back))
        .route_layer(from_fn_with_state(management, check_orders))
        .with_state(serving)
        .route("/metrics", get(metrics).with_state(metrics_text))
        .merge(openapi::router(None));
    with_fallbacks(Surface::Admin, router)
}

/// Refuses orders that a page of another site has a browser send, also where a name of its owner leads here.
async fn check_orders(
    State(management): State<Management>,
    Extension(id): Extension<RequestId>,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST {
        return next.run(request).await;
    }
    let (headers, uri) = (request.headers(), request.uri());
    let otherwise = "listen to others with server.admin_listen in wharf.toml";
    let checked = check_origin(headers, uri)
        .and_then(|()| check_host(management, host(headers, uri), otherwise));
    match checked {
        Ok(()) => next.run(request).await,
        Err(error) => refuse(&error.into(), &id),
    }
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
