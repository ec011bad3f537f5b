//! Wharf's domain: what a request, a tensor, a model and a plugin are, and the ports that the other crates meet through.
//!
//! Nothing here does I/O or knows a wire format. Types of this crate are not `Serialize`: a wire type lives where it is
//! served. The reading order is the order of the modules.
#![deny(missing_docs)]

mod datatype;
mod digest;
mod error;
mod name;
mod payload;
mod ports;
mod request;
mod shape;
mod tensor;

pub use datatype::{Datatype, Element};
pub use digest::Digest;
pub use error::{Error, ErrorKind, LoadError, Result};
pub use name::{InvalidName, Name};
pub use payload::{Body, Payload};
pub use ports::{
    BoxFuture, CacheLookup, Candidate, Engine, Filter, Inference, Isolation, Model, ModelCalls,
    ModelFolder, ModelInfo, ModelLoad, ModelVersion, ModelVersions, Plugin, PluginFile,
    PluginHealth, PluginHost, PluginInfo, PluginOwner, PluginRelease, Portion, Queueing, SiteFile,
    Stage, TensorSpec, Timings, Token, Verdict, VersionPolicy,
};
pub use request::{Headers, RequestContext, SPAN_TARGET, Scheduling, Sequence, SequenceId};
pub use shape::Shape;
pub use tensor::{AlignedBytes, Elements, Tensor, TensorError};

#[cfg(target_endian = "big")]
compile_error!(
    "tensors are little-endian, and are shared with the model runtime without conversion"
);
