//! Metadata, statistics, the model repository, shared memory, and the settings of log and traces, over REST: everything of
//! the protocol but inference.

pub(crate) mod body;

use std::sync::Arc;

use axum::Json;
use axum::response::IntoResponse as _;
use axum::routing::{get, post};
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Action, Error};
use wharf_serving::Route;

use crate::app::AppHandle;
use crate::call::{Answer, Call, boxed, handler};
use crate::client::reads_or_writes;
use crate::management::{flat_if_asked, superset};
use crate::oip::documents::{model_config, model_metadata, model_ready, server_metadata};
use crate::oip::logging::{change_log_settings, log_settings};
use crate::oip::repository;
use crate::oip::resolve;
use crate::oip::shared_memory;
use crate::oip::statistics::statistics;
use crate::oip::tracing::{TraceSetting, change_trace_settings, trace_settings};

/// What paths name.
const MODEL: &str = "model";
const VERSION: &str = "version";
const REGION: &str = "region";

/// The paths that are asked for seldom.
pub(crate) fn router(app: &AppHandle) -> axum::Router {
    let reading = |answer| get(handler(app, answer));
    let posting = |answer| post(handler(app, answer));
    let mut router = axum::Router::new()
        .route("/v2", reading(boxed(server)))
        .route("/v2/models/stats", reading(boxed(stats)))
        .route("/v2/repository/index", posting(boxed(index)))
        .route("/v2/repository/models/{model}/load", posting(boxed(load)))
        .route(
            "/v2/repository/models/{model}/unload",
            posting(boxed(unload)),
        );
    for model in [
        "/v2/models/{model}",
        "/v2/models/{model}/versions/{version}",
    ] {
        router = router
            .route(model, reading(boxed(metadata)))
            .route(&format!("{model}/ready"), reading(boxed(ready)))
            .route(&format!("{model}/config"), reading(boxed(config)))
            .route(&format!("{model}/stats"), reading(boxed(stats)));
    }
    for regions in [
        "/v2/systemsharedmemory",
        "/v2/systemsharedmemory/region/{region}",
    ] {
        router = router
            .route(&format!("{regions}/status"), reading(boxed(regions_status)))
            .route(&format!("{regions}/unregister"), posting(boxed(unregister)));
    }
    for regions in [
        "/v2/cudasharedmemory",
        "/v2/cudasharedmemory/region/{region}",
    ] {
        let (status, unregister) = (boxed(gpu_regions_status), boxed(gpu_unregister));
        router = router
            .route(&format!("{regions}/status"), reading(status))
            .route(&format!("{regions}/unregister"), posting(unregister));
    }
    for settings in ["/v2/trace/setting", "/v2/models/{model}/trace/setting"] {
        let both = reading(boxed(traces)).merge(posting(boxed(change_traces)));
        router = router.route(settings, both);
    }
    let log = reading(boxed(logging)).merge(posting(boxed(change_logging)));
    router
        .route(
            "/v2/systemsharedmemory/region/{region}/register",
            posting(boxed(register)),
        )
        .route(
            "/v2/cudasharedmemory/region/{region}/register",
            posting(boxed(gpu_register)),
        )
        .route("/v2/logging", log)
}

impl Call {
    fn model(&self) -> &str {
        self.part(MODEL).unwrap_or_default()
    }

    fn route(&self) -> Result<Arc<Route>, Error> {
        let version = self.part(VERSION);
        let resolved = resolve(&self.app, &self.client, self.model(), version)?;
        Ok(resolved.route)
    }
}

fn json(document: impl Serialize) -> Answer {
    Ok(Json(document).into_response())
}

fn done() -> Answer {
    Ok(StatusCode::OK.into_response())
}

async fn server(call: Call) -> Answer {
    json(server_metadata(&call.app))
}

async fn metadata(call: Call) -> Answer {
    if call.part(VERSION).is_some() {
        return json(model_metadata(&*call.route()?));
    }
    let model = call.model().to_owned();
    if let Some(flat) = flat_if_asked(call.asker(), &call.parts, &model).await {
        return flat;
    }
    let route = call.route();
    match superset(call.asker(), &call.parts, &model, route.as_deref().ok()).await {
        Some(document) => document,
        None => json(model_metadata(&*route?)),
    }
}

