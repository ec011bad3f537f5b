//! What enters and leaves the stages of a pipeline.

use std::sync::Arc;

use bytes::Bytes;

use crate::Tensor;

/// What enters or leaves a stage. Cheap to clone: the data is shared.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Tensors, in the order in which the client or the model gave them.
    Tensors(Vec<Tensor>),
    /// Bytes with a media type.
    Body(Body),
}

/// Bytes with a media type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// The media type, with its parameters: `application/json`.
    pub media_type: Arc<str>,
    /// The bytes.
    pub data: Bytes,
}

impl Payload {
    /// The size of the data in bytes, names and shapes not counted.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        match self {
            Self::Tensors(tensors) => tensors.iter().map(|tensor| tensor.data().len()).sum(),
            Self::Body(body) => body.data.len(),
        }
    }
}
