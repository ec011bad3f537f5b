//! The body of a request as it arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::access_log::Notes;

/// hyper's body, whose bytes are counted where the access log asks for it.
pub(crate) struct Incoming {
    body: hyper::body::Incoming,
    notes: Option<Arc<Notes>>,
}

impl Incoming {
    pub(crate) fn new(body: hyper::body::Incoming, notes: Option<Arc<Notes>>) -> Self {
        Self { body, notes }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let (Some(notes), Poll::Ready(Some(Ok(frame)))) = (&self.notes, &frame) {
            notes.received(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
