//! What the public listener says of itself: routes, models, plugins and health.

use axum::Json;
use axum::extract::{Extension, State};
use axum::routing::get;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Action, Name, PluginInfo, TensorSpec};
use wharf_serving::{Route, RouteInput, Serving, Snapshot, StageSpec};

use crate::app::{AppHandle, with_fallbacks};
use crate::client::Client;
use crate::endpoint::{COMMON, INFER, PUBLIC, Surface};
use crate::management as site_management;
use crate::oip::documents::dims;
use crate::oip::rest::management;
use crate::openapi;

/// The paths that are asked for seldom.
pub(crate) fn router(serving: Serving, app: &AppHandle) -> axum::Router {
    let router = axum::Router::new()
        .route("/", get(index))
        .route("/v1/routes", get(routes))
        .route("/v1/plugins", get(plugins))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .with_state(serving.clone())
        .merge(management::router(app))
        .merge(site_management::router(app))
        .merge(openapi::router(Some(serving)));
    with_fallbacks(Surface::Public, router)
}

/// KServe's clients read the body, and Triton's the status.
#[derive(Serialize, ToSchema)]
pub(crate) struct Live {
    live: bool,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    ready: bool,
}

async fn live() -> Json<Live> {
    Json(Live { live: true })
}

/// Triton's clients know 'not ready' as 400.
async fn ready(State(serving): State<Serving>) -> (StatusCode, Json<Ready>) {
    let ready = serving.ready();
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::BAD_REQUEST,
    };
    (status, Json(Ready { ready }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = ServerIndex)]
pub(crate) struct Index {
    name: &'static str,
    version: &'static str,
    ready: bool,
    generation: u64,
    endpoints: Vec<String>,
}

async fn index(State(serving): State<Serving>) -> Json<Index> {
    Json(Index {
        name: "wharf",
        version: env!("CARGO_PKG_VERSION"),
        ready: serving.ready(),
        generation: serving.snapshot().generation(),
        endpoints: INFER
            .iter()
            .chain(&PUBLIC)
            .chain(&COMMON)
            .flat_map(|it| it.lines())
            .collect(),
    })
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteList)]
pub(crate) struct Routes {
    routes: Vec<RouteDocument>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Route)]
pub(crate) struct RouteDocument {
    name: String,
    /// Whether it stands for a model alone, without a file.
    implicit: bool,
    /// The release of a bundle that it is part of.
    #[serde(skip_serializing_if = "Option::is_none")]
    bundle: Option<ReleaseDocument>,
    input: InputDocument,
    #[serde(skip_serializing_if = "Option::is_none")]
    router: Option<StageDocument>,
    candidates: Vec<CandidateDocument>,
    pre: Vec<StageDocument>,
    post: Vec<StageDocument>,
    timeout_ms: u64,
    max_in_flight: u32,
    in_flight: u32,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteRelease)]
pub(crate) struct ReleaseDocument {
    name: String,
    release: u64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteInput)]
#[serde(rename_all = "lowercase")]
pub(crate) enum InputDocument {
    Body,
    Tensors(Vec<TensorDocument>),
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteStage)]
pub(crate) struct StageDocument {
    plugin: String,
    on_failure: &'static str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RouteCandidate)]
pub(crate) struct CandidateDocument {
    model: String,
    version: u64,
    labels: Vec<String>,
}

async fn routes(
    State(serving): State<Serving>,
    Extension(client): Extension<Client>,
) -> Json<Routes> {
    let snapshot = serving.snapshot();
    Json(Routes {
        routes: snapshot
            .routes()
            .filter(|route| client.sees_route(route))
            .map(|route| route_document(route, &snapshot, &client))
            .collect(),
    })
}

/// A route as the client sees it: of its candidates, those that are there for the client.
fn route_document(route: &Route, snapshot: &Snapshot, client: &Client) -> RouteDocument {
    let spec = route.spec();
    let is_there = |model: &Name| client.is_among(snapshot.tenants_of(model));
    let stages = |stages: &[StageSpec]| stages.iter().map(stage_document).collect();
    RouteDocument {
        name: route.name().to_string(),
        implicit: spec.implicit,
        bundle: route.release().map(|release| ReleaseDocument {
            name: release.bundle.to_string(),
            release: release.release,
        }),
        input: match route.input() {
            RouteInput::Body => InputDocument::Body,
            RouteInput::Tensors(specs) => {
                InputDocument::Tensors(specs.iter().map(tensor_document).collect())
            }
        },
        router: spec.router.as_ref().map(stage_document),
        candidates: spec
            .candidates
            .iter()
            .zip(route.models())
            .filter(|(candidate, _)| is_there(&candidate.model))
            .map(|(candidate, model)| CandidateDocument {
                model: candidate.model.to_string(),
                // Where the route names none, the one that is in force.
                version: model.info().version,
                labels: candidate.labels.to_vec(),
            })
            .collect(),
        pre: stages(&spec.pre),
        post: stages(&spec.post),
        timeout_ms: u64::try_from(route.timeout().as_millis()).unwrap_or(u64::MAX),
        max_in_flight: route.max_in_flight(),
        in_flight: route.in_flight(),
    }
}

fn stage_document(stage: &StageSpec) -> StageDocument {
    StageDocument {
        plugin: stage.plugin.to_string(),
        on_failure: stage.on_failure.name(),
    }
}

/// A tensor that a model takes or gives.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TensorSpec)]
pub(crate) struct TensorDocument {
    name: String,
    datatype: &'static str,
    /// -1 for a dimension that each request chooses, as OIP has it.
    shape: Vec<i64>,
}

pub(crate) fn tensor_document(spec: &TensorSpec) -> TensorDocument {
    TensorDocument {
        name: spec.name.to_string(),
        datatype: spec.datatype.name(),
        shape: dims(&spec.shape),
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = PluginList)]
pub(crate) struct Plugins {
    plugins: Vec<PluginDocument>,
}

/// A plugin in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Plugin)]
pub(crate) struct PluginDocument {
    name: String,
    version: String,
    summary: String,
    digest: String,
    contract: String,
    stages: Vec<&'static str>,
    isolation: &'static str,
}

/// Plugins are the operator's: whoever may see no more than some models sees none of them.
async fn plugins(
    State(serving): State<Serving>,
    Extension(client): Extension<Client>,
) -> Json<Plugins> {
    let snapshot = serving.snapshot();
    Json(Plugins {
        plugins: snapshot
            .plugins()
            .filter(|_| client.check(Action::ReadModels, None).is_ok())
            .map(|plugin| plugin_document(plugin.info()))
            .collect(),
    })
}

pub(crate) fn plugin_document(info: &PluginInfo) -> PluginDocument {
    PluginDocument {
        name: info.name.to_string(),
        version: info.version.clone(),
        summary: info.summary.clone(),
        digest: format!("sha256:{}", info.digest),
        contract: info.contract.clone(),
        stages: info.stages.iter().map(|stage| stage.name()).collect(),
        isolation: info.isolation.name(),
    }
}
