//! gRPC calls of the Open Inference Protocol, as requests of [`Client`](crate::Client) over HTTP/2.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};

use wharf_protobuf::{Field, Fields, Message};

use crate::{Request, Response};

/// A tensor of a request.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// The name.
    pub name: &'a str,
    /// The datatype, as the protocol names it.
    pub datatype: &'a str,
    /// The dimensions.
    pub shape: &'a [i64],
    /// The elements as bytes.
    pub data: &'a [u8],
}

/// A call of a method of the service with a message.
#[must_use]
pub fn call(method: &str, message: &[u8]) -> Request {
    let mut frame = BytesMut::with_capacity(message.len() + 5);
    frame.put_u8(0); // not compressed
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    framed(method, frame.freeze())
}

/// A call whose body is given with its frames.
#[must_use]
pub fn framed(method: &str, body: Bytes) -> Request {
    let path = format!("/inference.GRPCInferenceService/{method}");
    Request::post(path, "application/grpc", body).header("te", "trailers")
}

/// A call of `ModelInfer` with raw contents.
#[must_use]
pub fn infer(model: &str, version: &str, inputs: &[Tensor<'_>]) -> Request {
    call("ModelInfer", &asking(model, version, inputs).into_bytes())
}

/// A call of `ModelInfer` that asks for so many classes of an output in place of its elements.
#[must_use]
pub fn classify(model: &str, inputs: &[Tensor<'_>], output: &str, count: i64) -> Request {
    let entry = Message::new()
        .bytes(1, "classification")
        .message(2, &Message::new().int(2, count));
    let output = Message::new().bytes(1, output).message(2, &entry);
    let request = asking(model, "", inputs).message(6, &output);
    call("ModelInfer", &request.into_bytes())
}

/// `ModelInferRequest`.
fn asking(model: &str, version: &str, inputs: &[Tensor<'_>]) -> Message {
    let mut request = Message::new().bytes(1, model).bytes(2, version);
    for input in inputs {
        let tensor = Message::new()
            .bytes(1, input.name)
            .bytes(2, input.datatype)
            .packed(3, input.shape);
        request = request.message(5, &tensor);
    }
    for input in inputs {
        request = request.bytes(7, input.data);
    }
    request
}

/// The status of a call and its message: 0 where it succeeded.
///
/// # Errors
/// Where the answer is none of gRPC.
pub fn status(response: &Response) -> Result<(u32, String)> {
    ensure!(
        response.status == 200,
        "HTTP status {}: {}",
        response.status,
        response.text()
    );
    let field = |name: &str| {
        let field = response.trailers.get(name);
        field.or_else(|| response.headers.get(name))
    };
    let code = field("grpc-status").context("no grpc-status")?;
    let message = field("grpc-message").map_or(&b""[..], |message| message.as_bytes());
    Ok((
        code.to_str()?.parse()?,
        String::from_utf8_lossy(message).into_owned(),
    ))
}

/// The floats of the first output of a `ModelInfer` that succeeded.
///
/// # Errors
/// Where it failed, or has no raw output.
pub fn floats(response: &Response) -> Result<Vec<f32>> {
    let element = |bytes: &[u8]| Ok(f32::from_le_bytes(bytes.try_into()?));
    raw_output(response)?.chunks(4).map(element).collect()
}

/// The elements of the first output of a `ModelInfer` that succeeded, which are BYTES that are texts.
///
/// # Errors
/// Where it failed, or has no raw output of texts.
pub fn texts(response: &Response) -> Result<Vec<String>> {
    let mut rest = raw_output(response)?;
    let mut texts = Vec::new();
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (text, after) = after.split_at_checked(length).context("cut short")?;
        texts.push(std::str::from_utf8(text)?.to_owned());
        rest = after;
    }
    ensure!(rest.is_empty(), "{} bytes are left", rest.len());
    Ok(texts)
}

fn raw_output(response: &Response) -> Result<&[u8]> {
    let (code, text) = status(response)?;
    ensure!(code == 0, "status {code}: {text}");
    let message = response.body.get(5..).context("no message")?;
    let fields: Vec<(u64, Field<'_>)> = Fields::of(message).collect::<Result<_, _>>()?;
    let raw = fields.iter().find(|(number, _)| *number == 6);
    Ok(raw.context("no raw output")?.1.bytes()?)
}
