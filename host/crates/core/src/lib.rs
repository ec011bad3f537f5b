//! Wharf's domain: what a request, a tensor, a model and a plugin are, and the ports that the other crates meet through.
//!
//! Nothing here does I/O or knows a wire format. Types of this crate are not `Serialize`: a wire type lives where it is
//! served. The reading order is the order of the modules.
#![deny(missing_docs)]

mod datatype;
mod digest;
mod error;
mod modality;
mod name;
mod payload;
mod ports;
mod precondition;
mod principal;
mod request;
mod shape;
mod tensor;

pub use datatype::{Datatype, Element};
pub use digest::{Digest, InvalidDigest};
pub use error::{Error, ErrorKind, LoadError, Result};
pub use modality::{Modality, UnknownModality};
pub use name::{InvalidName, Name};
pub use payload::{Body, Payload};
pub use ports::{
    Admission, Appended, Artifact, ArtifactError, ArtifactKind, ArtifactPlace, ArtifactStore,
    BodyStream, BoxFuture, ByteSource, CacheLookup, Cancel, Candidate, Changed, Engine, Filter,
    Gatekeeper, Inference, Isolation, Model, ModelCalls, ModelFolder, ModelInfo, ModelLoad,
    ModelVersion, ModelVersions, NewUpload, Permit, Plugin, PluginFile, PluginHealth, PluginHost,
    PluginInfo, PluginOwner, PluginRelease, Portion, Prompt, Queueing, Quota, Service, SiteFile,
    Stage, Streamed, TensorSpec, Timings, Token, TokenReserve, UnknownKind, Upload, Upstream,
    UpstreamFile, UpstreamRelease, Upstreams, Verdict, VersionPolicy,
};
pub use precondition::{IF_MATCH, IF_NONE_MATCH, Precondition};
pub use principal::{Action, Principal, Scope, Tenants, UnknownScope};
pub use request::{Headers, RequestContext, SPAN_TARGET, Scheduling, Sequence, SequenceId};
pub use shape::Shape;
pub use tensor::{AlignedBytes, Elements, Tensor, TensorError};

#[cfg(target_endian = "big")]
compile_error!(
    "tensors are little-endian, and are shared with the model runtime without conversion"
);
