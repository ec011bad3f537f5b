//! The Open Inference Protocol over gRPC, with the services for health and reflection, on the port of HTTP.
//!
//! Calls are read and answered here, frame by frame: so a message counts in the budget of bodies while it arrives, is
//! never decompressed beyond its limit, and its raw contents become tensors where they stand. Messages that are seldom are
//! read by what prost generates; those of inference in [`request`] and [`reply`], without an allocation for each field.

mod method;

mod call;
mod timeout;

mod frame;
mod wire;

mod contents;
mod infer;
mod reply;
mod request;
mod stream;

mod health;
mod management;
mod reflection;

mod answer;
mod refusal;

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{CONTENT_TYPE, HOST};
use http::request::Parts as Head;
use http::{Method as Verb, Request, Response};
use hyper::body::Incoming as Received;
use tokio::sync::mpsc;
use tracing::Instrument as _;
use wharf_core::{Error, ErrorKind, Headers};

use crate::access_log::{Entry, Head as LogHead, Protocol};
use crate::app::AnswerBody;
use crate::body::Incoming;
use crate::client::{Asker, Client, write_quota};
use crate::endpoint::Surface;
use crate::oip::Caller;
use crate::request_id;
use crate::trace::record_client;
pub(crate) use answer::GrpcBody;
use answer::{Task, unary};
use call::Call;
pub(crate) use call::Connected;
use frame::{Encoding, Messages, Purpose};
use infer::Asking;
pub(crate) use method::Method;
use reflection::Version;
use refusal::{GRPC_STATUS, Refusal};
use reply::Envelope;
use stream::Streaming;

/// Answers that wait to be sent, of one stream: the rest wait where they count.
const SENT: usize = 2;

/// Whether a request is a call. Only clients are served so: operators have no use for it.
pub(crate) fn is_call(connected: &Connected, request: &Request<Received>) -> bool {
    let content_type = request.headers().get(CONTENT_TYPE);
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    // Not `application/grpc-web`, which is another protocol.
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        && connected.app.surface == Surface::Public
}

/// Answers a call.
pub(crate) async fn handle(
    connected: Arc<Connected>,
    request: Request<Received>,
) -> Response<AnswerBody> {
    let app = Arc::clone(&connected.app);
    let (head, body) = request.into_parts();
    let id = app.ids.of(&head.headers);
    let method = Method::of(head.uri.path());
    let entry = app.access_log.as_ref().map(|log| {
        let head = LogHead {
            parts: &head,
            path: head.uri.path(),
            template: method.map_or("", Method::name),
            id: &id,
            protocol: Protocol::Grpc,
        };
        log.begin(&head, connected.watch.peer)
    });
    let notes = entry.as_ref().map(Entry::notes);
    let body = Incoming::new(body, notes.clone());
    let mut call = Call::begin(connected, Arc::clone(&id), method);
    call.notes = notes;
    call.trace_header(&head.headers);

    // A panic would take the other calls of the connection with it.
    let answering = AssertUnwindSafe(answer(call, head, body)).catch_unwind();
    let mut answer = answering.await.unwrap_or_else(|_| {
        let refusal = Error::internal("a handler panicked").into();
        answer::refuse(&refusal, &id)
    });
    request_id::name(&mut answer, &id);
    match entry {
        Some(entry) => entry.follow(answer),
        None => answer,
    }
}

/// The status of an answer; 0 where it goes well so far.
fn code_of(answer: &Response<AnswerBody>) -> u8 {
    let status = answer.headers().get(GRPC_STATUS);
    let code = status.and_then(|status| status.to_str().ok()?.parse().ok());
    code.unwrap_or(0)
}

/// Answers a call, refused or not, and counts it.
///
/// Whatever inference does not need is boxed: the future is set aside for each call, and is to be small.
async fn answer(mut call: Call, head: Head, body: Incoming) -> Response<AnswerBody> {
    let opened = match open(&mut call, &head) {
        Ok((method, encoding)) => {
            let client = identify(&call, method, &head).await;
            client.map(|client| (method, encoding, client))
        }
        Err(refusal) => Err(refusal),
    };
    let result = match opened {
        Ok((Method::ModelStreamInfer, encoding, client)) => {
            return streaming(call, (head, client), body, encoding);
        }
        Ok((Method::HealthWatch, encoding, _)) => {
            match Box::pin(watching(&call, body, encoding)).await {
                Ok((sent, task)) => {
                    let body = GrpcBody::stream(sent, call, task);
                    return answer::respond(body, Encoding::Identity);
                }
                Err(refusal) => Err(refusal),
            }
        }
        Ok((method @ (Method::Reflection | Method::ReflectionAlpha), _, _)) => {
            Box::pin(reflecting(&call, Request::from_parts(head, body), method)).await
        }
        Ok((method, encoding, client)) => {
            one(&mut call, (method, &client), head, (body, encoding)).await
        }
        Err(refusal) => {
            call.trace_message(&head.headers, None);
            Err(refusal)
        }
    };
    let mut answer = match result {
        Ok(answer) => {
            call.ended(code_of(&answer));
            answer
        }
        Err(refusal) => {
            call.ended(refusal.code());
            answer::refuse(&refusal, &call.id)
        }
    };
    if let Some(quota) = &call.quota {
        write_quota(quota, answer.headers_mut());
    }
    answer
}

