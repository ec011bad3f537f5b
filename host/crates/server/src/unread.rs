//! What is left of a request's body when the request is answered. HTTP/1.1 sends it before the next request of the
//! connection: it is read, or the client must be told that the connection ends.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::{HeaderValue, Response, Version, request};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use crate::body::Incoming;

/// The most that is read to keep a connection: about what a new one costs.
const SMALL: u64 = 64 << 10;
/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_millis(500);

/// A body that is lent to a handler which may drop it, and then comes back.
pub(crate) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
}

impl Lent {
    /// Lends a body; it comes back through the receiver.
    pub(crate) fn new(body: Incoming) -> (Self, oneshot::Receiver<Incoming>) {
        let (back, receiver) = oneshot::channel();
        let lent = Self {
            body: Some(body),
            back: Some(back),
        };
        (lent, receiver)
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let (Some(body), Some(back)) = (self.body.take(), self.back.take()) {
            // Where nobody waits for it, the connection is gone.
            let _gone = back.send(body);
        }
    }
}

/// How a client sends what is left of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// HTTP/2 ends a stream by itself.
    Stream,
    /// It is on its way.
    Sent,
    /// The client waits to be told to go on (RFC 9110, 10.1.1). Reading would tell it so, in vain; and whether it sends the
    /// body in the end, nobody knows.
    Awaited,
}

impl Unread {
    pub(crate) fn of(parts: &request::Parts) -> Self {
        let expected = parts.headers.get(EXPECT);
        match expected.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            _ if parts.version > Version::HTTP_11 => Self::Stream,
            true => Self::Awaited,
            false => Self::Sent,
        }
    }
}

/// Makes sure that the connection is at the next request, or that the answer says it ends.
pub(crate) async fn settle<B>(unread: Unread, body: Option<Incoming>, response: &mut Response<B>) {
    let Some(mut body) = body.filter(|body| !body.is_end_stream()) else {
        return;
    };
    if unread == Unread::Stream {
        return;
    }
    let small = body.size_hint().upper().is_some_and(|left| left <= SMALL);
    let reads = unread == Unread::Sent && small;
    if reads && tokio::time::timeout(PATIENCE, drain(&mut body)).await == Ok(true) {
        return;
    }
    response
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Reads to the end, and says whether it came.
async fn drain(body: &mut Incoming) -> bool {
    while let Some(frame) = body.frame().await {
        if frame.is_err() {
            return false;
        }
    }
    true
}
