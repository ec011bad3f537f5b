//! A request and its answer: at an endpoint that is chosen, at another one where that fails and it is worth it, and never
//! beyond the request's time.

use std::error::Error as StdError;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;
use hyper_util::client::legacy::Error as ClientError;
use tracing::field::Empty;
use tracing::{Instrument as _, Span};
use wharf_core::{Error, ErrorKind, stage_span};

use crate::body::Outgoing;
use crate::connection::TooMany;
use crate::endpoint::{Endpoint, Visit};
use crate::fault::{Fault, Outcome};
use crate::peer::{Peer, UnderWay, rests};
use crate::settings::Address;

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
}

/// An answer, with what the request holds at its endpoint as long as it is read.
pub(crate) struct Answered<A> {
    pub(crate) answer: A,
    pub(crate) held: Held,
}

/// The places of a request.
pub(crate) struct Held {
    pub(crate) visit: Visit,
    _under_way: UnderWay,
}

/// How a request that has a context is sent.
pub(crate) struct Terms {
    /// The fields that tell the peer of the request.
    pub(crate) fields: HeaderMap,
    /// When the answer is of no use any more.
    pub(crate) deadline: Instant,
}

impl Terms {
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
                Ok((answer, visit)) => {
                    self.ended(leave, None);
                    let held = Held {
                        visit,
                        _under_way: under_way,
                    };
                    return Ok(Answered { answer, held });
                }
                Err((fault, endpoint)) => {
                    tried.push(endpoint);
                    fault
                }
            };
            if !self.repeats(call, &fault, tried.len(), terms) {
                break fault;
            }
            tracing::debug!(upstream = %self.settings.name, error = %fault, "asked again");
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
        &self,
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
            };
            match self.attempt(visit, call, &share).await? {
                Ok((answer, _visit)) => return Ok(answer),
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
            && !terms.left().is_zero();
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
        &self,
        visit: Visit,
        call: &C,
        terms: &Terms,
    ) -> Result<Result<(C::Answer, Visit), (Fault, Arc<Endpoint>)>, Error> {
        let endpoint = Arc::clone(visit.endpoint());
        let left = terms.left();
        if left.is_zero() {
            return Ok(Err((Fault::Late, endpoint)));
        }
        let time = left.min(self.settings.timeout);
        let mut message = call.message(&endpoint.address, time)?;
        for (name, value) in &terms.fields {
            message.headers_mut().insert(name.clone(), value.clone());
        }
        let mut record = Record {
            peer: self,
            endpoint: &endpoint,
            began: Instant::now(),
            outcome: None,
        };
        let work = async {
            let sent = self.client.request(message).await;
            let answer = sent.map_err(fault_of)?;
            Span::current().record("http.response.status_code", answer.status().as_u16());
            // Followed, it would lead to whom nobody named.
            if answer.status().is_redirection() {
                return Err(Fault::Failed(format!("{}: a redirect", answer.status())));
            }
            call.read(answer).await
        };
        let ended = tokio::time::timeout(time, work).await;
        let result = ended.unwrap_or_else(|_| Err(self.too_late(time)));
        record.end(result.as_ref().err());
        drop(record);
        match result {
            Ok(answer) => Ok(Ok((answer, visit))),
            Err(fault) => Ok(Err((fault, endpoint))),
        }
    }

    /// The fault of an attempt that took this whole time. A client that has little patience says nothing of the endpoint.
    fn too_late(&self, time: Duration) -> Fault {
        match self.is_the_endpoints(time) {
            true => Fault::TimedOut(time),
            false => Fault::Late,
        }
    }

    /// Whether so long without an answer speaks against an endpoint.
    fn is_the_endpoints(&self, time: Duration) -> bool {
        time * 2 >= self.settings.timeout
    }
}

/// Counts an attempt when it ends, also where it ends by being dropped.
struct Record<'a> {
    peer: &'a Peer,
    endpoint: &'a Endpoint,
    began: Instant,
    outcome: Option<Outcome>,
}

impl Record<'_> {
    fn end(&mut self, fault: Option<&Fault>) {
        let counts_unavailable = self.peer.settings.ejection.counts_unavailable;
        self.outcome = Some(fault.map_or(Outcome::Ok, Fault::outcome));
        match fault {
            None => {
                self.endpoint.succeeded();
                self.peer.took(self.began.elapsed());
            }
            Some(Fault::Refused { .. }) => self.endpoint.succeeded(),
            Some(fault) if fault.is_the_endpoints(counts_unavailable) => {
                self.peer.endpoint_failed(self.endpoint);
            }
            Some(_) => {}
        }
    }
}

impl Drop for Record<'_> {
    fn drop(&mut self) {
        let time = self.began.elapsed();
        if self.outcome.is_none() && self.peer.is_the_endpoints(time) {
            self.peer.endpoint_failed(self.endpoint);
        }
        let outcome = self.outcome.unwrap_or(Outcome::Cancelled);
        self.endpoint.metrics.ended(outcome, time);
    }
}

/// What an error of the client says.
fn fault_of(error: ClientError) -> Fault {
    let mut cause: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(at) = cause {
        if let Some(TooMany(most)) = at.downcast_ref() {
            return Fault::Full(*most);
        }
        // The client's own body: whoever reads that knows what is wrong with it.
        if let Some(sent) = at.downcast_ref::<Error>() {
            return Fault::Client(repeated(sent));
        }
        cause = at.source();
    }
    match error.is_connect() {
        true => Fault::Unreachable(error.into()),
        false => Fault::Broken(error.into()),
    }
}

/// The same error once more: hyper keeps the one that it was given.
fn repeated(error: &Error) -> Error {
    let kind = match error.kind() {
        ErrorKind::Internal => return Error::internal(error.to_string()),
        kind => kind,
    };
    let again = Error::new(kind, error.message().to_owned());
    match error.field() {
        Some(field) => again.with_field(field.to_owned()),
        None => again,
    }
}
