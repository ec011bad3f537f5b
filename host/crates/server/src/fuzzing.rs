//! The decoders of what clients send, for fuzz targets: no part of the server. Whatever the bytes are, a decoder gives an
//! answer; it neither panics nor takes more memory than the bytes are worth.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use wharf_core::{Datatype, Payload, TensorSpec};
use wharf_serving::RouteInput;

use crate::budget::BodyBudget;
use crate::json::{self, Batch};
use crate::oip::rest::document::{self, Sources};
use crate::oip::rest::framing::split;
use crate::oip::shared_memory::SharedMemory;

/// An optional input of every datatype, by its name: `FP32`; and `pair`, of two rows.
static SPECS: LazyLock<Vec<TensorSpec>> = LazyLock::new(|| {
    let mut specs: Vec<_> = Datatype::ALL
        .into_iter()
        .map(|datatype| TensorSpec::new(datatype.name(), datatype, vec![None]))
        .collect();
    specs.push(TensorSpec::new("pair", Datatype::Fp32, vec![Some(2), None]));
    for spec in &mut specs {
        spec.optional = true;
    }
    specs
});

/// Reads bytes as the JSON document of a request for inference; what is read is written again.
pub fn oip_json(bytes: &[u8]) {
    read(bytes, &Bytes::new());
}

/// Reads bytes as a document with binary data after it. The first two are the length of the document, little-endian.
pub fn binary_split(bytes: &[u8]) {
    let Some((length, body)) = bytes.split_first_chunk::<2>() else {
        return;
    };
    let body = Bytes::copy_from_slice(body);
    if let Ok((document, blobs)) = split(&body, u16::from_le_bytes(*length).into()) {
        read(&document, &blobs);
    }
}

/// Reads bytes as the document of the native endpoint.
pub fn native_json(bytes: &[u8]) {
    for specs in [&SPECS[..], &SPECS[11..12], &SPECS[13..14]] {
        if let Ok(inputs) = json::decode(bytes, specs) {
            let _ = json::encode(&inputs.tensors, inputs.batch);
        }
    }
}

/// Reads bytes as a `ModelInferRequest`.
#[cfg(feature = "fuzzing")]
pub fn grpc_contents(bytes: &[u8]) {
    crate::grpc::fuzzing::grpc_contents(bytes);
}

fn read(document: &[u8], blobs: &Bytes) {
    let budget = Arc::new(BodyBudget::new(1 << 20));
    let sources = Sources {
        blobs,
        shared: &SharedMemory::new(budget, 1 << 20),
        max_shared: u64::MAX,
    };
    for input in [RouteInput::Tensors(&SPECS), RouteInput::Body] {
        let Ok(Some(request)) = document::read(document, sources, input) else {
            continue;
        };
        if let Payload::Tensors(tensors) = request.request.input {
            let _ = json::encode(&tensors, Batch::Keep);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_reach_the_tensors() {
        let document = br#"{"inputs": [{"name": "FP32", "shape": [1], "datatype": "FP32",
            "parameters": {"binary_data_size": 4}}]}"#;
        let blobs = Bytes::from_static(&[0; 4]);
        let budget = Arc::new(BodyBudget::new(1));
        let sources = Sources {
            blobs: &blobs,
            shared: &SharedMemory::new(budget, 1),
            max_shared: 0,
        };
        let request = document::read(document, sources, RouteInput::Tensors(&SPECS));
        let Payload::Tensors(tensors) = request.unwrap().unwrap().request.input else {
            panic!("it is a body");
        };
        assert_eq!(tensors.len(), 1);
        let length = u16::try_from(document.len()).unwrap().to_le_bytes();
        let whole = [&length[..], document, &blobs].concat();
        // Each of its beginnings, and each with one byte changed.
        for end in 0..=whole.len() {
            oip_json(&whole[..end]);
            binary_split(&whole[..end]);
            native_json(&whole[..end]);
            let mut changed = whole.clone();
            if let Some(byte) = changed.get_mut(end) {
                *byte ^= 0x11;
            }
            binary_split(&changed);
            oip_json(&changed[2..]);
        }
    }
}
