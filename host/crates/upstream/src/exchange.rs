//! A request and its answer: at an endpoint that is chosen, at another one where that fails and it is worth it, and never
//! beyond the request's time.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Extensions, HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as ClientError;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use wharf_core::{Error, RequestContext, stage_span};

use crate::attempt::{Attempt, Held};
use crate::body::Outgoing;
use crate::connection::{Lane, TooMany, Used};
use crate::endpoint::{Endpoint, Visit};
use crate::fault::Fault;
use crate::peer::{Peer, rests};
use crate::settings::{Address, Settings};

/// The most of a request's time that is kept back, so that it is this end that ends the attempt, and knows whose it was.
const SPARE: Duration = Duration::from_millis(20);

/// Something that a peer is asked.
pub(crate) trait Call: Sync {
    /// What is made of an answer.
    type Answer: Send;

    /// Writes the request for an endpoint, for so much time.
    ///
    /// # Errors
    /// Where it cannot be written: a fault of the program.
    fn message(&self, to: &Address, time: Duration) -> Result<Request<Outgoing>, Error>;

    /// Reads the answer. A redirect never comes here.
    fn read(
        &self,
        answer: Response<Incoming>,
    ) -> impl Future<Output = Result<Self::Answer, Fault>> + Send;

    /// Whether the request can be sent once more after it was sent.
    fn can_be_repeated(&self) -> bool {
        true
    }

    /// Since when an attempt that began then waits for the peer alone; none while it is the client's turn to send.
    fn waits_since(&self, began: Instant) -> Option<Instant> {
        Some(began)
    }

    /// Takes the error that the client's own body broke off with, where it did.
    fn take_error(&self) -> Option<Error> {
        None
    }
}

/// An answer, with what the request holds at its endpoint as long as it is read.
pub(crate) struct Answered<A> {
    pub(crate) answer: A,
    pub(crate) held: Held,
}

impl<A> Answered<A> {
    /// An answer that was read to its end.
    pub(crate) fn whole(mut self) -> A {
        self.held.end(None);
        self.answer
    }
}

/// How a request that has a context is sent.
pub(crate) struct Terms {
    /// The fields that tell the peer of the request.
    pub(crate) fields: HeaderMap,
    /// When the answer is of no use any more.
    pub(crate) deadline: Instant,
    /// How long a peer may take, by the operator's word alone.
    pub(crate) patience: Duration,
}

impl Terms {
    /// The terms of a request.
    ///
    /// # Errors
    /// `InvalidArgument` where the request goes in a circle.
    pub(crate) fn of(request: &RequestContext, settings: &Settings) -> Result<Self, Error> {
        Ok(Self {
            fields: crate::headers::fields(request, &settings.request_headers)?,
            deadline: request.deadline,
            patience: settings.timeout.min(request.timeout),
        })
    }

    /// Whether so long without an answer speaks against the peer. Where a client gave it less than half of what the operator
    /// does, it speaks of the client. Half: what came before has its time as well.
    pub(crate) fn is_the_peers(&self, time: Duration) -> bool {
        time * 2 >= self.patience
    }

    fn left(&self) -> Duration {
        let left = self.deadline.saturating_duration_since(Instant::now());
        left - (left / 10).min(SPARE)
    }
}

impl Peer {
    /// Asks, and asks again where that is worth it.
    ///
    /// # Errors
    /// What came of the last attempt; `Unavailable` where none was made; `changed` is told of an answer that the peer's
    /// metadata does not fit any more.
    pub(crate) async fn ask<C: Call>(
        self: &Arc<Self>,
        call: &C,
        terms: &Terms,
        changed: impl Fn(),
    ) -> Result<Answered<C::Answer>, Error> {
        let under_way = self.begin()?;
        let leave = self.leave()?;
        self.budget.earn();
        let span = stage_span!(
            "upstream",
            otel.kind = "client",
            upstream = %self.settings.name,
            server.address = Empty,
            attempts = Empty,
            otel.status_code = Empty,
        );
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        let mut was_stale = false;
        let mut before = None;
        let fault = loop {
            let visit = match self.endpoints.choose(&tried) {
                Ok(visit) => visit,
                Err(back) => {
                    return Err(rests(
                        back.saturating_duration_since(tokio::time::Instant::now()),
                    ));
                }
            };
            span.record("server.address", &**visit.endpoint().address.authority());
            span.record("attempts", tried.len() + 1);
            let attempt = self.attempt(visit, call, terms);
            let fault = match attempt.instrument(span.clone()).await? {
                Ok((answer, attempt)) => {
                    let held = Held::new(attempt, leave, under_way);
                    return Ok(Answered { answer, held });
                }
                // The first time it is nobody's fault, and no attempt.
                Err((Fault::Stale(_), _)) if call.can_be_repeated() && !was_stale => {
                    was_stale = true;
                    continue;
                }
                Err((fault, endpoint)) => {
                    tried.push(endpoint);
                    fault
                }
            };
            // One more had no time: it says less than the one before.
            let fault = match (fault, before) {
                (Fault::Late, Some(before)) => break before,
                (fault, _) => fault,
            };
            if !self.repeats(call, &fault, tried.len(), terms) {
                break fault;
            }
            tracing::debug!(upstream = %self.settings.name, error = %fault, "asked again");
            before = Some(fault);
        };
        span.record("otel.status_code", "ERROR");
        if fault.is_a_change() {
            changed();
        }
        self.ended(leave, Some(&fault));
        Err(fault.into())
    }

