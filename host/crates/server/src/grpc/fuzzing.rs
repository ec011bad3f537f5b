//! What fuzzers call; there only with the feature `fuzzing`.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Datatype, TensorSpec};
use wharf_serving::RouteInput;

use super::request::Request;
use crate::budget::BodyBudget;
use crate::oip::shared_memory::SharedMemory;

/// Reads arbitrary bytes as a `ModelInferRequest` for a model with an input of each datatype.
///
/// # Panics
/// Where the tensors take more than the message can have paid for.
pub(crate) fn grpc_contents(message: &[u8]) {
    let message = Bytes::copy_from_slice(message);
    let specs: Vec<TensorSpec> = Datatype::ALL.into_iter().map(spec).collect();
    let shared = SharedMemory::new(Arc::new(BodyBudget::new(1 << 20)), 1 << 20);
    let Ok(request) = Request::of(&message) else {
        return;
    };
    for input in [RouteInput::Tensors(&specs), RouteInput::Body] {
        let Ok(request) = request.read(&message, input, &shared) else {
            continue;
        };
        // A byte of a varint may become an element of eight bytes.
        let most = 8 * message.len();
        assert!(
            request.input.byte_len() <= most,
            "the tensors are too large"
        );
    }
}

/// An input `x-fp32` and the like.
fn spec(datatype: Datatype) -> TensorSpec {
    let name = format!("x-{}", datatype.name().to_ascii_lowercase());
    let mut spec = TensorSpec::new(name, datatype, vec![None]);
    spec.optional = true;
    spec
}
