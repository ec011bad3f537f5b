//! What the server and its models say of themselves: metadata, as both codecs write it.

mod config;

use serde::Serialize;
use utoipa::ToSchema;
use wharf_core::{Error, ErrorKind, InvalidName, Name, Result, TensorSpec};
use wharf_serving::{Route, RouteInput, RouteOutput};

use super::{BODY, resolve};
use crate::access::Management;
use crate::app::App;
use crate::client::Client;

pub(crate) use config::{
    DynamicBatching, InputConfig, InstanceGroup, ModelConfig, OutputConfig, VersionPolicyConfig,
    data_type, model_config,
};

/// The name of a route that has stages, where that of a runtime is asked for.
pub(crate) const ROUTE_PLATFORM: &str = "wharf_route";

/// What the server says of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ServerMetadata {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    /// The extensions of the protocol that this server has, as it is set up.
    pub(crate) extensions: Vec<&'static str>,
}

/// What a route says of itself.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelMetadata {
    pub(crate) name: String,
    /// The versions that a request may name.
    pub(crate) versions: Vec<String>,
    pub(crate) platform: &'static str,
    pub(crate) inputs: Vec<TensorMetadata>,
    pub(crate) outputs: Vec<TensorMetadata>,
}

/// An input or an output.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TensorMetadata {
    pub(crate) name: String,
    pub(crate) datatype: &'static str,
    /// -1 for a dimension that each request chooses.
    pub(crate) shape: Vec<i64>,
}

/// What the server says of itself. What nobody may use as it is set up is not listed.
pub(crate) fn server_metadata(app: &App) -> ServerMetadata {
    let always = [
        "classification",
        "sequence",
        "schedule_policy",
        "model_configuration",
        "binary_tensor_data",
        "parameters",
        "statistics",
    ];
    let managed = [
        ("model_repository", true),
        ("model_repository(unload_dependents)", true),
        ("system_shared_memory", true),
        ("trace", app.tracing.exports()),
        ("logging", app.logging.is_some()),
    ];
    let managed = managed
        .into_iter()
        .filter(|(_, there)| app.management != Management::Nobody && *there)
        .map(|(name, _)| name);
    ServerMetadata {
        name: "wharf",
        version: env!("CARGO_PKG_VERSION"),
        extensions: always.into_iter().chain(managed).collect(),
    }
}

/// What a route says of itself.
pub(crate) fn model_metadata(route: &Route) -> ModelMetadata {
    ModelMetadata {
        name: route.name().to_string(),
        versions: route.versions().iter().map(u64::to_string).collect(),
        platform: platform(route),
        inputs: match route.input() {
            RouteInput::Body => vec![body()],
            RouteInput::Tensors(specs) => specs.iter().map(tensor).collect(),
        },
        outputs: match route.outputs() {
            RouteOutput::Body => vec![body()],
            RouteOutput::Tensors(specs) => specs.iter().map(tensor).collect(),
        },
    }
}

/// Whether a version of a name takes requests.
///
/// # Errors
/// `NotFound` where the site has no such model or version; `InvalidArgument` where the name is none.
pub(crate) fn model_ready(
    app: &App,
    client: &Client,
    name: &str,
    version: Option<&str>,
) -> Result<bool> {
    let Err(error) = resolve(app, client, name, version) else {
        return Ok(true);
    };
    match error.kind() {
        ErrorKind::Unavailable => Ok(false),
        ErrorKind::NotFound => {
            // What the site has, and what does not serve: not loaded yet, unloaded or refused.
            let known = app.serving.index().into_iter().any(|entry| {
                let number = entry.version.map(|number| number.to_string());
                let asked = version.filter(|version| !version.is_empty());
                let is_it = entry.name.as_str() == name && client.sees(name, &entry.tenants);
                is_it && (asked.is_none() || asked == number.as_deref())
            });
            if known { Ok(false) } else { Err(error) }
        }
        _ => Err(error),
    }
}

/// Checks the name of a model.
///
/// # Errors
/// `InvalidArgument` where it is none.
pub(crate) fn model_name(name: &str) -> Result<Name> {
    Name::new(name).map_err(|InvalidName| Error::invalid("model", InvalidName.to_string()))
}

/// Whether what is between the request and the answer is more than a model.
fn has_stages(route: &Route) -> bool {
    let spec = route.spec();
    route.input() == RouteInput::Body || !spec.pre.is_empty() || !spec.post.is_empty()
}

fn platform(route: &Route) -> &'static str {
    if has_stages(route) {
        ROUTE_PLATFORM
    } else {
        route.model_info().platform
    }
}

fn body() -> TensorMetadata {
    TensorMetadata {
        name: BODY.to_owned(),
        datatype: "BYTES",
        shape: vec![1],
    }
}

fn tensor(spec: &TensorSpec) -> TensorMetadata {
    TensorMetadata {
        name: spec.name.to_string(),
        datatype: spec.datatype.name(),
        shape: dims(&spec.shape),
    }
}

/// The dimensions, -1 for one that each request chooses.
pub(crate) fn dims(shape: &[Option<u64>]) -> Vec<i64> {
    let size = |size: &Option<u64>| size.and_then(|size| size.try_into().ok()).unwrap_or(-1);
    shape.iter().map(size).collect()
}
