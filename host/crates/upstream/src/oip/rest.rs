//! The protocol over REST: a JSON document, and the tensors behind it as binary data where the peer takes that.

mod document;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use serde::Deserialize;
use wharf_core::{Error, RequestContext, Tensor, TensorSpec};

use super::check::lying;
use super::{Metadata, Question, metadata};
use crate::body::{Outgoing, collect};
use crate::exchange::Call;
use crate::fault::Fault;
use crate::settings::{Address, Protocol, Settings};
use crate::status::refusal;
use document::read_outputs;

/// The length of the document in bytes, of requests and of answers.
const LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The longest description of a server or a model.
const MAX_METADATA: usize = 1 << 20;

/// JSON above this size is read and written on a thread that may block: it takes longer than a neighbour should wait.
const INLINE_BYTES: usize = 256 << 10;

/// An inference.
pub(super) struct Infer<'a> {
    settings: &'a Settings,
    /// The id of the request, as JSON.
    id: String,
    /// The list of inputs, as JSON.
    inputs: Bytes,
    /// What is behind the document.
    data: Vec<Bytes>,
    outputs: Arc<[TensorSpec]>,
    binary: bool,
}

impl<'a> Infer<'a> {
    /// Writes what does not differ from attempt to attempt.
    ///
    /// # Errors
    /// `InvalidArgument` where an input cannot be written as JSON, and the peer takes nothing else.
    pub(super) async fn new(
        settings: &'a Settings,
        request: &RequestContext,
        question: &Question,
    ) -> Result<Self, Error> {
        let binary = question.binary;
        let inputs = question.inputs.clone();
        let size: usize = inputs.iter().map(|input| input.data().len()).sum();
        let data = match binary {
            true => inputs.iter().map(|input| input.data().clone()).collect(),
            false => Vec::new(),
        };
        let inputs = match binary || size <= INLINE_BYTES {
            true => document::write_inputs(&inputs, binary)?,
            false => blocking(move || document::write_inputs(&inputs, false)).await?,
        };
        Ok(Self {
            settings,
            id: serde_json::to_string(&*request.id).map_err(Error::internal)?,
            inputs: inputs.into(),
            data,
            outputs: Arc::clone(&question.outputs),
            binary,
        })
    }
}

impl Call for Infer<'_> {
    type Answer = Vec<Tensor>;

    fn message(&self, to: &Address, time: Duration) -> Result<Request<Outgoing>, Error> {
        // The time in microseconds, as Triton has it.
        let time = time.as_micros().max(1);
        let head = format!(
            r#"{{"id":{},"parameters":{{"binary_data_output":{},"timeout":{time}}},"inputs":"#,
            self.id, self.binary
        );
        let length = head.len() + self.inputs.len() + 1;
        let document = [
            Bytes::from(head),
            self.inputs.clone(),
            Bytes::from_static(b"}"),
        ];
        let pieces = document.into_iter().chain(self.data.iter().cloned());
        let mut request = post(to, &model_path(self.settings, "infer"), pieces)?;
        let headers = request.headers_mut();
        if self.binary {
            headers.insert(LENGTH, HeaderValue::from(length));
        }
        let media_type = match self.binary {
            true => "application/octet-stream",
            false => "application/json",
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        Ok(request)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Vec<Tensor>, Fault> {
        let (headers, body) = received(answer, self.settings.max_body_bytes).await?;
        let length = document_length(&headers)?;
        if length.is_none() {
            expect_json(&headers)?;
        }
        let length = length.unwrap_or(body.len());
        if length > body.len() {
            return Err(lying("the document is longer than the whole"));
        }
        let (document, data) = (body.slice(..length), body.slice(length..));
        if document.len() <= INLINE_BYTES {
            return read_outputs(&document, data, &self.outputs);
        }
        let outputs = Arc::clone(&self.outputs);
        tokio::task::spawn_blocking(move || read_outputs(&document, data, &outputs))
            .await
            .map_err(|error| Fault::Client(Error::internal(error)))?
    }
}

/// Asks for a model's metadata.
pub(super) struct Describe<'a>(pub(super) &'a Settings);

#[derive(Deserialize)]
struct ModelDocument {
    #[serde(default)]
    inputs: Vec<TensorDocument>,
    #[serde(default)]
    outputs: Vec<TensorDocument>,
}

#[derive(Deserialize)]
struct TensorDocument {
    name: String,
    datatype: String,
    shape: Vec<i64>,
}

