//! Messages to a client, in their encoding and behind their prefix.

use std::io;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use prost::Message;
use smallvec::SmallVec;
use wharf_core::{Error, ErrorKind, Result};

use super::answer::Parts;
use super::frame::{Encoding, PREFIX};
use super::wire::{Write as _, field_len, text_len, varint_len};
use crate::infer::blocking;
use crate::inference::infer_parameter::ParameterChoice;
use crate::inference::model_infer_response::InferOutputTensor;
use crate::inference::{InferParameter, ModelInferResponse, ModelStreamInferResponse};
use crate::oip::{InferResponse, Output};

/// The data of an output of this size is sent as it stands, as a part of its own: a frame costs about what copying it does.
const SHARED_BYTES: usize = 16 << 10;
/// Compressing more than this takes longer than a neighbour should wait.
const INLINE_BYTES: usize = 64 << 10;
/// `parameters { "triton_final_response": true }`: each request of a stream has one answer, and so each is the last.
const FINAL_RESPONSE: &[u8] = b"\x22\x1b\x0a\x15triton_final_response\x12\x02\x08\x01";

/// What an answer is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Envelope {
    /// The answer of a call.
    Call,
    /// An answer among those of a stream.
    Stream,
}

/// Writes any message.
///
/// # Errors
/// `TooLarge` where it is longer than gRPC can say.
pub(super) fn message(message: &impl Message) -> Result<Parts> {
    let mut buffer = start(message.encoded_len(), 0)?;
    message.encode_raw(&mut buffer);
    Ok(Parts::from_iter([buffer.freeze()]))
}

/// Writes why a request of a stream failed. The stream goes on.
pub(super) fn failure(id: String, error_message: String) -> Result<Parts> {
    message(&ModelStreamInferResponse {
        error_message,
        infer_response: Some(ModelInferResponse {
            id,
            ..ModelInferResponse::default()
        }),
    })
}

/// Writes an answer. Small outputs are copied once, large ones not at all.
///
/// # Errors
/// As [`message`].
pub(super) fn infer(response: &InferResponse, envelope: Envelope) -> Result<Parts> {
    let mut version = itoa::Buffer::new();
    let version = version.format(response.model_version);
    let in_stream = envelope == Envelope::Stream;
    let texts = [&*response.model_name, version, &response.id];
    let head: usize = texts.iter().map(|text| text_len(text)).sum();
    let head = head + if in_stream { FINAL_RESPONSE.len() } else { 0 };
    let outputs: SmallVec<[(&Output, Vec<u8>); 4]> = response
        .outputs
        .iter()
        .map(|output| (output, parameters(output)))
        .collect();
    let tensors: usize = outputs
        .iter()
        .map(|(output, parameters)| field_len(output_len(output, parameters)))
        .sum();
    let raw = |output: &Output| match output.shared_memory {
        None => output.tensor.data().clone(),
        // An entry all the same: clients count them as the outputs.
        Some(_) => Bytes::new(),
    };
    let raw: SmallVec<[Bytes; 4]> = response.outputs.iter().map(raw).collect();
    let contents: usize = raw.iter().map(|data| field_len(data.len())).sum();
    let shared = raw.iter().map(Bytes::len).filter(|len| is_shared(*len));
    let shared: usize = shared.sum();

    let size = head + tensors + contents;
    let mut buffer = match envelope {
        Envelope::Call => start(size, shared)?,
        Envelope::Stream => {
            let mut buffer = start(field_len(size), shared)?;
            buffer.key(2, size);
            buffer
        }
    };
    for (number, text) in (1..).zip(texts) {
        buffer.text(number, text);
    }
    if in_stream {
        buffer.put_slice(FINAL_RESPONSE);
    }
    for (output, parameters) in &outputs {
        buffer.key(5, output_len(output, parameters));
        write_output(&mut buffer, output, parameters);
    }
    let mut parts = Parts::new();
    for data in raw {
        buffer.key(6, data.len());
        if is_shared(data.len()) {
            parts.push(buffer.split().freeze());
            parts.push(data);
        } else {
            buffer.put_slice(&data);
        }
    }
    if !buffer.is_empty() {
        parts.push(buffer.freeze());
    }
    Ok(parts)
}

