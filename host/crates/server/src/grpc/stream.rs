//! `ModelStreamInfer`: requests as they come, an answer for each, in their order.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesOrdered, StreamExt as _, unfold};
use futures_util::{FutureExt as _, TryStreamExt as _};
use http::HeaderMap;
use tokio::sync::mpsc;
use tracing::{Instrument as _, Span};
use wharf_core::{Error, ErrorKind, Headers, SequenceId};

use super::answer::{Parts, Sent};
use super::call::{Connected, past_deadline};
use super::frame::{Encoding, Message, Messages, Patience};
use super::infer::{Asking, infer};
use super::method::Method;
use super::refusal::Refusal;
use super::reply::{self, Envelope};
use super::request::Request;
use crate::client::Client;
use crate::oip::Caller;
use crate::trace::{Fields, call_span, record_call, record_client};

/// Requests of one stream that are worked on or wait to be sent. Then no more are read.
const MAX_IN_FLIGHT: usize = 32;

/// A stream of requests.
pub(super) struct Streaming {
    pub(super) connected: Arc<Connected>,
    pub(super) id: Arc<str>,
    /// Who opens it.
    pub(super) client: Client,
    pub(super) fields: HeaderMap,
    pub(super) messages: Messages,
    /// What answers are compressed with.
    pub(super) encoding: Encoding,
    /// What the client gives the whole stream.
    pub(super) limit: Option<Duration>,
}

/// What a request came to, and the sequence that it was part of.
type Answered = (Parts, Option<SequenceId>);

/// Answers the requests of a stream. It runs in a task of its own: a client that does not read its answers must not keep
/// the requests that are under way from ending, and so from giving back what they hold.
pub(super) async fn run(streaming: Streaming, sent: mpsc::Sender<Sent>) {
    let end = answer(streaming, &sent).await;
    // Where nobody reads it any more, nobody misses it.
    let _ = sent.send(Sent::End(end)).await;
}

async fn answer(streaming: Streaming, sent: &mpsc::Sender<Sent>) -> Result<(), Refusal> {
    let Streaming {
        connected,
        messages,
        limit,
        ..
    } = streaming;
    let asker = Asker {
        connected: Arc::clone(&connected),
        id: streaming.id,
        headers: Headers::of(streaming.fields.clone(), streaming.client.principal()),
        client: streaming.client,
        fields: Arc::new(streaming.fields),
        encoding: streaming.encoding,
    };
    // A message is read on, whatever happens meanwhile.
    let messages = unfold(
        (messages, Arc::clone(&connected)),
        async |(mut messages, connected)| {
            let next = messages.next(&connected.app, Patience::Begun).await;
            next.transpose().map(|next| (next, (messages, connected)))
        },
    );
    let mut messages = std::pin::pin!(messages);
    let mut deadline = std::pin::pin!(async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    });
    let mut drain = std::pin::pin!(connected.drain.cancelled());

    let mut running = FuturesOrdered::new();
    let mut sequences: Vec<SequenceId> = Vec::new();
    // A request whose sequence is under way: it waits, and so does what is behind it.
    let mut held: Option<(Message, SequenceId)> = None;
    let mut answers: VecDeque<Parts> = VecDeque::new();
    let mut end = None;
    let mut count = 0_u64;
    loop {
        if let Some((message, sequence)) =
            held.take_if(|(_, sequence)| !sequences.contains(sequence))
        {
            sequences.push(sequence.clone());
            running.push_back(asker.ask(message, count, Some(sequence)));
        }
        let is_idle = running.is_empty() && answers.is_empty() && held.is_none();
        if is_idle && let Some(end) = end.take() {
            return end;
        }
        let has_room = running.len() + answers.len() < MAX_IN_FLIGHT;
        let reads = end.is_none() && held.is_none() && has_room;
        tokio::select! {
            biased;
            permit = sent.reserve(), if !answers.is_empty() => match permit {
                Ok(permit) => {
                    if let Some(parts) = answers.pop_front() {
                        permit.send(Sent::Message(parts));
                    }
                }
                Err(_left) => return Ok(()),
            },
            Some((parts, sequence)) = running.next(), if !running.is_empty() => {
                answers.push_back(parts);
                sequences.retain(|other| Some(other) != sequence.as_ref());
            }
            message = messages.try_next(), if reads => match message {
                Ok(Some(message)) => {
                    count += 1;
                    match sequence_of(&message) {
                        Some(sequence) => held = Some((message, sequence)),
                        None => running.push_back(asker.ask(message, count, None)),
                    }
                }
                Ok(None) => end = Some(Ok(())),
                Err(refusal) => end = Some(Err(refusal)),
            },
            () = &mut drain, if end.is_none() => {
                let message = "the server stops; open a new stream, which another one answers";
                end = Some(Err(Error::new(ErrorKind::Unavailable, message).into()));
            }
            () = &mut deadline => return Err(past_deadline()),
        }
    }
}

