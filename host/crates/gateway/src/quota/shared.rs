//! Quotas counted in Redis, by all processes together.
//!
//! A claim costs one round trip, whatever limits apply to it: one script looks at all of them and takes from all or none. What is given
//! back goes to Redis by a task that nobody waits for. Where Redis does not answer, this says so at once, and the caller decides by
//! `when_down`.

mod dial;
mod errand;
mod keeper;
mod lease;
mod link;
mod script;

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::claim::{Claim, Standing, Taken};
use super::config::{StoreConfig, WhenDown};
use super::gcra::Rate;
use super::metrics::Metrics;
use errand::{Errand, Errands};
use keeper::{Keeper, Times};
use lease::Leases;
use link::{Fault, Link, in_time};
use script::{Keys, Take, Term};

pub(crate) use dial::Dial;
pub(crate) use lease::Lease;

/// The quotas in Redis.
pub(crate) struct Shared {
    prefix: String,
    times: Times,
    take: Take,
    link: Arc<Link>,
    leases: Arc<Leases>,
    errands: Errands,
    stop: CancellationToken,
    keeper: Mutex<Option<JoinHandle<()>>>,
    metrics: Metrics,
}

/// Redis does not answer, or refuses to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Down;

impl Shared {
    /// Begins to connect; whether that succeeds is found out by the first requests. Runs on a runtime.
    pub(crate) fn open(dial: Dial, config: &StoreConfig, metrics: &Metrics) -> Self {
        let times = Times {
            timeout: Duration::from_millis(config.timeout_ms.into()),
            lease: Duration::from_secs(config.lease_s.into()),
        };
        let meanwhile = match config.when_down {
            WhenDown::Closed => "tenants with a quota are refused",
            WhenDown::Local => "this process gives its part of every quota",
        };
        let (errands, receiver) = Errands::new(metrics.clone());
        let link = Arc::new(Link::new(meanwhile, metrics.clone()));
        let leases = Arc::new(Leases::new(errands.clone()));
        let stop = CancellationToken::new();
        let keeper = Keeper {
            dial,
            times,
            link: Arc::clone(&link),
            leases: Arc::clone(&leases),
            errands: receiver,
            stop: stop.clone(),
            metrics: metrics.clone(),
        };
        Self {
            prefix: config.prefix.clone(),
            times,
            take: Take::new(),
            link,
            leases,
            errands,
            stop,
            keeper: Mutex::new(Some(tokio::spawn(keeper.work()))),
            metrics: metrics.clone(),
        }
    }

    /// Takes what a claim says, or nothing. The place is given back by dropping it, also where nobody waits for this any more; there is
    /// none where none is counted.
    ///
    /// # Errors
    /// Where Redis does not answer.
    pub(crate) async fn take(&self, claim: &Claim<'_>) -> Result<Taken<Option<Lease>>, Down> {
        let keys = Keys::of(&self.prefix, claim);
        let lease = self.leases.prepare(&keys.places);
        let standing = match self.ask(&keys, claim, &lease.name).await? {
            (true, standing) => {
                return Ok(Taken {
                    // The script judged alike.
                    debts: claim.judge(&standing).unwrap_or(standing.debts),
                    outcome: Ok(lease.given()),
                });
            }
            (false, standing) => standing,
        };
        lease.refused();
        match claim.judge(&standing) {
            Err(refusal) => Ok(Taken {
                debts: standing.debts,
                outcome: Err(refusal),
            }),
            Ok(_) => {
                tracing::error!(
                    "redis refused what it says to have; is it another version of the script's?"
                );
                Err(Down)
            }
        }
    }

    /// Sets tokens aside as [`Shared::take`] does, so that they can be settled.
    ///
    /// # Errors
    /// As [`Shared::take`].
    pub(crate) async fn reserve(&self, claim: &Claim<'_>) -> Result<Taken<Reserved>, Down> {
        let taken = self.take(claim).await?;
        Ok(taken.map(|_| Reserved {
            errands: self.errands.clone(),
            keys: Keys::of(&self.prefix, claim).meters,
            rates: claim.rates.into_iter().flatten().collect(),
            tokens: claim.units,
        }))
    }

    /// Gives back what is left to give back, and ends the task.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        let keeper = self.keeper.lock().take();
        if let Some(keeper) = keeper
            && let Err(error) = keeper.await
        {
            tracing::error!(%error, "the task that talks to redis failed");
        }
    }

    /// Asks Redis, and once more where the connection breaks meanwhile. A claim whose answer is lost may count twice then; a place does
    /// not, for it has the same name.
    async fn ask(
        &self,
        keys: &Keys,
        claim: &Claim<'_>,
        lease: &str,
    ) -> Result<(bool, Standing), Down> {
        let until = Instant::now() + self.times.timeout;
        let term = Term {
            name: lease,
            length: self.times.lease,
        };
        let answer = match self.ask_once(keys, claim, term, until).await {
            Err(Fault::Broken) => self.ask_once(keys, claim, term, until).await,
            answer => answer,
        };
        answer.map_err(|_| Down)
    }

    async fn ask_once(
        &self,
        keys: &Keys,
        claim: &Claim<'_>,
        term: Term<'_>,
        until: Instant,
    ) -> Result<(bool, Standing), Fault> {
        let connection = self.link.connection(until).await;
        let mut connection = connection.ok_or(Fault::Down)?;
        let call = self.take.of(keys, claim, term, script::OWN_TIME);
        let begun = Instant::now();
        let time = until - begun;
        let answer = in_time(time, call.invoke_async(&mut connection.redis)).await;
        let answer: Vec<u64> = answer.map_err(|error| {
            // Where most of the time went before, it says nothing of the connection that there is no answer.
            let is_late = error.is_timeout() && time < self.times.timeout / 2;
            if is_late {
                Fault::Down
            } else {
                self.link.failed(&connection, &error)
            }
        })?;
        self.metrics.answered(begun.elapsed());
        script::answer(claim, &answer).ok_or_else(|| {
            tracing::error!("redis gives what is no answer of the script");
            Fault::Refused
        })
    }
}

/// Tokens that are set aside.
pub(crate) struct Reserved {
    errands: Errands,
    keys: Vec<String>,
    rates: Vec<Rate>,
    tokens: u64,
}

impl Reserved {
    pub(crate) fn settle(self, used: u64) {
        let Self {
            errands,
            keys,
            rates,
            tokens,
        } = self;
        let differences: Vec<i64> = rates
            .iter()
            .map(|rate| rate.difference(tokens, used))
            .collect();
        if differences.iter().any(|difference| *difference != 0) {
            errands.send(Errand::Settle { keys, differences });
        }
    }
}

#[cfg(test)]
mod tests;