impl Call for Describe<'_> {
    type Answer = Metadata;

    fn message(&self, to: &Address, _time: Duration) -> Result<Request<Outgoing>, Error> {
        get(to, &model_path(self.0, ""))
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Metadata, Fault> {
        let (headers, body) = received(answer, MAX_METADATA).await?;
        expect_json(&headers)?;
        let document: ModelDocument = parse(&body)?;
        let specs = |tensors: Vec<TensorDocument>| {
            let mut specs = Vec::new();
            for tensor in tensors {
                metadata::add(&mut specs, &tensor.name, &tensor.datatype, &tensor.shape)?;
            }
            Ok::<_, Fault>(specs)
        };
        Ok(Metadata {
            inputs: specs(document.inputs)?,
            outputs: specs(document.outputs)?,
            binary: false,
        })
    }
}

/// Asks whether the peer takes binary data.
pub(super) struct Extensions;

#[derive(Deserialize)]
struct ServerDocument {
    #[serde(default)]
    extensions: Vec<String>,
}

impl Call for Extensions {
    type Answer = bool;

    fn message(&self, to: &Address, _time: Duration) -> Result<Request<Outgoing>, Error> {
        get(to, &["v2".to_owned()])
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<bool, Fault> {
        let (headers, body) = received(answer, MAX_METADATA).await?;
        expect_json(&headers)?;
        let document: ServerDocument = parse(&body)?;
        let is_binary = |name: &String| name == "binary_tensor_data";
        Ok(document.extensions.iter().any(is_binary))
    }
}

/// The whole answer, where it is a success and stands as it is.
pub(crate) async fn received(
    answer: Response<Incoming>,
    most: usize,
) -> Result<(HeaderMap, Bytes), Fault> {
    if !answer.status().is_success() {
        return Err(refusal(answer, Protocol::OipHttp).await);
    }
    let (parts, body) = answer.into_parts();
    expect_plain(&parts.headers)?;
    Ok((parts.headers, collect(body, most).await?))
}

/// Checks that an answer is not compressed: nobody asked for that, and what it would become nobody knows.
pub(crate) fn expect_plain(headers: &HeaderMap) -> Result<(), Fault> {
    let coded = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"identity");
    match headers.get_all(CONTENT_ENCODING).iter().any(coded) {
        true => Err(lying("it is compressed, which nobody asked for")),
        false => Ok(()),
    }
}

fn expect_json(headers: &HeaderMap) -> Result<(), Fault> {
    let media_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let essence = media_type.and_then(|value| value.split(|byte| *byte == b';').next());
    let essence = essence.map(<[u8]>::trim_ascii);
    match essence.is_some_and(|essence| essence.eq_ignore_ascii_case(b"application/json")) {
        true => Ok(()),
        false => Err(lying("it is not application/json")),
    }
}

fn document_length(headers: &HeaderMap) -> Result<Option<usize>, Fault> {
    let Some(value) = headers.get(&LENGTH) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    match number {
        Some(length) => Ok(Some(length)),
        None => Err(lying("the length of its document is no number")),
    }
}

fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Fault> {
    serde_json::from_slice(body)
        .map_err(|error| Fault::Lying(format!("it is no such JSON: {error}")))
}

/// The path of a model, or of something that can be done with it.
fn model_path(settings: &Settings, action: &str) -> Vec<String> {
    let mut path = vec![
        "v2".to_owned(),
        "models".to_owned(),
        settings.model.to_string(),
    ];
    if let Some(version) = settings.version {
        path.extend(["versions".to_owned(), version.to_string()]);
    }
    if !action.is_empty() {
        path.push(action.to_owned());
    }
    path
}

fn get(to: &Address, path: &[String]) -> Result<Request<Outgoing>, Error> {
    request(Method::GET, to, path, Outgoing::pieces([]))
}

fn post(
    to: &Address,
    path: &[String],
    pieces: impl IntoIterator<Item = Bytes>,
) -> Result<Request<Outgoing>, Error> {
    request(Method::POST, to, path, Outgoing::pieces(pieces))
}

fn request(
    method: Method,
    to: &Address,
    path: &[String],
    body: Outgoing,
) -> Result<Request<Outgoing>, Error> {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let uri = to
        .uri(&parts)
        .ok_or_else(|| Error::internal("an endpoint has no address"))?;
    Request::builder()
        .method(method)
        .uri(uri)
        .header(ACCEPT, "application/json, application/octet-stream")
        .header(ACCEPT_ENCODING, "identity")
        .body(body)
        .map_err(Error::internal)
}

/// Runs what computes for long where it delays nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(Error::internal(error)))
}
