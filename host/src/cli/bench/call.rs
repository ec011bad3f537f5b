//! The one request that is sent again and again, ready in memory: as JSON, as JSON with binary tensors, or as gRPC.

use std::fmt::{Display, Write};

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Uri};
use serde_json::{Map, Value, json};
use wharf_core::Datatype;

use super::connection::Wire;
use super::inputs::InputTensor;
use super::target::Target;

const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// A request that can be made any number of times without a copy of its body.
#[derive(Clone, Debug)]
pub(super) struct Call {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// Asks for a resource over HTTP/1.1.
    ///
    /// # Errors
    /// Where the path is none.
    pub(super) fn get(target: &Target, path: &str) -> Result<Self> {
        Ok(Self {
            method: Method::GET,
            uri: target.path(path).parse().context("the path is no URI")?,
            headers: headers(target, &[(HOST, &target.authority())])?,
            body: Bytes::new(),
        })
    }

    /// Posts a body over HTTP/1.1.
    ///
    /// # Errors
    /// Where the path is none.
    pub(super) fn post(target: &Target, path: &str, body: RestBody) -> Result<Self> {
        let mut fields = headers(target, &[(HOST, &target.authority())])?;
        let media_type = match body.header_length {
            None => "application/json",
            Some(length) => {
                fields.insert(HEADER_LENGTH, HeaderValue::from(length));
                "application/octet-stream"
            }
        };
        fields.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        Ok(Self {
            method: Method::POST,
            uri: target.path(path).parse().context("the path is no URI")?,
            headers: fields,
            body: body.bytes,
        })
    }

    /// Calls a method of gRPC with an encoded message.
    ///
    /// # Errors
    /// Where the message has 4 GiB or more.
    pub(super) fn grpc(target: &Target, method: &str, message: &[u8]) -> Result<Self> {
        let length = u32::try_from(message.len()).context("the message has 4 GiB or more")?;
        let mut body = BytesMut::with_capacity(5 + message.len());
        body.put_u8(0); // not compressed
        body.put_u32(length);
        body.put_slice(message);
        let uri = format!("{target}/inference.GRPCInferenceService/{method}");
        let agent = concat!("wharf-bench/", env!("CARGO_PKG_VERSION"));
        let fields = headers(
            target,
            &[
                (CONTENT_TYPE, "application/grpc"),
                (TE, "trailers"),
                (USER_AGENT, agent),
            ],
        )?;
        Ok(Self {
            method: Method::POST,
            uri: uri.parse().context("the path is no URI")?,
            headers: fields,
            body: body.freeze(),
        })
    }

    /// The request, to be sent once.
    pub(super) fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.uri.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }

    /// The bytes of the body.
    pub(super) fn length(&self) -> u64 {
        self.body.len() as u64
    }

    /// What it is sent over.
    pub(super) fn wire(&self) -> Wire {
        if self.uri.scheme().is_some() {
            Wire::Http2
        } else {
            Wire::Http1
        }
    }
}

/// The fields that the server asks of every request, and those that this one needs.
fn headers(target: &Target, fields: &[(HeaderName, &str)]) -> Result<HeaderMap> {
    let mut headers: HeaderMap = target.fields().iter().cloned().collect();
    for (name, value) in fields {
        let value = HeaderValue::from_str(value).context("a header field of other bytes")?;
        headers.insert(name.clone(), value);
    }
    Ok(headers)
}

/// The body of a REST request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RestBody {
    pub(super) bytes: Bytes,
    /// The length of the JSON in front of binary tensors.
    pub(super) header_length: Option<usize>,
}

impl RestBody {
    /// Writes the tensors as JSON.
    ///
    /// # Errors
    /// Where an element has no JSON form.
    pub(super) fn json(tensors: &[InputTensor]) -> Result<Self> {
        let mut body = String::from(r#"{"inputs":["#);
        for (index, tensor) in tensors.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let (name, shape, datatype) =
                (json!(tensor.name), json!(tensor.shape), tensor.datatype);
            write!(
                body,
                r#"{comma}{{"name":{name},"shape":{shape},"datatype":"{datatype}","data":["#
            )?;
            elements(tensor, &mut body).with_context(|| format!("the input `{}`", tensor.name))?;
            body.push_str("]}");
        }
        body.push_str("]}");
        Ok(Self {
            bytes: body.into(),
            header_length: None,
        })
    }

