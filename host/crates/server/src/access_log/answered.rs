//! The body of an answer that has a line in the access log: the line is written when the body goes.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::Entry;
use crate::app::AnswerBody;

/// A body, and the entry that lasts as long.
pub(crate) struct Answered {
    body: AnswerBody,
    entry: Entry,
}

impl Answered {
    pub(super) fn new(body: AnswerBody, entry: Entry) -> Self {
        Self { body, entry }
    }
}

impl Body for Answered {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => this.entry.sent(data.len()),
                (None, Some(trailers)) => this.entry.end_of_call(trailers),
                (None, None) => {}
            }
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
