//! Routes to plain services: bodies in, bodies out. With stages the body is collected, since each of them wants the whole. Without,
//! it goes through as it comes, in both directions at once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt as _, Full};
use tokio::time::timeout_at;
use wharf_core::{
    Body, BodyStream, Error, ErrorKind, Payload, RequestContext, Result, Service, Streamed,
};

use crate::admission::Place;
use crate::metrics::{Accounting, Choosing, Refused};
use crate::pipeline::past_deadline;
use crate::route::Route;

impl Route {
    /// Whether bodies can go through it as they come: [`Route::stream`] takes them.
    #[must_use]
    pub fn streams(&self) -> bool {
        self.serves_bodies() && self.pre.is_empty() && self.post.is_empty()
    }

    /// Takes a body through the route as it comes, and gives the answer as it comes. The request keeps its place until the
    /// answer's body is dropped, and ends at its deadline, wherever it is then. It counts as answered when the answer begins.
    ///
    /// # Errors
    /// As [`Route::run`]; `Internal` where the route does not stream.
    pub async fn stream(&self, request: &Arc<RequestContext>, sent: Streamed) -> Result<Streamed> {
        let slot = self
            .admission
            .enter(self.max_in_flight)
            .inspect_err(|_full| self.no_room(Refused::Full))?;
        let ended = timeout_at(request.deadline.into(), self.pass_on(request, sent)).await;
        let answer = ended.unwrap_or_else(|_| Err(past_deadline()))?;
        Ok(Streamed {
            body: Box::pin(Kept {
                body: answer.body,
                _place: self.admission.keep(slot),
            }),
            ..answer
        })
    }

    async fn pass_on(&self, request: &Arc<RequestContext>, sent: Streamed) -> Result<Streamed> {
        let started = Instant::now();
        if request.deadline <= started {
            self.refused.add(Refused::Deadline);
            return Err(past_deadline());
        }
        let choosing = Choosing::start(&self.refused, request.deadline);
        let target = self.choose(request).await;
        choosing.end(target.as_ref().err().map(Error::kind));
        let target = target?;
        let accounting = Accounting::start(&target.counters, started, request.deadline);
        let result = match target.model.service() {
            Some(service) if self.streams() => service.exchange(request, sent).await,
            _ => Err(Error::internal("the route does not stream")),
        };
        accounting.end(result.as_ref().err().map(Error::kind));
        result
    }

    /// Sends a whole body to a service, and waits for the whole answer.
    pub(crate) async fn serve(
        &self,
        service: &dyn Service,
        request: &RequestContext,
        payload: Payload,
    ) -> Result<Body> {
        let Payload::Body(body) = payload else {
            return Err(self.no_body());
        };
        let sent = Streamed {
            status: http::StatusCode::OK,
            media_type: body.media_type,
            headers: http::HeaderMap::new(),
            body: whole(body.data),
        };
        let answer = service.exchange(request, sent).await?;
        // It is no larger than its upstream may answer.
        let collected = answer.body.collect().await?;
        Ok(Body {
            media_type: answer.media_type,
            data: collected.to_bytes(),
        })
    }

    /// Tensors came to where the service takes a body.
    fn no_body(&self) -> Error {
        if self.pre.is_empty() {
            Error::invalid("input", "the route takes a body, not tensors")
        } else {
            Error::new(
                ErrorKind::PluginFault,
                "the preprocess stages gave tensors, but the service takes a body",
            )
        }
    }
}

fn whole(data: Bytes) -> BodyStream {
    Box::pin(Full::new(data).map_err(|never| match never {}))
}

/// The body of an answer, with the request's place.
struct Kept {
    body: BodyStream,
    _place: Place,
}

impl http_body::Body for Kept {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        self.body.as_mut().poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
