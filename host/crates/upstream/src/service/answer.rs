//! The answer of a service as it comes: within its size, its request's time, and the time between two pieces. What comes of it is
//! settled at its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Sleep;
use wharf_core::{Error, ErrorKind, Result};

use crate::attempt::Held;
use crate::body::{Source, too_large};
use crate::exchange::Terms;
use crate::fault::Fault;
use crate::settings::Settings;

/// What an answer is read with.
pub(super) struct Reading {
    /// What the client sends: while it is due, the answer may wait.
    pub(super) source: Arc<Source>,
    pub(super) terms: Terms,
    /// The places of the request, kept to the end of the answer.
    pub(super) held: Held,
}

/// The body of an answer.
pub(super) struct Answer {
    body: Incoming,
    reading: Reading,
    most: usize,
    left: usize,
    /// The longest wait for a piece.
    idle: Duration,
    /// Since when the next piece is waited for. While nobody wants one, the service waits, and not the client.
    waits: Option<Instant>,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

impl Answer {
    /// Begins to read a body.
    ///
    /// # Errors
    /// `UpstreamFault` where it says that it is larger than it may be.
    pub(super) fn new(body: Incoming, reading: Reading, settings: &Settings) -> Result<Self> {
        let most = settings.max_body_bytes;
        let deadline = reading.terms.deadline;
        let mut answer = Self {
            body,
            reading,
            most,
            left: most,
            idle: settings.timeout,
            waits: None,
            timer: Box::pin(tokio::time::sleep_until(deadline.into())),
            ended: false,
        };
        if answer.body.size_hint().lower() > most as u64 {
            return Err(answer.fail(too_large(most)));
        }
        answer.settle();
        Ok(answer)
    }

    /// Notes the end where it is there. Who reads a body of a known length does not ask once more.
    fn settle(&mut self) {
        if self.body.is_end_stream() {
            self.ended = true;
            self.reading.held.end(None);
        }
    }

    fn fail(&mut self, fault: Fault) -> Error {
        self.ended = true;
        // Where the client's body breaks off, the exchange does.
        let fault = match self.reading.source.take_error() {
            Some(error) => Fault::Client(error),
            None => fault,
        };
        self.reading.held.end(Some(&fault));
        match fault {
            Fault::Late => Error::new(ErrorKind::Deadline, "the deadline passed within the answer"),
            fault => fault.into(),
        }
    }

    fn take(&mut self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>>> {
        self.waits = None;
        let Ok(data) = frame.into_data() else {
            // Trailers are between this server and the peer.
            self.ended = true;
            self.reading.held.end(None);
            return None;
        };
        if data.len() > self.left {
            return Some(Err(self.fail(too_large(self.most))));
        }
        self.left -= data.len();
        self.settle();
        Some(Ok(Frame::data(data)))
    }

    /// Waits for the next piece, and says why no longer.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        let deadline = self.reading.terms.deadline;
        let since = self.waits.unwrap_or_else(|| {
            let now = Instant::now();
            let ends = deadline.min(now + self.idle);
            self.timer.as_mut().reset(ends.into());
            now
        });
        self.waits = Some(since);
        while self.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let alone = self.reading.source.waits_since(since);
            let alone = alone.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
            if alone >= self.idle {
                return Poll::Ready(Fault::TimedOut(alone));
            }
            if now >= deadline {
                return Poll::Ready(match self.reading.terms.is_the_peers(alone) {
                    true => Fault::TimedOut(alone),
                    false => Fault::Late,
                });
            }
            let ends = deadline.min(now + (self.idle - alone));
            self.timer.as_mut().reset(ends.into());
        }
        Poll::Pending
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        match Pin::new(&mut this.body).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => Poll::Ready(this.take(frame)),
            Poll::Ready(Some(Err(error))) => {
                Poll::Ready(Some(Err(this.fail(Fault::Broken(error.into())))))
            }
            Poll::Ready(None) => {
                this.ended = true;
                this.reading.held.end(None);
                Poll::Ready(None)
            }
            Poll::Pending => this.wait(cx).map(|fault| Some(Err(this.fail(fault)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
