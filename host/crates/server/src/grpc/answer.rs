//! What goes back to a client: messages, and how the call ended.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body::Frame;
use smallvec::SmallVec;
use tokio::sync::mpsc;
use wharf_core::Error;

use super::call::Call;
use super::frame::Encoding;
use super::refusal::{GRPC_STATUS, Refusal};
use crate::app::AnswerBody;

/// A message with its prefix, in parts that are sent one after the other: large outputs are not copied.
pub(super) type Parts = SmallVec<[Bytes; 2]>;

/// What the task of a stream sends to its body.
pub(super) enum Sent {
    Message(Parts),
    /// How the call ended: the last thing that is sent.
    End(Result<(), Refusal>),
}

/// The task of a stream; it ends with the body, and so with the client.
pub(super) struct Task(tokio::task::JoinHandle<()>);

impl Task {
    pub(super) fn spawn(work: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The body of an answer.
pub(crate) enum GrpcBody {
    /// One message.
    Unary {
        parts: smallvec::IntoIter<[Bytes; 2]>,
        trailers: Option<HeaderMap>,
    },
    /// Messages as they come.
    Stream(Box<StreamBody>),
}

/// The body of a stream. The call lasts as long as it.
pub(crate) struct StreamBody {
    parts: smallvec::IntoIter<[Bytes; 2]>,
    sent: mpsc::Receiver<Sent>,
    call: Call,
    is_over: bool,
    _task: Task,
}

impl GrpcBody {
    pub(super) fn stream(sent: mpsc::Receiver<Sent>, call: Call, task: Task) -> Self {
        Self::Stream(Box::new(StreamBody {
            parts: Parts::new().into_iter(),
            sent,
            call,
            is_over: false,
            _task: task,
        }))
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        match self {
            Self::Unary { parts, trailers } => {
                let next = parts.next().map(Frame::data);
                Poll::Ready(next.or_else(|| trailers.take().map(Frame::trailers)))
            }
            Self::Stream(stream) => stream.poll(cx),
        }
    }

    pub(crate) fn is_over(&self) -> bool {
        match self {
            Self::Unary { trailers, .. } => trailers.is_none(),
            Self::Stream(stream) => stream.is_over,
        }
    }
}

impl StreamBody {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Frame<Bytes>>> {
        loop {
            if let Some(part) = self.parts.next() {
                return Poll::Ready(Some(Frame::data(part)));
            }
            if self.is_over {
                return Poll::Ready(None);
            }
            let end = match std::task::ready!(Pin::new(&mut self.sent).poll_recv(cx)) {
                Some(Sent::Message(parts)) => {
                    self.parts = parts.into_iter();
                    continue;
                }
                Some(Sent::End(end)) => end,
                // The task panicked.
                None => Err(Error::internal("the task of a stream is gone").into()),
            };
            self.is_over = true;
            let mut trailers = HeaderMap::with_capacity(4);
            match end {
                Ok(()) => {
                    self.call.ended(0);
                    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
                }
                Err(refusal) => {
                    self.call.ended(refusal.code());
                    refusal.write(&self.call.id, &mut trailers);
                }
            }
            return Poll::Ready(Some(Frame::trailers(trailers)));
        }
    }
}

/// An answer of one message.
pub(super) fn unary(parts: Parts, encoding: Encoding) -> Response<AnswerBody> {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
    respond(
        GrpcBody::Unary {
            parts: parts.into_iter(),
            trailers: Some(trailers),
        },
        encoding,
    )
}

/// An answer that begins.
pub(super) fn respond(body: GrpcBody, encoding: Encoding) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::Grpc(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if let Some((name, _)) = encoding.coding() {
        headers.insert("grpc-encoding", HeaderValue::from_static(name));
    }
    response
}

/// An answer that is a refusal, in header fields alone.
pub(super) fn refuse(refusal: &Refusal, request_id: &str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::from(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    refusal.write(request_id, headers);
    headers.insert(
        "grpc-accept-encoding",
        HeaderValue::from_static("gzip, deflate, identity"),
    );
    response
}
