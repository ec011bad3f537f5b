//! The traits that capability crates meet through. Each is implemented once for production and once as a fake in the
//! testkit; the program wires them together.

mod artifacts;
mod engine;
mod filters;
mod gatekeeper;
mod plugins;
mod upstreams;

use std::pin::Pin;

pub use artifacts::{
    Appended, Artifact, ArtifactError, ArtifactKind, ArtifactPlace, ArtifactStore, ByteSource,
    NewUpload, UnknownKind, Upload,
};
pub use engine::{
    CacheLookup, Cancel, Engine, Inference, Model, ModelFolder, ModelInfo, ModelLoad, ModelVersion,
    ModelVersions, Queueing, TensorSpec, Timings, VersionPolicy,
};
pub use filters::{Filter, Portion, Token, Verdict};
pub use gatekeeper::{Admission, Gatekeeper, Permit, Prompt, Quota, TokenReserve};
pub use plugins::{
    Candidate, Isolation, ModelCalls, Plugin, PluginFile, PluginHealth, PluginHost, PluginInfo,
    PluginOwner, PluginRelease, SiteFile, Stage,
};
pub use upstreams::{
    BodyStream, Changed, Service, Streamed, Upstream, UpstreamFile, UpstreamRelease, Upstreams,
};

/// A boxed future, as a method of a trait object gives it. Dropping it cancels the work.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;
