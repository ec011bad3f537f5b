//! Metadata, statistics, the model repository, shared memory, and the settings of log and traces, over REST: everything of
//! the protocol but inference.

pub(crate) mod body;
mod paths;

use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts as _, Path, Request};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::header::{HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Action, BoxFuture, Error, ErrorKind};
use wharf_serving::Route;

use crate::app::{App, AppHandle, RequestId, refuse};
use crate::client::{Asker, Client, reads_or_writes};
use crate::management::{flat_if_asked, superset};
use crate::oip::documents::{model_config, model_metadata, model_ready, server_metadata};
use crate::oip::logging::{change_log_settings, log_settings};
use crate::oip::repository;
use crate::oip::resolve;
use crate::oip::shared_memory;
use crate::oip::statistics::statistics;
use crate::oip::tracing::{TraceSetting, change_trace_settings, trace_settings};
use crate::problem::Problem;

pub(crate) use paths::{ENDPOINTS, endpoint};

type Answer = Result<Response, Problem>;

/// A request, with what its path names.
struct Call {
    app: Arc<App>,
    client: Client,
    parts: Parts,
    body: axum::body::Body,
    model: Option<String>,
    version: Option<String>,
    region: Option<String>,
}

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

type Boxed = Arc<dyn Fn(Call) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What answers, of one type whatever it is.
fn boxed<F, A>(answer: F) -> Boxed
where
    F: Fn(Call) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    Arc::new(move |call| Box::pin(answer(call)))
}

/// A handler of the router: every refusal becomes a problem document.
fn handler(
    app: &AppHandle,
    answer: Boxed,
) -> impl FnOnce(Request) -> BoxFuture<'static, Response> + Clone + Send + Sync + use<> {
    let app = app.clone();
    move |request: Request| {
        Box::pin(async move {
            let id = request.extensions().get::<RequestId>().cloned();
            let answered = match Call::of(&app, request).await {
                Ok(call) => answer(call).await,
                Err(problem) => Err(problem),
            };
            let id = id.unwrap_or_else(|| RequestId("".into()));
            answered.unwrap_or_else(|problem| refuse(&problem, &id))
        })
    }
}

impl Call {
    async fn of(app: &AppHandle, request: Request) -> Result<Self, Problem> {
        let app = app.get()?;
        let (mut parts, body) = request.into_parts();
        let Path(names) = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &())
            .await
            .map_err(|error| {
                Error::invalid("path", "the path is not UTF-8 once it is decoded")
                    .with_source(error)
            })?;
        let mut call = Self {
            app,
            // Whoever puts a request into the router says who sends it.
            client: parts.extensions.remove().unwrap_or_default(),
            parts,
            body,
            model: None,
            version: None,
            region: None,
        };
        for (name, value) in names {
            match name.as_str() {
                "model" => call.model = Some(value),
                "version" => call.version = Some(value),
                _ => call.region = Some(value),
            }
        }
        if call.parts.method == Method::POST {
            call.app
                .check_origin(&call.parts.headers, &call.parts.uri)?;
        }
        Ok(call)
    }

    fn asker(&self) -> Asker<'_> {
        Asker {
            app: &self.app,
            client: &self.client,
            host: host(&self.parts.headers, &self.parts.uri),
        }
    }

    /// Refuses what the client may not do to the model that the path names, or to all.
    fn may(&self, action: Action) -> Result<(), Error> {
        self.asker().may(action, self.model.as_deref())
    }

    fn model(&self) -> &str {
        self.model.as_deref().unwrap_or_default()
    }

    fn route(&self) -> Result<Arc<Route>, Error> {
        let version = self.version.as_deref();
        let resolved = resolve(&self.app, &self.client, self.model(), version)?;
        Ok(resolved.route)
    }
}

