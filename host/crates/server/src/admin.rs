//! What the admin listener answers: metrics, what is loaded, and reload.

mod document;

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use wharf_serving::Serving;

use crate::app::with_fallbacks;
use crate::endpoint::Surface;
use document::{Reload, Snapshot};

type MetricsText = Arc<dyn Fn() -> String + Send + Sync>;

/// The paths of operators.
pub(crate) fn router(serving: Serving, metrics_text: MetricsText) -> axum::Router {
    let router = axum::Router::new()
        .route("/admin/snapshot", get(snapshot))
        .route("/admin/reload", post(reload))
        .with_state(serving)
        .route("/metrics", get(metrics).with_state(metrics_text));
    with_fallbacks(Surface::Admin, router)
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