/// Finds out who calls, unless everybody may.
async fn identify(call: &Call, method: Method, head: &Head) -> Result<Client, Refusal> {
    if method.is_open() {
        return Ok(Client::default());
    }
    let client = call.app().identify(&head.headers).await?;
    if let (Some(notes), Some(tenant)) = (&call.notes, client.tenant()) {
        notes.set_tenant(tenant);
    }
    Ok(client)
}

/// Reads what the header says of the call.
fn open(call: &mut Call, head: &Head) -> Result<(Method, Encoding), Refusal> {
    let Some(method) = call.method.filter(|_| head.method == Verb::POST) else {
        let message = "there is no such call; the reflection service lists them";
        return Err(Error::new(ErrorKind::Unimplemented, message).into());
    };
    call.app().limits.check_fields(&head.headers)?;
    call.timeout = timeout::timeout(&head.headers)?;
    Ok((method, Encoding::of(&head.headers)?))
}

/// Answers a call of one message and one answer.
async fn one(
    call: &mut Call,
    (method, client): (Method, &Client),
    head: Head,
    (body, encoding): (Incoming, Encoding),
) -> Result<Response<AnswerBody>, Refusal> {
    let answer_encoding = encoding.of_answer(&head.headers);
    let purpose = match method {
        Method::ModelInfer => Purpose::Inference,
        _ => Purpose::Other,
    };
    let mut messages = Messages::of(body, encoding, purpose);
    let message = call.within(pin!(messages.only(call.app()))).await;
    let bytes = message.as_ref().ok().map(|message| &message.bytes);
    call.trace_message(&head.headers, bytes);
    if let Some(span) = call.span() {
        record_client(span, client);
    }
    call.note_message(bytes);
    let message = message?;
    let parts = if method == Method::ModelInfer {
        let mut quota = None;
        let asking = Asking {
            app: &call.connected.app,
            caller: Caller {
                id: &call.id,
                client,
                headers: Headers::of(head.headers, client.principal()),
                limit: call.remaining(),
            },
            quota: &mut quota,
            encoding: answer_encoding,
            envelope: Envelope::Call,
        };
        let inferring = infer::infer(asking, message);
        let inferred = match call.span() {
            // Boxed, so that the future stays small where no spans are exported.
            Some(span) => Box::pin(inferring.instrument(span.clone())).await,
            None => inferring.await,
        };
        call.quota = quota;
        inferred?
    } else {
        let call = &*call;
        let asker = Asker {
            app: call.app(),
            client,
            host: host_of(&head),
        };
        let mut managing = Box::pin(managed(call, asker, method, message.bytes));
        let parts = call.within(managing.as_mut()).await?;
        reply::compress(parts, answer_encoding).await?
    };
    Ok(unary(parts, answer_encoding))
}

async fn managed(
    call: &Call,
    asker: Asker<'_>,
    method: Method,
    message: Bytes,
) -> Result<answer::Parts, Refusal> {
    let parts = match method {
        Method::HealthCheck => health::check(&call.connected, message)?,
        _ => management::manage(asker, method, message).await?,
    };
    Ok(parts)
}

/// The name that the client knows the server by: the pseudo-header `:authority`, or the field of HTTP/1 in its place.
fn host_of(head: &Head) -> Option<&str> {
    match head.uri.authority() {
        Some(authority) => Some(authority.as_str()),
        None => head.headers.get(HOST)?.to_str().ok(),
    }
}

/// Answers a stream of inferences.
fn streaming(
    call: Call,
    (head, client): (Head, Client),
    body: Incoming,
    encoding: Encoding,
) -> Response<AnswerBody> {
    let (sender, sent) = mpsc::channel(SENT);
    let answer_encoding = encoding.of_answer(&head.headers);
    let streaming = Streaming {
        connected: Arc::clone(&call.connected),
        id: Arc::clone(&call.id),
        client,
        fields: head.headers,
        messages: Messages::of(body, encoding, Purpose::Inference),
        encoding: answer_encoding,
        limit: call.remaining(),
    };
    let task = Task::spawn(stream::run(streaming, sender));
    answer::respond(GrpcBody::stream(sent, call, task), answer_encoding)
}

/// Answers a client that follows the health.
async fn watching(
    call: &Call,
    body: Incoming,
    encoding: Encoding,
) -> Result<(mpsc::Receiver<answer::Sent>, Task), Refusal> {
    let mut messages = Messages::of(body, encoding, Purpose::Other);
    let message = call.within(pin!(messages.only(call.app()))).await?;
    let known = health::knows(message.bytes)?;
    let (sender, sent) = mpsc::channel(SENT);
    let task = Task::spawn(health::watch(Arc::clone(&call.connected), known, sender));
    Ok((sent, task))
}

async fn reflecting(
    call: &Call,
    request: Request<Incoming>,
    method: Method,
) -> Result<Response<AnswerBody>, Refusal> {
    let version = match method {
        Method::ReflectionAlpha => Version::V1Alpha,
        _ => Version::V1,
    };
    let mut reflecting = Box::pin(reflection::reflect(request, version));
    call.within(reflecting.as_mut()).await
}