/// Triton's clients know 'not ready' as 400, and KServe's read the body.
async fn ready(call: Call) -> Answer {
    let ready = model_ready(&call.app, &call.client, call.model(), call.part(VERSION))?;
    let status = match ready {
        true => StatusCode::OK,
        false => StatusCode::BAD_REQUEST,
    };
    let name = call.model();
    Ok((status, Json(ModelReady { name, ready })).into_response())
}

#[derive(Serialize, ToSchema)]
pub(crate) struct ModelReady<'a> {
    name: &'a str,
    ready: bool,
}

async fn config(call: Call) -> Answer {
    json(model_config(&*call.route()?))
}

async fn stats(call: Call) -> Answer {
    let (model, version) = (call.part(MODEL), call.part(VERSION));
    json(statistics(&call.app, &call.client, model, version)?)
}

async fn index(mut call: Call) -> Answer {
    let wanted = call.document::<body::Index>().await?;
    json(repository::index(&call.app, &call.client, wanted.ready))
}

async fn load(mut call: Call) -> Answer {
    // Before the files are taken in.
    call.asker().may(Action::WriteModels, call.part(MODEL))?;
    let (parameters, _reservation) = call.load_body().await?;
    repository::load(call.asker(), call.model(), parameters).await?;
    done()
}

async fn unload(mut call: Call) -> Answer {
    call.asker().may(Action::WriteModels, call.part(MODEL))?;
    let dependents = call.document::<body::Unload>().await?.dependents();
    repository::unload(call.asker(), call.model(), dependents).await?;
    done()
}

async fn regions_status(call: Call) -> Answer {
    call.asker().may(Action::ReadModels, None)?;
    json(
        call.app
            .shared_memory_of(&call.client)
            .status(call.part(REGION))?,
    )
}

async fn register(mut call: Call) -> Answer {
    call.asker().may(Action::WriteServer, None)?;
    let name = call.part(REGION).unwrap_or_default().to_owned();
    let wanted = call.document::<body::Register>().await?;
    let (region, key) = wanted.into_region(name)?;
    call.app.shared_memory.register(&region, &key)?;
    done()
}

async fn unregister(call: Call) -> Answer {
    call.asker().may(Action::WriteServer, None)?;
    call.app.shared_memory.unregister(call.part(REGION));
    done()
}

async fn gpu_regions_status(call: Call) -> Answer {
    json(shared_memory::gpu_status(call.part(REGION))?)
}

async fn gpu_register(_call: Call) -> Answer {
    Err(shared_memory::no_gpu_regions().into())
}

/// One that is not registered is no error, and none is.
async fn gpu_unregister(_call: Call) -> Answer {
    done()
}

async fn traces(call: Call) -> Answer {
    call.asker().may(Action::ReadModels, call.part(MODEL))?;
    let settings = trace_settings(&call.app, &call.client, call.part(MODEL))?;
    json(trace_document(settings))
}

async fn change_traces(mut call: Call) -> Answer {
    let changes = call.trace_changes().await?;
    call.asker().may(reads_or_writes(&changes), None)?;
    let model = call.part(MODEL);
    let settings = change_trace_settings(&call.app, &call.client, model, &changes)?;
    json(trace_document(settings))
}

/// Levels are a list, as Triton has them, and everything else is text.
fn trace_document(settings: Vec<TraceSetting>) -> serde_json::Value {
    let member = |(name, values): TraceSetting| {
        let value = match name {
            "trace_level" => values.into(),
            _ => values.concat().into(),
        };
        (name.to_owned(), value)
    };
    serde_json::Value::Object(settings.into_iter().map(member).collect())
}

async fn logging(call: Call) -> Answer {
    call.asker().may(Action::ReadModels, None)?;
    json(log_settings(&call.app)?)
}

async fn change_logging(mut call: Call) -> Answer {
    let changes = call.log_changes().await?;
    call.asker().may(reads_or_writes(&changes), None)?;
    json(change_log_settings(&call.app, &changes)?)
}
