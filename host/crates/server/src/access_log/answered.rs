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
    /// The bytes that are still to come, where the body says how many there are.
    left: Option<u64>,
    is_over: bool,
}

impl Answered {
    pub(super) fn new(body: AnswerBody, entry: Entry) -> Self {
        Self {
            left: body.size_hint().exact(),
            body,
            entry,
            is_over: false,
        }
    }
}

/// Nobody asks for the end of a body whose last byte is there.
impl Drop for Answered {
    fn drop(&mut self) {
        if !self.is_over && self.left != Some(0) && !self.body.is_end_stream() {
            self.entry.broke_off();
        }
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
        match &frame {
            Poll::Ready(Some(Ok(frame))) => match (frame.data_ref(), frame.trailers_ref()) {
                (Some(data), _) => {
                    this.entry.sent(data.len());
                    this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                }
                (None, Some(trailers)) => {
                    this.entry.end_of_call(trailers);
                    this.is_over = true;
                }
                (None, None) => {}
            },
            Poll::Ready(None) => this.is_over = true,
            Poll::Ready(Some(Err(_))) => this.entry.broke_off(),
            Poll::Pending => {}
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
