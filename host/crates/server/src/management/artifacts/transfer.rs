//! Bodies that are never whole in memory: of uploads, as a source, and of downloads, as a stream.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt as _;
use tokio::time::timeout;
use wharf_core::{ArtifactError, BoxFuture, ByteSource, Error, Result};

use super::refused;
use crate::body::BodyLimits;
use crate::config::Limits;
use crate::problem::Problem;

/// The body of a request, piece by piece. An upload may take hours, but no piece of it may.
pub(super) struct BodySource {
    body: Body,
    limits: BodyLimits,
    timed_out: bool,
}

impl BodySource {
    /// A body, each piece of which may take as long as a whole one elsewhere.
    pub(super) fn new(body: Body, limits: &Limits) -> Self {
        Self {
            body,
            limits: BodyLimits::of_server(limits),
            timed_out: false,
        }
    }

    /// What is answered where the upload broke off.
    pub(super) fn refused(&self, error: ArtifactError) -> Problem {
        match self.timed_out {
            true => self.limits.too_slow(),
            false => refused(error),
        }
    }
}

impl ByteSource for BodySource {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async {
            loop {
                let Ok(frame) = timeout(self.limits.timeout, self.body.frame()).await else {
                    self.timed_out = true;
                    return Err(Error::invalid("body", "the body stopped coming"));
                };
                let Some(frame) = frame else {
                    return Ok(None);
                };
                let frame = frame.map_err(|error| {
                    let message =
                        "the body is cut off; ask the upload for its offset, and go on from there";
                    Error::invalid("body", message).with_source(error)
                })?;
                // Trailers say nothing that the server uses.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        })
    }
}

/// The body of an answer. Where the store fails in the middle the connection is cut: the client sees that it is not whole.
pub(super) fn stream(source: Box<dyn ByteSource>) -> Body {
    let pieces = stream::unfold(Some(source), |source| async move {
        let mut source = source?;
        match source.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(source))),
            Ok(None) => None,
            Err(error) => {
                tracing::warn!(%error, "a download broke off");
                Some((Err(error), None))
            }
        }
    });
    Body::from_stream(pieces)
}
