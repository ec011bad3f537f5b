//! `POST /v1/infer/{route}`: what the client sent, through the route, to what the client gets.

pub(crate) mod content;
pub(crate) mod stream;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Response};
use wharf_core::{Action, Body, Error, ErrorKind, Headers, Payload, RequestContext};
use wharf_serving::{Outcome, Route, RouteInput};

use crate::app::{AnswerBody, App, Sent, gone};
use crate::body::{BodyLimits, collect};
use crate::json::{self, Batch, Inputs};
use crate::problem::Problem;
use content::Coding;
use stream::Sender;

/// JSON above this size is read and written on a thread that may block: at some 200 MB/s, it takes longer than a
/// neighbour should wait.
pub(crate) const INLINE_BYTES: usize = 256 << 10;

/// Answers a request for inference.
pub(crate) async fn infer(
    app: &App,
    name: &str,
    sent: Sent<'_>,
) -> Result<Response<AnswerBody>, Problem> {
    let Sent {
        id,
        client,
        headers,
        body,
        quota,
    } = sent;
    // One snapshot from here to the end: a reload meanwhile does not concern this request. It is kept although the route is
    // taken out of it: so the reaper, and never a request, drops the last reference to a model or plugin.
    let snapshot = app.serving.snapshot();
    let field = |field: &str| Headers::peek(&headers, client.principal(), field);
    let Some(route) = snapshot.route_for(client.asked(name), field) else {
        let kind = ("route", "GET /v1/routes lists them");
        return Err(app.unknown((client, Action::Infer), kind, name).into());
    };
    let route = Arc::clone(route);
    client.check(Action::Infer, Some(name))?;

    // What the header alone forbids is refused before the body is taken.
    let coding = Coding::of(&headers)?;
    let media_type = match route.input() {
        RouteInput::Body => Some(content::media_type(&headers)?),
        RouteInput::Tensors(_) => {
            content::expect_json(&headers)?;
            None
        }
    };
    // A body for a full route would be read in vain. Admission itself comes later: a slow client must not hold a place.
    route.check_room()?;
    let permit = app.admit(client, Some(&route), quota).await?;
    // What is compressed is collected: a service gets what it is.
    if route.streams() && coding == Coding::Identity {
        let sender = Sender {
            id,
            client,
            headers,
            permit,
        };
        return Box::pin(stream::pass_on(app, &route, sender, body)).await;
    }
    let body = body.as_mut().ok_or_else(gone)?;
    let mut reservation = app.bodies.reserve();
    let limits = BodyLimits::of_route(&app.limits, &route);
    let bytes = collect(body, &limits, &mut reservation).await?;
    // Held until the request ends: the body lives as long, or what was made of it.
    let (bytes, _reservation) = coding.decode(bytes, limits, reservation).await?;

    // The route's time starts when there is something to work on: how fast a client sends is the body timeout's business.
    let request = Arc::new(RequestContext {
        id: Arc::clone(id),
        route: route.name().shared(),
        tenant: client.tenant().cloned(),
        headers: Headers::of(headers, client.principal()),
        deadline: Instant::now() + route.timeout(),
        timeout: route.timeout(),
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    });
    let (input, batch) = match media_type {
        Some(media_type) => {
            let data = bytes;
            (Payload::Body(Body { media_type, data }), Batch::Keep)
        }
        None => {
            let inputs = read_inputs(&route, bytes).await?;
            (Payload::Tensors(inputs.tensors), inputs.batch)
        }
    };
    let outcome = route.run(&request, input).await?;
    answer(outcome, batch).await
}

async fn read_inputs(route: &Arc<Route>, bytes: Bytes) -> Result<Inputs, Error> {
    fn read(route: &Route, bytes: &[u8]) -> Result<Inputs, Error> {
        match route.input() {
            RouteInput::Tensors(specs) => json::decode(bytes, specs),
            RouteInput::Body => Err(Error::internal("a route that takes a body has no specs")),
        }
    }
    if bytes.len() <= INLINE_BYTES {
        return read(route, &bytes);
    }
    let route = Arc::clone(route);
    blocking(move || read(&route, &bytes)).await
}

async fn answer(outcome: Outcome, batch: Batch) -> Result<Response<AnswerBody>, Problem> {
    let (media_type, bytes) = match outcome.payload {
        Payload::Body(body) => {
            let media_type = HeaderValue::from_str(&body.media_type).map_err(|error| {
                let message = "the last stage gave a media type that no header field can hold";
                Error::new(ErrorKind::PluginFault, message).with_source(error)
            })?;
            (media_type, body.data)
        }
        Payload::Tensors(tensors) => {
            let size: usize = tensors.iter().map(|tensor| tensor.data().len()).sum();
            let text = if size <= INLINE_BYTES / 2 {
                json::encode(&tensors, batch)?
            } else {
                blocking(move || json::encode(&tensors, batch)).await?
            };
            (HeaderValue::from_static("application/json"), text)
        }
    };
    let mut response = Response::new(AnswerBody::from(bytes));
    response.headers_mut().insert(CONTENT_TYPE, media_type);
    expect_no_sniffing(&mut response);
    Ok(response)
}

/// Tells browsers to take an answer for nothing else than its media type says. What plugins and services answer comes from the
/// origin of the API: what looks like a page must not become one there.
fn expect_no_sniffing(response: &mut Response<AnswerBody>) {
    let headers = response.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

/// Runs what computes for long where it delays nobody. It begins at once, so that the future holds none of it: those of
/// requests are moved about, and are to be small.
pub(crate) fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> impl Future<Output = Result<T, Error>> + Send {
    let task = tokio::task::spawn_blocking(work);
    async {
        task.await
            .unwrap_or_else(|error| Err(Error::internal(error)))
    }
}