impl App {
    /// Refuses what a page of another site has a browser send, unless the operator names the site.
    ///
    /// # Errors
    /// `PermissionDenied`.
    pub(crate) fn check_origin(&self, headers: &HeaderMap, uri: &Uri) -> Result<(), Error> {
        match (&self.cors, headers.get(ORIGIN)) {
            (Some(cors), Some(origin)) if cors.trusts(origin) => Ok(()),
            _ => check_origin(headers, uri),
        }
    }
}

/// Refuses what a page of another site has a browser send: where only this machine can reach the server, the browser
/// on it can.
pub(crate) fn check_origin(headers: &HeaderMap, uri: &Uri) -> Result<(), Error> {
    let Some(origin) = headers.get(ORIGIN) else {
        return Ok(());
    };
    let site = origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"));
    if site.is_some_and(|(_, site)| Some(site) == host(headers, uri)) {
        return Ok(());
    }
    let message = "pages of other sites may not change this server";
    Err(Error::new(ErrorKind::PermissionDenied, message).with_field("origin"))
}

/// The name that the client knows the server by.
pub(crate) fn host<'a>(headers: &'a HeaderMap, uri: &'a Uri) -> Option<&'a str> {
    // HTTP/2 has it in the URI.
    match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => Some(uri.authority()?.as_str()),
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
    if call.version.is_some() {
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
    let ready = model_ready(
        &call.app,
        &call.client,
        call.model(),
        call.version.as_deref(),
    )?;
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
    let (model, version) = (call.model.as_deref(), call.version.as_deref());
    json(statistics(&call.app, &call.client, model, version)?)
}

async fn index(mut call: Call) -> Answer {
    let wanted = call.small_body::<body::Index>().await?;
    json(repository::index(&call.app, &call.client, wanted.ready))
}

async fn load(mut call: Call) -> Answer {
    // Before the files are taken in.
    call.may(Action::WriteModels)?;
    let (parameters, _reservation) = call.load_body().await?;
    repository::load(call.asker(), call.model(), parameters).await?;
    done()
}

async fn unload(mut call: Call) -> Answer {
    call.may(Action::WriteModels)?;
    let dependents = call.small_body::<body::Unload>().await?.dependents();
    repository::unload(call.asker(), call.model(), dependents).await?;
    done()
}

async fn regions_status(call: Call) -> Answer {
    call.may(Action::ReadModels)?;
    json(call.app.shared_memory.status(call.region.as_deref())?)
}

async fn register(mut call: Call) -> Answer {
    call.may(Action::WriteServer)?;
    let name = call.region.take().unwrap_or_default();
    let wanted = call.small_body::<body::Register>().await?;
    let (region, key) = wanted.into_region(name)?;
    shared_memory::register(&call.app, &region, &key)?;
    done()
}

async fn unregister(call: Call) -> Answer {
    call.may(Action::WriteServer)?;
    shared_memory::unregister(&call.app, call.region.as_deref())?;
    done()
}

async fn gpu_regions_status(call: Call) -> Answer {
    json(shared_memory::gpu_status(call.region.as_deref())?)
}

async fn gpu_register(_call: Call) -> Answer {
    Err(shared_memory::no_gpu_regions().into())
}

/// One that is not registered is no error, and none is.
async fn gpu_unregister(_call: Call) -> Answer {
    done()
}

async fn traces(call: Call) -> Answer {
    call.may(Action::ReadModels)?;
    let settings = trace_settings(&call.app, &call.client, call.model.as_deref())?;
    json(trace_document(settings))
}

async fn change_traces(mut call: Call) -> Answer {
    let changes = call.trace_changes().await?;
    call.asker().may(reads_or_writes(&changes), None)?;
    let model = call.model.as_deref();
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
    call.may(Action::ReadModels)?;
    json(log_settings(&call.app)?)
}

async fn change_logging(mut call: Call) -> Answer {
    let changes = call.log_changes().await?;
    call.may(reads_or_writes(&changes))?;
    json(change_log_settings(&call.app, &changes)?)
}
