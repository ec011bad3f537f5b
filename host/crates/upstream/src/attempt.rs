//! A request at one endpoint, until it is known how it ended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::breaker::Leave;
use crate::endpoint::Visit;
use crate::fault::{Fault, Outcome};
use crate::peer::{Peer, UnderWay};

/// A request at an endpoint. It counts when it ends, and as cancelled where it is dropped before: then the client left, which is
/// nobody's fault.
pub(crate) struct Attempt {
    peer: Arc<Peer>,
    visit: Visit,
    began: Instant,
    /// How long it took until the answer began.
    answered: Option<Duration>,
    outcome: Option<Outcome>,
}

/// What a request holds while its answer is read: its places, and the say on how it ended.
pub(crate) struct Held {
    attempt: Attempt,
    leave: Option<Leave>,
    _under_way: UnderWay,
}

impl Attempt {
    pub(crate) fn new(peer: &Arc<Peer>, visit: Visit) -> Self {
        Self {
            peer: Arc::clone(peer),
            visit,
            began: Instant::now(),
            answered: None,
            outcome: None,
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    pub(crate) fn visit(&self) -> &Visit {
        &self.visit
    }

    /// Notes that the answer began, and whatever comes of its body, so much is known of the peer's time.
    pub(crate) fn answered(&mut self) {
        self.answered = Some(self.began.elapsed());
    }

    /// Notes how it ended.
    pub(crate) fn end(&mut self, fault: Option<&Fault>) {
        let counts_unavailable = self.peer.settings.ejection.counts_unavailable;
        let endpoint = self.visit.endpoint();
        self.outcome = Some(fault.map_or(Outcome::Ok, Fault::outcome));
        match fault {
            None => {
                endpoint.succeeded();
                self.peer.took(self.time());
            }
            Some(Fault::Refused { .. }) => endpoint.succeeded(),
            Some(fault) if fault.is_the_endpoints(counts_unavailable) => {
                self.peer.endpoint_failed(endpoint);
            }
            Some(_) => {}
        }
    }

    fn time(&self) -> Duration {
        self.answered.unwrap_or_else(|| self.began.elapsed())
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let outcome = self.outcome.unwrap_or(Outcome::Cancelled);
        let metrics = &self.visit.endpoint().metrics;
        metrics.ended(outcome, self.time());
    }
}

impl Held {
    pub(crate) fn new(attempt: Attempt, mut leave: Leave, under_way: UnderWay) -> Self {
        leave.answered();
        Self {
            attempt,
            leave: Some(leave),
            _under_way: under_way,
        }
    }

    /// Notes how the answer ended. Only the first time counts.
    pub(crate) fn end(&mut self, fault: Option<&Fault>) {
        if let Some(leave) = self.leave.take() {
            self.attempt.end(fault);
            self.attempt.peer.ended(leave, fault);
        }
    }
}