/// The sequence of a request. What is wrong with it shows when it is read.
fn sequence_of(message: &Message) -> Option<SequenceId> {
    let request = Request::of(&message.bytes).ok()?;
    Some(request.scheduling().ok()?.sequence?.id)
}

/// Who asks, for each request of a stream.
struct Asker {
    connected: Arc<Connected>,
    id: Arc<str>,
    /// As the client sent them, credentials and all: a stream may last longer than they are good.
    fields: Arc<HeaderMap>,
    /// Who opened it, and the fields without credentials.
    client: Client,
    headers: Headers,
    encoding: Encoding,
}

impl Asker {
    fn ask(
        &self,
        message: Message,
        count: u64,
        sequence: Option<SequenceId>,
    ) -> impl Future<Output = Answered> + Send + use<> {
        let connected = Arc::clone(&self.connected);
        let fields = Arc::clone(&self.fields);
        let (opener, kept) = (self.client.clone(), self.headers.clone());
        let encoding = self.encoding;
        // In the log, each request has a name of its own.
        let id: Arc<str> = format!("{}.{count}", self.id).into();
        async move {
            let bytes = message.bytes.clone();
            let span = span(&connected, (&id, &fields), &bytes);
            let answering = async {
                let app = &connected.app;
                let client = &app.identify(&fields).await?;
                if let Some(span) = &span {
                    record_client(span, client);
                }
                let headers = match client.is(&opener) {
                    true => kept,
                    false => Headers::of(HeaderMap::clone(&fields), client.principal()),
                };
                let asking = Asking {
                    app,
                    caller: Caller {
                        id: &id,
                        client,
                        headers,
                        limit: None,
                    },
                    // The fields of a stream's answer have long been sent.
                    quota: &mut None,
                    encoding,
                    envelope: Envelope::Stream,
                };
                infer(asking, message).await
            };
            let answering = AssertUnwindSafe(answering).catch_unwind();
            let answer = match &span {
                Some(span) => Box::pin(answering.instrument(span.clone())).await,
                None => answering.await,
            };
            let answer =
                answer.unwrap_or_else(|_| Err(Error::internal("a handler panicked").into()));
            if let Some(span) = span {
                record_call(&span, answer.as_ref().map_or_else(Refusal::code, |_| 0));
            }
            let parts = match answer {
                Ok(parts) => parts,
                Err(refusal) => {
                    refusal.log(&id);
                    let request = Request::of(&bytes).unwrap_or_default();
                    let failure = reply::failure(request.id.to_owned(), refusal.message());
                    let failure = failure.unwrap_or_default();
                    reply::compress(failure, encoding).await.unwrap_or_default()
                }
            };
            (parts, sequence)
        }
    }
}

/// The span of a request, where it is traced: each has one of its own, by the settings of its model.
fn span(connected: &Connected, (id, fields): (&str, &HeaderMap), bytes: &Bytes) -> Option<Span> {
    let tracing = &connected.app.tracing;
    let request = match tracing.depends_on_model() {
        true => Request::of(bytes).ok(),
        false => None,
    };
    tracing
        .sample(request.as_ref().map(|request| request.model))
        .then(|| call_span(&Fields(fields), Some(Method::ModelStreamInfer), id))
}