    /// Writes the tensors as binary data behind their description, and asks for the outputs in the same form.
    pub(super) fn binary(tensors: &[InputTensor]) -> Self {
        let describe = |tensor: &InputTensor| {
            json!({
                "name": tensor.name,
                "shape": tensor.shape,
                "datatype": tensor.datatype.name(),
                "parameters": {"binary_data_size": tensor.data.len()},
            })
        };
        let inputs: Vec<Value> = tensors.iter().map(describe).collect();
        let header =
            json!({"inputs": inputs, "parameters": {"binary_data_output": true}}).to_string();
        let data: usize = tensors.iter().map(|tensor| tensor.data.len()).sum();
        let mut bytes = BytesMut::with_capacity(header.len() + data);
        bytes.put_slice(header.as_bytes());
        for tensor in tensors {
            bytes.put_slice(&tensor.data);
        }
        Self {
            bytes: bytes.freeze(),
            header_length: Some(header.len()),
        }
    }

    /// Takes a body as a file has it: JSON, or JSON with binary tensors behind it.
    ///
    /// # Errors
    /// Where it does not begin with a JSON object.
    pub(super) fn given(bytes: Bytes) -> Result<Self> {
        let mut values = serde_json::Deserializer::from_slice(&bytes).into_iter::<Map<_, Value>>();
        let first = values.next().context("the body is empty")?;
        first.context("the body begins with no JSON object")?;
        let json = values.byte_offset();
        let behind = bytes[json..].iter().all(u8::is_ascii_whitespace);
        Ok(Self {
            header_length: (!behind).then_some(json),
            bytes,
        })
    }
}

/// Writes the elements of a tensor, with commas between them.
fn elements(tensor: &InputTensor, out: &mut String) -> Result<()> {
    let data = &tensor.data[..];
    match tensor.datatype {
        Datatype::Bool => numbers(data, |[byte]| byte != 0, out),
        Datatype::Uint8 => numbers(data, u8::from_le_bytes, out),
        Datatype::Uint16 => numbers(data, u16::from_le_bytes, out),
        Datatype::Uint32 => numbers(data, u32::from_le_bytes, out),
        Datatype::Uint64 => numbers(data, u64::from_le_bytes, out),
        Datatype::Int8 => numbers(data, i8::from_le_bytes, out),
        Datatype::Int16 => numbers(data, i16::from_le_bytes, out),
        Datatype::Int32 => numbers(data, i32::from_le_bytes, out),
        Datatype::Int64 => numbers(data, i64::from_le_bytes, out),
        Datatype::Fp16 => floats(data, |b| half::f16::from_le_bytes(b).to_f32(), out),
        Datatype::Bf16 => floats(data, |b| half::bf16::from_le_bytes(b).to_f32(), out),
        Datatype::Fp32 => floats(data, f32::from_le_bytes, out),
        Datatype::Fp64 => floats(data, f64::from_le_bytes, out),
        Datatype::Bytes => texts(data, out),
    }
}

fn numbers<const SIZE: usize, T: Display>(
    data: &[u8],
    read: impl Fn([u8; SIZE]) -> T,
    out: &mut String,
) -> Result<()> {
    for (index, element) in data.as_chunks().0.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        write!(out, "{comma}{}", read(*element))?;
    }
    Ok(())
}

fn floats<const SIZE: usize, T: Display + Copy + Into<f64>>(
    data: &[u8],
    read: impl Fn([u8; SIZE]) -> T,
    out: &mut String,
) -> Result<()> {
    let finite = data
        .as_chunks()
        .0
        .iter()
        .all(|&element| read(element).into().is_finite());
    ensure!(finite, "JSON has no infinity and no NaN: use --data binary");
    numbers(data, read, out)
}

/// Elements of any length: each a little-endian `u32` length and that many bytes.
fn texts(data: &[u8], out: &mut String) -> Result<()> {
    let mut rest = data;
    while let Some((length, behind)) = rest.split_first_chunk() {
        let length = usize::try_from(u32::from_le_bytes(*length))?;
        let (text, next) = behind
            .split_at_checked(length)
            .context("an element is cut off")?;
        let text = std::str::from_utf8(text)
            .ok()
            .context("JSON has no bytes that are no UTF-8: use --data binary")?;
        let comma = if rest.len() == data.len() { "" } else { "," };
        write!(out, "{comma}{}", json!(text))?;
        rest = next;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
