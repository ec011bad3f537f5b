//! The Open Inference Protocol and the extensions of it that clients of Triton use, apart from how they are written: both
//! codecs, [`rest`] and `grpc`, read a request into what is here, and write what comes of it.
//!
//! Every route is a model of the protocol. One that takes a body has the input `body`, and one whose last stage gives a body
//! has the output `body`: `BYTES` of the shape `[1]`, with the media type as the parameter `content_type`.

pub(crate) mod classify;
pub(crate) mod documents;
pub(crate) mod inputs;
pub(crate) mod logging;
pub(crate) mod parameters;
pub(crate) mod repository;
pub(crate) mod rest;
pub(crate) mod shared_memory;
pub(crate) mod statistics;
pub(crate) mod tracing;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{
    Action, Body, Datatype, Error, ErrorKind, Headers, InvalidName, Name, Payload, RequestContext,
    Result, Scheduling, Tensor,
};
use wharf_serving::{Missing, Outcome, Route, RouteInput, Snapshot};

use crate::app::App;
use crate::client::Client;
use crate::infer::blocking;
use crate::json::shorten;
use classify::classify;
use shared_memory::SharedMemory;

/// The name of the input and the output that stand for a body.
pub(crate) const BODY: &str = "body";
/// The most outputs that a request may ask for: more than any model has.
const MAX_OUTPUTS: usize = 1024;

/// A request for inference.
#[derive(Debug)]
pub(crate) struct InferRequest {
    /// What the client calls it; repeated in the answer.
    pub(crate) id: String,
    /// Its place among others.
    pub(crate) scheduling: Scheduling,
    /// The inputs, or the body.
    pub(crate) input: Payload,
    /// The outputs that it asks for; all where it names none.
    pub(crate) outputs: Vec<RequestedOutput>,
}

/// An output that a client asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RequestedOutput {
    /// The name.
    pub(crate) name: String,
    /// Whether it is to come as binary data; none where the request's own `binary_data_output` holds.
    pub(crate) binary: Option<bool>,
    /// In place of the elements, so many classes with the highest values.
    pub(crate) classification: Option<u32>,
    /// Where it is to be written, in place of the answer.
    pub(crate) shared_memory: Option<Region>,
}

/// A part of a registered region of shared memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Region {
    /// The name under which it is registered.
    pub(crate) name: String,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
    /// How long it is, in bytes.
    pub(crate) byte_size: u64,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct InferResponse {
    /// The name that the client asked for.
    pub(crate) model_name: Arc<str>,
    /// The version that ran.
    pub(crate) model_version: u64,
    /// What the client called the request.
    pub(crate) id: String,
    /// The outputs, in the order in which they were asked for.
    pub(crate) outputs: Vec<Output>,
}

/// An output, as it is to be written.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) tensor: Tensor,
    /// As asked for; none where the request's own `binary_data_output` holds.
    pub(crate) binary: Option<bool>,
    /// The media type, where it stands for a body.
    pub(crate) content_type: Option<Arc<str>>,
    /// Where it was written, in place of the answer.
    pub(crate) shared_memory: Option<Region>,
}

/// What a request is for: found once, and kept to its end.
pub(crate) struct Resolved {
    /// Kept although the route is taken out of it: so the reaper, and never a request, drops the last reference.
    _snapshot: Arc<Snapshot>,
    pub(crate) route: Arc<Route>,
}

/// Finds what a request for inference goes to. Where a release of a bundle is on trial, the lot is drawn here.
///
/// # Errors
/// As [`resolve`], where the client may not infer.
pub(crate) fn resolve_for<'h>(
    app: &App,
    client: &Client,
    (name, version): (&str, Option<&str>),
    field: impl FnOnce(&str) -> Option<&'h str>,
) -> Result<Resolved> {
    let asker = (client, Action::Infer);
    resolve_by(app, asker, (name, version), |snapshot, version| {
        snapshot.endpoint_for(client.asked(name), version, field)
    })
}