/// Compresses a message, where its call is.
///
/// # Errors
/// Never but for a fault of the server.
pub(super) async fn compress(parts: Parts, encoding: Encoding) -> Result<Parts> {
    if encoding == Encoding::Identity {
        return Ok(parts);
    }
    let length: usize = parts.iter().map(Bytes::len).sum();
    let work = move || {
        let message = vec![0; PREFIX];
        let level = Compression::fast();
        match encoding {
            Encoding::Identity => Ok(parts),
            Encoding::Gzip => {
                let mut encoder = GzEncoder::new(message, level);
                write_message(&mut encoder, parts)?;
                with_prefix(encoder.finish())
            }
            Encoding::Deflate => {
                let mut encoder = ZlibEncoder::new(message, level);
                write_message(&mut encoder, parts)?;
                with_prefix(encoder.finish())
            }
        }
    };
    if length <= INLINE_BYTES {
        return work();
    }
    blocking(work).await
}

/// Writes a message without its prefix.
fn write_message(encoder: &mut impl io::Write, mut parts: Parts) -> Result<()> {
    if let Some(first) = parts.first_mut() {
        first.advance(PREFIX);
    }
    for part in &parts {
        encoder.write_all(part).map_err(Error::internal)?;
    }
    Ok(())
}

/// Puts the prefix of a compressed message into the room before it.
fn with_prefix(message: io::Result<Vec<u8>>) -> Result<Parts> {
    let mut message = message.map_err(Error::internal)?;
    let length = length(message.len() - PREFIX)?;
    message[0] = 1;
    message[1..PREFIX].copy_from_slice(&length.to_be_bytes());
    Ok(Parts::from_iter([message.into()]))
}

/// A buffer with the prefix of a message of so many bytes, of which so many are not written to it.
fn start(size: usize, elsewhere: usize) -> Result<BytesMut> {
    let length = length(size)?;
    let mut buffer = BytesMut::with_capacity(PREFIX + size - elsewhere);
    buffer.put_u8(0);
    buffer.put_u32(length);
    Ok(buffer)
}

fn length(size: usize) -> Result<u32> {
    u32::try_from(size).map_err(|_| {
        let message =
            "the answer is larger than 4 GiB; ask for fewer outputs, or put them in shared memory";
        Error::new(ErrorKind::TooLarge, message)
    })
}

const fn is_shared(size: usize) -> bool {
    size >= SHARED_BYTES
}

fn output_len(output: &Output, parameters: &[u8]) -> usize {
    let tensor = &output.tensor;
    let shape = shape_len(output);
    text_len(tensor.name())
        + text_len(tensor.datatype().name())
        + if shape == 0 { 0 } else { field_len(shape) }
        + parameters.len()
}

fn shape_len(output: &Output) -> usize {
    let sizes = output.tensor.shape().iter();
    sizes.map(|size| varint_len(*size)).sum()
}

fn write_output(buffer: &mut BytesMut, output: &Output, parameters: &[u8]) {
    let tensor = &output.tensor;
    buffer.text(1, tensor.name());
    buffer.text(2, tensor.datatype().name());
    let shape = shape_len(output);
    if shape > 0 {
        buffer.key(3, shape);
        for size in tensor.shape().iter() {
            buffer.varint(*size);
        }
    }
    buffer.put_slice(parameters);
}

/// The parameters of an output, in their encoding. Most have none.
fn parameters(output: &Output) -> Vec<u8> {
    if output.content_type.is_none() && output.shared_memory.is_none() {
        return Vec::new();
    }
    let mut message = InferOutputTensor::default();
    let mut set = |name: &str, value| {
        let parameter = InferParameter {
            parameter_choice: Some(value),
        };
        message.parameters.insert(name.to_owned(), parameter);
    };
    if let Some(content_type) = &output.content_type {
        let value = ParameterChoice::StringParam(content_type.to_string());
        set("content_type", value);
    }
    if let Some(region) = &output.shared_memory {
        let number = |number: u64| ParameterChoice::Int64Param(number as i64);
        let name = ParameterChoice::StringParam(region.name.clone());
        set("shared_memory_region", name);
        set("shared_memory_byte_size", number(region.byte_size));
        if region.offset > 0 {
            set("shared_memory_offset", number(region.offset));
        }
    }
    message.encode_to_vec()
}

