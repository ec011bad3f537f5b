//! Reads an ONNX file before ONNX Runtime does, for what could reach outside of it: tensors whose data lie in other files; in
//! its place, for the inputs and outputs; and for what it does not tell: whether rows can be joined.
//!
//! The file comes from whoever trains models, and is not trusted: it is walked in place, without an allocation that its
//! content could drive, and to a bounded depth.

mod outlets;
pub(crate) mod rows;
mod tensor;
mod walk;

use wharf_protobuf::Malformed;

pub(crate) use outlets::{Dimension, Outlet, Outlets, outlets};
pub(crate) use walk::{Inspection, inspect};

/// Why a file is refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OnnxError {
    #[error("not an ONNX model, or cut short: {0}")]
    Malformed(#[from] Malformed),
    #[error("the graph nests deeper than {limit} messages", limit = walk::MAX_DEPTH)]
    TooDeep,
    #[error("{0}")]
    Refused(String),
}