    /// Asks one endpoint after the other until one answers, in nobody's name: it takes no place, and the breaker has no say. So
    /// one learns that the peer is there again.
    ///
    /// # Errors
    /// What came of the last attempt; `Unavailable` where all endpoints are out.
    pub(crate) async fn inquire<C: Call>(
        self: &Arc<Self>,
        call: &C,
        terms: &Terms,
    ) -> Result<C::Answer, Error> {
        let mut tried: Vec<Arc<Endpoint>> = Vec::new();
        loop {
            let visit = self.endpoints.choose(&tried).map_err(|back| {
                rests(back.saturating_duration_since(tokio::time::Instant::now()))
            })?;
            // One that hangs must not have the time of all.
            let others = (self.settings.addresses.len() - tried.len()).max(1) as u32;
            let share = Terms {
                fields: terms.fields.clone(),
                deadline: Instant::now() + terms.left() / others,
                patience: terms.patience,
            };
            match self.attempt(visit, call, &share).await? {
                Ok((answer, mut attempt)) => {
                    attempt.end(None);
                    return Ok(answer);
                }
                Err((fault, endpoint)) => {
                    tried.push(endpoint);
                    if tried.len() >= self.settings.addresses.len() {
                        return Err(fault.into());
                    }
                }
            }
        }
    }

    /// Whether a fault is followed by another attempt.
    fn repeats<C: Call>(&self, call: &C, fault: &Fault, made: usize, terms: &Terms) -> bool {
        let may = made <= self.settings.retries as usize
            && fault.is_worth_another_try()
            && (fault.is_before_anything() || call.can_be_repeated())
            // What is kept back is no time for an attempt.
            && terms.left() > SPARE;
        if !may {
            return false;
        }
        if self.budget.take() {
            self.metrics.retries.add(1);
            true
        } else {
            self.metrics.retries_refused.add(1);
            false
        }
    }

    /// Asks one endpoint. The outer error is one of the program.
    async fn attempt<C: Call>(
        self: &Arc<Self>,
        visit: Visit,
        call: &C,
        terms: &Terms,
    ) -> Result<Result<(C::Answer, Attempt), (Fault, Arc<Endpoint>)>, Error> {
        let endpoint = Arc::clone(visit.endpoint());
        let left = terms.left();
        if left.is_zero() {
            return Ok(Err((Fault::Late, endpoint)));
        }
        let time = left.min(self.settings.timeout);
        let mut message = call.message(&endpoint.address, time)?;
        message.headers_mut().extend(terms.fields.clone());
        let mut attempt = Attempt::new(self, visit);
        let work = async {
            let lane = attempt.visit().lane();
            let lane = lane.ok_or(Fault::Full(self.settings.max_connections))?;
            self.send(call, lane, message).await
        };
        let ended = tokio::time::timeout(time, work).await;
        let ends = attempt.began() + time;
        let since = call.waits_since(attempt.began());
        let alone = since.map(|since| ends.saturating_duration_since(since));
        let is_the_peers = alone.is_some_and(|alone| terms.is_the_peers(alone));
        let result = match ended {
            Ok(Err(Fault::GaveUp)) if !is_the_peers => Err(Fault::Late),
            Ok(result) => result,
            Err(_) if is_the_peers => Err(Fault::TimedOut(time)),
            Err(_) => Err(Fault::Late),
        };
        match result {
            Ok(answer) => {
                attempt.answered();
                Ok(Ok((answer, attempt)))
            }
            Err(fault) => {
                attempt.end(Some(&fault));
                Ok(Err((fault, endpoint)))
            }
        }
    }

    async fn send<C: Call>(
        &self,
        call: &C,
        lane: &Lane,
        message: Request<Outgoing>,
    ) -> Result<C::Answer, Fault> {
        let sent = self.connections.request(lane, message).await;
        let answer = sent.map_err(|error| match call.take_error() {
            Some(error) => Fault::Client(error),
            None => fault_of(error),
        })?;
        if let Some(used) = answer.extensions().get::<Used>() {
            used.set();
        }
        Span::current().record("http.response.status_code", answer.status().as_u16());
        // Followed, it would lead to whom nobody named.
        if answer.status().is_redirection() {
            return Err(Fault::Failed(format!("{}: a redirect", answer.status())));
        }
        call.read(answer).await
    }
}

/// What an error of the connections says.
fn fault_of(error: ClientError) -> Fault {
    let mut is_closed = false;
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(at) = cause {
        if let Some(TooMany(most)) = at.downcast_ref() {
            return Fault::Full(*most);
        }
        let of_hyper = at.downcast_ref::<hyper::Error>();
        is_closed |= of_hyper.is_some_and(|it| it.is_incomplete_message() || it.is_closed());
        is_closed |= at.is::<std::io::Error>();
        cause = at.source();
    }
    let mut of_connection = Extensions::new();
    if let Some(connection) = error.connect_info() {
        connection.get_extras(&mut of_connection);
    }
    let used = of_connection.get::<Used>();
    match error.is_connect() {
        true => Fault::Unreachable(error.into()),
        false if is_closed && used.is_some_and(Used::is_set) => Fault::Stale(error.into()),
        false => Fault::Broken(error.into()),
    }
}
