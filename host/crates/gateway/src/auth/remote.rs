//! A key set at an address: when it is fetched.
//!
//! One task fetches, so there is one request under way at the most. Requests that need a newer set ask the task and wait for what it
//! is about to fetch; where the last fetch was a moment ago they are told so at once. So a flood of made-up key ids costs the issuer
//! nothing.

use std::time::Duration;

use http::HeaderValue;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::fetch::{self, FetchError, Fetched, Fetcher};
use super::issuer::Issuer;
use super::settings::IssuerConfig;
use crate::metrics::{AuthMetrics, FetchOutcome};

/// How long a request waits at the most for a fetch to end.
const WAIT: Duration = fetch::TIME.saturating_add(Duration::from_secs(1));

/// Where a key set is fetched, and how often.
pub(super) struct Remote {
    fetcher: Fetcher,
    refresh: Duration,
    min_refetch: Duration,
    max_stale: Duration,
    rounds: watch::Sender<Rounds>,
    wanted: Notify,
    stop: CancellationToken,
}

/// What requests see of the fetches.
#[derive(Clone, Copy, Default)]
struct Rounds {
    /// How many calls for a newer set were answered, by a fetch or by saying that it is too soon.
    answered: u64,
    is_running: bool,
    /// Nobody fetches any more.
    is_over: bool,
    last: Option<Last>,
}

#[derive(Clone, Copy)]
struct Last {
    ended: Instant,
    outcome: FetchOutcome,
}

/// The set that was fetched last, as the task remembers it.
#[derive(Default)]
struct Known {
    tag: Option<HeaderValue>,
    digest: Option<[u8; 32]>,
}

impl Remote {
    pub(super) fn new(fetcher: Fetcher, config: &IssuerConfig) -> Self {
        Self {
            fetcher,
            refresh: Duration::from_secs(config.refresh_s),
            min_refetch: config.min_refetch(),
            max_stale: Duration::from_secs(config.max_stale_s),
            rounds: watch::Sender::default(),
            wanted: Notify::new(),
            stop: CancellationToken::new(),
        }
    }

    /// How the last fetch ended, where it is too soon for another one.
    pub(super) fn lately(&self) -> Option<FetchOutcome> {
        self.rounds.borrow().lately(self.min_refetch)
    }

    /// Waits for a fetch that is under way, or asks for one. Gives how it ended; none where that takes too long.
    pub(super) async fn news(&self) -> Option<FetchOutcome> {
        let mut rounds = self.rounds.subscribe();
        let before = {
            let seen = rounds.borrow();
            if let Some(outcome) = seen.lately(self.min_refetch) {
                return Some(outcome);
            }
            seen.answered
        };
        self.wanted.notify_one();
        let answered = rounds.wait_for(|rounds| rounds.answered != before || rounds.is_over);
        let rounds = tokio::time::timeout(WAIT, answered).await.ok()?.ok()?;
        rounds.last.map(|last| last.outcome)
    }

    /// Ends [`Remote::follow`].
    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Fetches the set now, and again and again, until it is stopped. A fetch that is under way then is brought to its end: requests
    /// may wait for it.
    pub(super) async fn follow(&self, issuer: &Issuer, metrics: &AuthMetrics) {
        self.fetch_now_and_then(issuer, metrics).await;
        self.rounds.send_modify(|rounds| rounds.is_over = true);
    }

    async fn fetch_now_and_then(&self, issuer: &Issuer, metrics: &AuthMetrics) {
        let mut known = Known::default();
        let mut due = Instant::now();
        let mut pause = self.min_refetch;
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
                () = self.wanted.notified() => {
                    // The fetch that was asked for has ended between asking and being heard.
                    if self.lately().is_some() {
                        self.rounds.send_modify(|rounds| rounds.answered += 1);
                        continue;
                    }
                }
            }
            self.rounds.send_modify(|rounds| rounds.is_running = true);
            let began = Instant::now();
            let fetched = self.fetcher.fetch(known.tag.as_ref()).await;
            let taken = fetched.and_then(|fetched| {
                let max_age = fetched.max_age;
                let outcome = known.take(fetched, issuer, began + self.max_stale)?;
                Ok((outcome, max_age.unwrap_or(self.refresh)))
            });
            let outcome = match taken {
                Ok((outcome, max_age)) => {
                    due = Instant::now() + max_age.clamp(self.min_refetch, self.refresh);
                    pause = self.min_refetch;
                    outcome
                }
                Err(error) => {
                    let issuer = &issuer.config.issuer;
                    tracing::warn!(issuer, %error, "the issuer's keys cannot be fetched");
                    due = Instant::now() + pause;
                    pause = (pause * 2).min(self.refresh);
                    FetchOutcome::Failed
                }
            };
            metrics.fetched(outcome);
            self.rounds.send_modify(|rounds| rounds.end(outcome));
        }
    }
}

impl Rounds {
    fn lately(&self, min_refetch: Duration) -> Option<FetchOutcome> {
        let last = self.last.filter(|_| !self.is_running)?;
        (last.ended.elapsed() < min_refetch).then_some(last.outcome)
    }

    fn end(&mut self, outcome: FetchOutcome) {
        *self = Self {
            answered: self.answered + 1,
            is_running: false,
            is_over: false,
            last: Some(Last {
                ended: Instant::now(),
                outcome,
            }),
        };
    }
}

impl Known {
    /// Gives a set to its issuer. One that is as before only lets the keys count for longer, so that tokens stay verified.
    fn take(
        &mut self,
        fetched: Fetched,
        issuer: &Issuer,
        until: Instant,
    ) -> Result<FetchOutcome, FetchError> {
        let digest = fetched
            .document
            .as_ref()
            .map(|document| Sha256::digest(document).into());
        let outcome = match fetched.document {
            Some(document) if digest != self.digest => {
                issuer
                    .take(&document, until)
                    .map_err(FetchError::Document)?;
                self.digest = digest;
                FetchOutcome::Fetched
            }
            _ => {
                issuer.prolong(until);
                FetchOutcome::Unchanged
            }
        };
        self.tag = fetched.tag;
        Ok(outcome)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_too_soon_for_a_while_after_a_fetch() {
        let mut rounds = Rounds::default();
        let pause = Duration::from_secs(10);
        assert_eq!(rounds.lately(pause), None);
        rounds.end(FetchOutcome::Failed);
        assert_eq!(rounds.lately(pause), Some(FetchOutcome::Failed));
        // Who comes while one is under way waits for that one.
        rounds.is_running = true;
        assert_eq!(rounds.lately(pause), None);
        rounds.end(FetchOutcome::Fetched);
        tokio::time::advance(pause - Duration::from_millis(1)).await;
        assert_eq!(rounds.lately(pause), Some(FetchOutcome::Fetched));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(rounds.lately(pause), None);
    }
}