#[cfg(test)]
mod tests {
    use wharf_core::Tensor;

    use super::*;
    use crate::oip::Region;

    fn output(tensor: Tensor) -> Output {
        Output {
            tensor,
            binary: None,
            content_type: None,
            shared_memory: None,
        }
    }

    fn joined(parts: &Parts) -> Bytes {
        let message = parts.concat();
        let length = u32::from_be_bytes(message[1..PREFIX].try_into().unwrap());
        assert_eq!(message.len(), PREFIX + length as usize);
        Bytes::from(message).slice(PREFIX..)
    }

    fn response() -> InferResponse {
        let small = Tensor::from_vec("y", [2, 2], vec![1.0_f32, 2.0, 3.0, 4.0]).unwrap();
        let large = Tensor::from_vec("large", [1 << 13], vec![7_u64; 1 << 13]).unwrap();
        let scalar = Tensor::from_vec("scalar", [0_u64; 0], vec![300_i32]).unwrap();
        let mut body = output(Tensor::from_elements("body", [1], &[b"abc"]).unwrap());
        body.content_type = Some("text/plain".into());
        let mut elsewhere = output(small.with_name("elsewhere"));
        elsewhere.shared_memory = Some(Region {
            name: "region".to_owned(),
            offset: 8,
            byte_size: 16,
        });
        InferResponse {
            model_name: "m".into(),
            model_version: 300,
            id: "7".to_owned(),
            outputs: vec![
                output(small),
                output(large),
                output(scalar),
                body,
                elsewhere,
            ],
        }
    }

    #[test]
    fn an_answer_is_what_prost_reads() {
        let response = response();
        let parts = infer(&response, Envelope::Call).unwrap();
        // The large output is not copied.
        let large = response.outputs[1].tensor.data();
        assert!(parts.iter().any(|part| part.as_ptr() == large.as_ptr()));
        let message = ModelInferResponse::decode(joined(&parts)).unwrap();
        assert_eq!(
            (&*message.model_name, &*message.model_version, &*message.id),
            ("m", "300", "7")
        );
        assert!(message.parameters.is_empty());
        for (index, output) in response.outputs.iter().enumerate() {
            let read = &message.outputs[index];
            assert_eq!(read.name, output.tensor.name());
            assert_eq!(read.datatype, output.tensor.datatype().name());
            let shape: Vec<u64> = read.shape.iter().map(|size| *size as u64).collect();
            assert_eq!(shape, &output.tensor.shape()[..]);
            let raw = &message.raw_output_contents[index];
            match &output.shared_memory {
                None => assert_eq!(raw, output.tensor.data()),
                Some(_) => assert!(raw.is_empty()),
            }
        }
        assert!(message.outputs[3].parameters.contains_key("content_type"));
        assert_eq!(message.outputs[4].parameters.len(), 3);
    }

    #[test]
    fn an_answer_of_a_stream_is_the_last_of_its_request() {
        let parts = infer(&response(), Envelope::Stream).unwrap();
        let message = ModelStreamInferResponse::decode(joined(&parts)).unwrap();
        assert_eq!(message.error_message, "");
        let answer = message.infer_response.unwrap();
        let last = &answer.parameters["triton_final_response"];
        let expected = ParameterChoice::BoolParam(true);
        assert_eq!(last.parameter_choice, Some(expected));
        assert_eq!(answer.outputs.len(), 5);
    }

    #[test]
    fn nothing_is_written_where_nothing_is() {
        let empty = InferResponse {
            model_name: "".into(),
            model_version: 0,
            id: String::new(),
            outputs: Vec::new(),
        };
        let message = ModelInferResponse::decode(joined(&infer(&empty, Envelope::Call).unwrap()));
        let message = message.unwrap();
        assert_eq!((&*message.model_version, message.outputs.len()), ("0", 0));
    }
}