/// Finds what a name and a version stand for, to say something of it.
///
/// # Errors
/// `NotFound` or `InvalidArgument` with `model` or `version` as the field, also where it is another tenant's; `PermissionDenied` where
/// the client may not see it; `Unavailable` while the server is still loading, and where it could not load this.
pub(crate) fn resolve(
    app: &App,
    client: &Client,
    name: &str,
    version: Option<&str>,
) -> Result<Resolved> {
    let asker = (client, Action::ReadModels);
    resolve_by(app, asker, (name, version), |snapshot, version| {
        snapshot.endpoint(client.asked(name), version)
    })
}

fn resolve_by(
    app: &App,
    asker: (&Client, Action),
    (name, version): (&str, Option<&str>),
    find: impl for<'s> FnOnce(&'s Snapshot, Option<&str>) -> Result<&'s Arc<Route>, Missing>,
) -> Result<Resolved> {
    let snapshot = app.serving.snapshot();
    let version = version.filter(|version| !version.is_empty());
    let route = match find(&snapshot, version) {
        Ok(route) => Arc::clone(route),
        Err(missing) => return Err(explain(app, asker, (name, version), missing)),
    };
    let (client, action) = asker;
    client.check(action, Some(name))?;
    Ok(Resolved {
        _snapshot: snapshot,
        route,
    })
}

fn explain(
    app: &App,
    asker: (&Client, Action),
    (name, version): (&str, Option<&str>),
    missing: Missing,
) -> Error {
    let is_label = version.is_none_or(|version| Name::new(version).is_ok());
    match (Name::new(name), missing) {
        (Ok(_), Missing::Version(_)) if !is_label => {
            let message = "a version is a number, or a label like stable";
            Error::invalid("version", message)
        }
        (Err(InvalidName), _) | (Ok(_), Missing::Name) => {
            let kind = ("model", "the repository index lists them");
            app.unknown(asker, kind, name)
        }
        (Ok(name), Missing::Version(there)) => Error::new(
            ErrorKind::NotFound,
            format!("model {name} has no such version, but {}", there.join(", ")),
        )
        .with_field("version"),
    }
}

/// Who asks.
pub(crate) struct Caller<'a> {
    /// The id of the request.
    pub(crate) id: &'a Arc<str>,
    pub(crate) client: &'a Client,
    pub(crate) headers: Headers,
    /// What is left of the client's own time, where it has one.
    pub(crate) limit: Option<Duration>,
}

/// Runs a request whose inputs are there.
///
/// # Errors
/// As [`Route::run`]; `InvalidArgument` with the output as the field where a client asks for what there is not, or where
/// shared memory does not take it.
pub(crate) async fn infer(
    app: &Arc<App>,
    resolved: &Resolved,
    caller: Caller<'_>,
    request: InferRequest,
) -> Result<InferResponse> {
    check_outputs(&request.outputs)?;
    let route = &resolved.route;
    let limit = caller.limit;
    let time = limit.map_or(route.timeout(), |limit| limit.min(route.timeout()));
    let context = Arc::new(RequestContext {
        id: Arc::clone(caller.id),
        route: route.name().shared(),
        tenant: caller.client.tenant().cloned(),
        headers: caller.headers,
        deadline: Instant::now() + time,
        timeout: route.timeout(),
        scheduling: request.scheduling,
        depth: 0,
    });
    let shared = app.shared_memory_of(caller.client);
    let outcome = route.run(&context, request.input).await;
    let outcome = outcome.map_err(|error| in_inputs(error, route))?;
    // A bundle's versions are its releases.
    let model_version = outcome.release.unwrap_or(outcome.version);
    let outputs = resolved.select(outcome, &request.outputs)?;
    Ok(InferResponse {
        model_name: route.name().shared(),
        model_version,
        id: request.id,
        outputs: share(shared, outputs).await?,
    })
}

/// Names an input that the model refuses as the client did.
fn in_inputs(error: Error, route: &Route) -> Error {
    let input = error.field().and_then(|field| match route.input() {
        RouteInput::Tensors(specs) => specs.iter().find(|spec| &*spec.name == field),
        RouteInput::Body => None,
    });
    match input {
        Some(spec) if error.kind() == ErrorKind::InvalidArgument => {
            error.with_field(format!("inputs.{}", spec.name))
        }
        _ => error,
    }
}

