//! Bodies that go through a route as they come, in both directions at once. Nothing is held of them here, so they take no room of
//! the budget of bodies; the route's deadline ends both.

use std::error::Error as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use tokio::time::Sleep;
use wharf_core::{
    BodyStream, Error, ErrorKind, Headers, Permit, RequestContext, Result, Scheduling, Streamed,
};
use wharf_serving::Route;

use super::{content, expect_no_sniffing};
use crate::app::{AnswerBody, App};
use crate::body::{BodyLimits, Chunks, Incoming, cut_off};
use crate::client::Client;
use crate::problem::{self, Problem};
use crate::unread::Lent;

/// How long a refused request's body may take to come back from whoever was to send it on.
const PATIENCE: Duration = Duration::from_millis(500);

/// Who sends what is passed on.
pub(super) struct Sender<'a> {
    pub(super) id: &'a Arc<str>,
    pub(super) client: &'a Client,
    pub(super) headers: HeaderMap,
    /// Held as long as the answer comes.
    pub(super) permit: Permit,
}

/// Takes a request through a route that streams. The body is taken, and is back where the request is refused.
pub(super) async fn pass_on(
    app: &App,
    route: &Route,
    sender: Sender<'_>,
    body: &mut Option<Incoming>,
) -> Result<Response<AnswerBody>, Problem> {
    let Sender {
        id,
        client,
        headers,
        permit,
    } = sender;
    let media_type = content::media_type(&headers)?;
    let most = BodyLimits::of_route(&app.limits, route);
    let sent = body
        .take()
        .ok_or_else(|| Error::internal("the body is taken once"))?;
    if sent.size_hint().lower() > most.max_bytes as u64 {
        *body = Some(sent);
        return Err(most.too_large("request body").into());
    }
    let (lent, back) = Lent::new(sent);
    let request = Arc::new(RequestContext {
        id: Arc::clone(id),
        route: route.name().shared(),
        tenant: client.tenant().cloned(),
        headers: Headers::of(headers, client.principal()),
        deadline: Instant::now() + route.timeout(),
        timeout: route.timeout(),
        scheduling: Scheduling::default(),
        depth: 0,
    });
    let sent = Streamed {
        status: StatusCode::OK,
        media_type,
        headers: HeaderMap::new(),
        body: Box::pin(Limited::new(lent, most)),
    };
    match route.stream(&request, sent).await {
        Ok(answer) => respond(answer, id, permit),
        Err(error) => {
            *body = tokio::time::timeout(PATIENCE, back)
                .await
                .ok()
                .and_then(std::result::Result::ok);
            let is_slow = error.source().is_some_and(|source| source.is::<TooSlow>());
            Err(match is_slow {
                true => most.too_slow(),
                false => error.into(),
            })
        }
    }
}

fn respond(
    answer: Streamed,
    id: &Arc<str>,
    permit: Permit,
) -> Result<Response<AnswerBody>, Problem> {
    let media_type = HeaderValue::from_str(&answer.media_type).map_err(|error| {
        let message = "the upstream gave a media type that no header field can hold";
        Error::new(ErrorKind::UpstreamFault, message).with_source(error)
    })?;
    let mut response = Response::new(AnswerBody::Streamed(Answer {
        body: answer.body,
        id: Arc::clone(id),
        _permit: permit,
    }));
    *response.status_mut() = answer.status;
    *response.headers_mut() = answer.headers;
    // RFC 9110, 15.3.5: without content there is no type of it.
    if answer.status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(CONTENT_TYPE, media_type);
    }
    expect_no_sniffing(&mut response);
    Ok(response)
}

/// The client took too long to send its body.
#[derive(Debug, thiserror::Error)]
#[error("the body took too long")]
struct TooSlow;

/// What a client sends, within its limits.
struct Limited {
    body: Lent,
    most: BodyLimits,
    left: usize,
    chunks: Chunks,
    ends: Instant,
    /// Made where the body is not there yet: many are.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Limited {
    fn new(body: Lent, most: BodyLimits) -> Self {
        Self {
            left: most.max_bytes,
            chunks: Chunks::of(body.size_hint().lower()),
            ends: Instant::now() + most.timeout,
            timer: None,
            body,
            most,
        }
    }

    fn take(&mut self, data: Bytes) -> Result<Frame<Bytes>> {
        self.chunks.count()?;
        if data.len() > self.left {
            return Err(self.most.too_large("request body"));
        }
        self.left -= data.len();
        Ok(Frame::data(data))
    }

    /// Waits until the body's time is over.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let ends = self.ends;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(ends.into())));
        timer.as_mut().poll(cx).map(|()| {
            let detail = self.most.too_slow().detail();
            Error::invalid("body", detail).with_source(TooSlow)
        })
    }
}

impl Body for Limited {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return self.wait(cx).map(|error| Some(Err(error)));
        };
        Poll::Ready(match frame {
            None => None,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(self.take(data)),
                // Trailers are between the client and this server.
                Err(_trailers) => None,
            },
            Some(Err(error)) => Some(Err(cut_off(error))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What a client gets, as it comes.
pub(crate) struct Answer {
    body: BodyStream,
    id: Arc<str>,
    /// A place among the requests of the tenant.
    _permit: Permit,
}

impl Answer {
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = self.body.as_mut().poll_frame(cx);
        frame.map_err(|error| {
            // The status is sent already: all that is left is to break off, and to say why in the log.
            problem::log(&error, &self.id);
            axum::Error::new(error)
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.body.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
