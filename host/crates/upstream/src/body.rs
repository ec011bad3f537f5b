//! Bodies: what is sent, whole or as it comes, and what comes back, within its size.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use parking_lot::Mutex;
use wharf_core::{BodyStream, Error};

use crate::fault::Fault;

/// What is set aside on a peer's word for its length; the rest as it arrives.
const MAX_RESERVE: usize = 1 << 20;

/// The body of a request to a peer.
pub(crate) enum Outgoing {
    /// Pieces that are all there, sent one after the other without being joined.
    Pieces(Pieces),
    /// What a client sends, as it comes.
    Stream(Arc<Source>),
}

/// The pieces that are still to be sent.
#[derive(Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    left: u64,
}

/// A client's body. While no connection was made nothing of it is read, so that another endpoint can still have it.
pub(crate) struct Source {
    reading: Mutex<Reading>,
    size: SizeHint,
}

/// How far a client's body was read.
struct Reading {
    body: BodyStream,
    /// Whether it is the client's turn to send.
    is_due: bool,
    /// When something came that had been due.
    came: Option<Instant>,
    /// What it broke off with.
    error: Option<Error>,
}

impl Outgoing {
    pub(crate) fn pieces(pieces: impl IntoIterator<Item = Bytes>) -> Self {
        // A frame with nothing in it would be a mistake in HTTP/2.
        let pieces: VecDeque<_> = pieces.into_iter().filter(|it| !it.is_empty()).collect();
        Self::Pieces(Pieces {
            left: pieces.iter().map(|piece| piece.len() as u64).sum(),
            pieces,
        })
    }
}

impl Source {
    pub(crate) fn new(body: BodyStream) -> Self {
        Self {
            size: body.size_hint(),
            reading: Mutex::new(Reading {
                body,
                is_due: false,
                came: None,
                error: None,
            }),
        }
    }

    /// Since when the peer alone is waited for, in a wait that began then; none while it is the client's turn.
    pub(crate) fn waits_since(&self, began: Instant) -> Option<Instant> {
        let reading = self.reading.lock();
        let since = reading.came.map_or(began, |came| came.max(began));
        (!reading.is_due).then_some(since)
    }

    /// Takes the error that the body broke off with, where it did.
    pub(crate) fn take_error(&self) -> Option<Error> {
        self.reading.lock().error.take()
    }

    fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let mut reading = self.reading.lock();
        let frame = reading.body.as_mut().poll_frame(cx);
        let was_due = std::mem::replace(&mut reading.is_due, frame.is_pending());
        if was_due && frame.is_ready() {
            reading.came = Some(Instant::now());
        }
        // It is kept: hyper would not give it back.
        frame.map_err(|error| {
            reading.error = Some(error);
            Error::invalid("body", "the client's body broke off")
        })
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        match self.get_mut() {
            Self::Pieces(pieces) => Poll::Ready(pieces.pieces.pop_front().map(|piece| {
                pieces.left -= piece.len() as u64;
                Ok(Frame::data(piece))
            })),
            Self::Stream(source) => source.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Pieces(pieces) => pieces.pieces.is_empty(),
            Self::Stream(source) => source.reading.lock().body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Pieces(pieces) => SizeHint::with_exact(pieces.left),
            Self::Stream(source) => source.size,
        }
    }
}

/// Collects an answer of at most so many bytes.
///
/// # Errors
/// Where it is larger, or breaks off.
pub(crate) async fn collect(mut body: Incoming, most: usize) -> Result<Bytes, Fault> {
    let announced = body.size_hint().lower();
    if announced > most as u64 {
        return Err(too_large(most));
    }
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Fault::Broken(error.into()))?;
        // The trailers of a plain answer say nothing that is used here.
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let length = rest.as_ref().map_or(first.len(), BytesMut::len);
        if length + data.len() > most {
            return Err(too_large(most));
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                let there = first.len() + data.len();
                let room = (announced as usize).clamp(there, MAX_RESERVE.max(there));
                let mut joined = BytesMut::with_capacity(room);
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or(first, BytesMut::freeze))
}

/// Collects the beginning of an answer that explains a refusal; what is beyond is not read.
pub(crate) async fn beginning(mut body: Incoming, most: usize) -> Bytes {
    let mut text = BytesMut::new();
    while text.len() < most
        && let Some(Ok(frame)) = body.frame().await
    {
        if let Ok(data) = frame.into_data() {
            text.extend_from_slice(&data[..data.len().min(most - text.len())]);
        }
    }
    text.freeze()
}

pub(crate) fn too_large(most: usize) -> Fault {
    Fault::Lying(format!("it is larger than max_body_bytes = {most}"))
}