/// Checks what can be said of the outputs before anything is computed: each may become an answer as large as the tensor.
fn check_outputs(requested: &[RequestedOutput]) -> Result<()> {
    if requested.len() > MAX_OUTPUTS {
        let message = format!("asks for more than {MAX_OUTPUTS} outputs");
        return Err(Error::invalid("outputs", message));
    }
    for (index, output) in requested.iter().enumerate() {
        if requested[..index]
            .iter()
            .any(|other| other.name == output.name)
        {
            let field = format!("outputs.{}", shorten(&output.name));
            return Err(Error::invalid(field, "is asked for twice"));
        }
    }
    Ok(())
}

impl Resolved {
    /// Takes the outputs that were asked for, in that order.
    fn select(&self, outcome: Outcome, requested: &[RequestedOutput]) -> Result<Vec<Output>> {
        let (tensors, content_type) = match outcome.payload {
            Payload::Tensors(tensors) => (tensors, None),
            Payload::Body(body) => {
                let (tensor, media_type) = from_body(&body)?;
                (vec![tensor], Some(media_type))
            }
        };
        let plain = |tensor: Tensor| Output {
            tensor,
            binary: None,
            content_type: content_type.clone(),
            shared_memory: None,
        };
        if requested.is_empty() {
            return Ok(tensors.into_iter().map(plain).collect());
        }
        // Not by its name: the models of a bundle are known to its own routes alone.
        let mut models = self.route.models().map(|model| model.info());
        let model =
            models.find(|info| (&info.name, info.version) == (&outcome.model, outcome.version));
        let classes = |name: &str| {
            let mut outputs = model?.outputs.iter();
            outputs.find(|spec| &*spec.name == name)?.classes.as_deref()
        };
        requested
            .iter()
            .map(|wanted| {
                let name = &*wanted.name;
                let tensor = tensors
                    .iter()
                    .find(|tensor| tensor.name() == name)
                    .ok_or_else(|| unknown_output(name, &tensors))?;
                let tensor = match wanted.classification {
                    Some(count) => classify(tensor, classes(name), count)?,
                    None => tensor.clone(),
                };
                Ok(Output {
                    binary: wanted.binary,
                    shared_memory: wanted.shared_memory.clone(),
                    ..plain(tensor)
                })
            })
            .collect()
    }
}

/// Writes what is to go to shared memory.
async fn share(shared: &Arc<SharedMemory>, outputs: Vec<Output>) -> Result<Vec<Output>> {
    let size = |output: &Output| match output.shared_memory {
        Some(_) => output.tensor.data().len() as u64,
        None => 0,
    };
    let total: u64 = outputs.iter().map(size).sum();
    if outputs.iter().all(|output| output.shared_memory.is_none()) {
        return Ok(outputs);
    }
    let shared = Arc::clone(shared);
    let write = move || {
        for output in &outputs {
            if let Some(region) = &output.shared_memory {
                let written = shared.write(region, output.tensor.data());
                let field = || format!("outputs.{}", output.tensor.name());
                written.map_err(|error| error.with_field(field()))?;
            }
        }
        Ok(outputs)
    };
    if total <= shared_memory::INLINE_BYTES {
        return write();
    }
    blocking(write).await
}

fn unknown_output(name: &str, tensors: &[Tensor]) -> Error {
    let there: Vec<&str> = tensors.iter().map(Tensor::name).collect();
    let message = format!("there is no such output, but {}", there.join(", "));
    Error::invalid(format!("outputs.{}", shorten(name)), message)
}

/// A body as the tensor that stands for it.
fn from_body(body: &Body) -> Result<(Tensor, Arc<str>)> {
    let tensor = Tensor::from_elements(BODY, [1], &[&body.data]).map_err(Error::internal)?;
    Ok((tensor, Arc::clone(&body.media_type)))
}

/// The body that a tensor stands for.
///
/// # Errors
/// `InvalidArgument` where it is not one element of `BYTES`.
pub(crate) fn to_body(tensor: &Tensor, content_type: Option<&str>) -> Result<Body> {
    let wrong = || {
        Error::invalid(
            format!("inputs.{BODY}"),
            "the route takes a body: one element of BYTES, of shape [1]",
        )
    };
    if tensor.datatype() != Datatype::Bytes || tensor.shape().elements() != Some(1) {
        return Err(wrong());
    }
    Ok(Body {
        media_type: content_type.unwrap_or("application/octet-stream").into(),
        data: tensor.data().slice(4..),
    })
}
