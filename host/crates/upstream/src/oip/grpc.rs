//! The protocol over gRPC: tensors as raw contents. Messages are written and read field by field, so that an answer is read in
//! place and its content drives no allocation.

mod answer;
mod frame;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderName, HeaderValue, Method, Request, Response};
use hyper::body::Incoming;
use wharf_core::{Error, RequestContext, Tensor, TensorSpec};
use wharf_protobuf::Message;

use super::{Metadata, Question};
use crate::body::Outgoing;
use crate::exchange::Call;
use crate::fault::Fault;
use crate::settings::{Address, Settings};

const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The longest description of a model.
const MAX_METADATA: usize = 1 << 20;

/// The most digits of `grpc-timeout`.
const MOST_TIMEOUT: u128 = 99_999_999;

/// An inference.
pub(super) struct Infer<'a> {
    settings: &'a Settings,
    /// `ModelInferRequest` without its contents.
    head: Bytes,
    /// The contents, each behind its key and length.
    contents: Vec<Bytes>,
    outputs: Arc<[TensorSpec]>,
}

impl<'a> Infer<'a> {
    pub(super) fn new(
        settings: &'a Settings,
        request: &RequestContext,
        question: &Question,
    ) -> Self {
        let mut head = model(settings).bytes(3, request.id.as_bytes());
        let mut contents = Vec::with_capacity(2 * question.inputs.len());
        for input in &question.inputs {
            let shape: Vec<i64> = input
                .shape()
                .iter()
                .map(|size| size.cast_signed())
                .collect();
            let tensor = Message::new()
                .bytes(1, input.name())
                .bytes(2, input.datatype().name())
                .packed(3, &shape);
            head = head.message(5, &tensor);
            contents.push(frame::key_and_length(7, input.data().len()));
            contents.push(input.data().clone());
        }
        Self {
            settings,
            head: head.into_bytes().into(),
            contents,
            outputs: Arc::clone(&question.outputs),
        }
    }
}

impl Call for Infer<'_> {
    type Answer = Vec<Tensor>;

    fn message(&self, to: &Address, time: Duration) -> Result<Request<Outgoing>, Error> {
        let pieces = std::iter::once(self.head.clone()).chain(self.contents.iter().cloned());
        call(to, "ModelInfer", pieces.collect(), time)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Vec<Tensor>, Fault> {
        let message = frame::message(answer, self.settings.max_body_bytes).await?;
        answer::outputs(&message, &self.outputs)
    }
}

/// Asks for a model's metadata.
pub(super) struct Describe<'a>(pub(super) &'a Settings);

impl Call for Describe<'_> {
    type Answer = Metadata;

    fn message(&self, to: &Address, time: Duration) -> Result<Request<Outgoing>, Error> {
        let message = model(self.0).into_bytes().into();
        call(to, "ModelMetadata", vec![message], time)
    }

    async fn read(&self, answer: Response<Incoming>) -> Result<Metadata, Fault> {
        let message = frame::message(answer, MAX_METADATA).await?;
        answer::metadata(&message)
    }
}

/// The name and version of a model, which begin the messages about it.
fn model(settings: &Settings) -> Message {
    let message = Message::new().bytes(1, settings.model.as_bytes());
    match settings.version {
        Some(version) => message.bytes(2, version.to_string()),
        None => message,
    }
}

fn call(
    to: &Address,
    method: &str,
    mut message: Vec<Bytes>,
    time: Duration,
) -> Result<Request<Outgoing>, Error> {
    let uri = to.uri(&["inference.GRPCInferenceService", method]);
    let uri = uri.ok_or_else(|| Error::internal("an endpoint has no address"))?;
    let length: usize = message.iter().map(Bytes::len).sum();
    let length = u32::try_from(length).map_err(|_| {
        let kind = wharf_core::ErrorKind::TooLarge;
        Error::new(kind, "the inputs are larger than a message of gRPC can be")
    })?;
    message.insert(0, frame::prefix(length));
    // Rounded down to a millisecond: the peer gives up before this end does.
    let time = time.as_millis().clamp(1, MOST_TIMEOUT);
    let timeout = HeaderValue::try_from(format!("{time}m")).map_err(Error::internal)?;
    Request::builder()
        .method(Method::POST)
        .version(http::Version::HTTP_2)
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(TIMEOUT, timeout)
        .body(Outgoing::pieces(message))
        .map_err(Error::internal)
}
