//! Quotas counted in this process.
//!
//! A tenant is looked up in a sharded map and counted under a lock of its own, so that tenants do not wait for each other, and a
//! request of a tenant that is known allocates nothing but its place, where places are counted. Who has all of their quota again needs no
//! entry: such entries go when the map is swept, at an insertion and never by a clock.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use dashmap::DashMap;
use parking_lot::Mutex;

use super::claim::{Claim, Good, PARTS, Part, Standing, Taken};
use super::clock::Clock;
use super::gcra::{Meter, Rate};

/// The least time between sweeps, in microseconds: a map that is full of busy tenants is not swept for every stranger.
const SWEEP: u64 = 1_000_000;

/// What has been taken of the quotas, by tenant.
pub(crate) struct Memory {
    accounts: DashMap<Arc<str>, Arc<Mutex<Account>>>,
    most: usize,
    swept: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// There is no room for one more tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

/// What a tenant has taken, of the whole and of each model that has limits of its own.
#[derive(Default)]
struct Account {
    whole: Usage,
    models: BTreeMap<Arc<str>, Usage>,
}

#[derive(Clone, Copy, Default)]
struct Usage {
    requests: Meter,
    tokens: Meter,
    /// The requests that are worked on.
    running: u32,
}

impl Memory {
    pub(crate) fn new(most: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            accounts: DashMap::new(),
            most,
            swept: AtomicU64::new(0),
            clock,
        }
    }

    /// The tenants that are counted.
    pub(crate) fn tenants(&self) -> usize {
        self.accounts.len()
    }

    /// Takes what a claim says, or nothing. The place is given back by dropping it; there is none where none is counted.
    ///
    /// # Errors
    /// Where the tenant is new, and the map is full of tenants that have not all of their quota.
    pub(crate) fn take(&self, claim: &Claim<'_>) -> Result<Taken<Option<Place>>, Crowded> {
        let now = self.clock.now();
        if let Some(account) = self.accounts.get(claim.tenant) {
            return Ok(take(&account, claim, now));
        }
        let account = self.open(claim.tenant, now)?;
        Ok(take(&account, claim, now))
    }

    /// Sets tokens aside as [`Memory::take`] does, so that they can be settled.
    ///
    /// # Errors
    /// As [`Memory::take`].
    pub(crate) fn reserve(self: &Arc<Self>, claim: &Claim<'_>) -> Result<Taken<Reserved>, Crowded> {
        let taken = self.take(claim)?;
        Ok(taken.map(|_| Reserved {
            memory: Arc::clone(self),
            tenant: claim.tenant.into(),
            model: claim.model.map(Arc::from),
            rates: claim.rates,
            tokens: claim.units,
        }))
    }

    fn open(&self, tenant: &str, now: u64) -> Result<Arc<Mutex<Account>>, Crowded> {
        let full = self.accounts.len() >= self.most;
        let swept = self.swept.load(Relaxed);
        let due = now.saturating_sub(swept) >= if full { SWEEP } else { 60 * SWEEP };
        let claimed = || {
            self.swept
                .compare_exchange(swept, now, Relaxed, Relaxed)
                .is_ok()
        };
        if due && claimed() {
            // Whoever holds the account as well has a place in it, or is about to take one.
            self.accounts.retain(|_, account| {
                Arc::strong_count(account) > 1 || !account.lock().is_settled(now)
            });
        }
        if self.accounts.len() >= self.most && !self.accounts.contains_key(tenant) {
            return Err(Crowded);
        }
        let account = self.accounts.entry(tenant.into()).or_default();
        Ok(Arc::clone(&account))
    }
}

fn take(account: &Arc<Mutex<Account>>, claim: &Claim<'_>, now: u64) -> Taken<Option<Place>> {
    let mut locked = account.lock();
    let mut standing = Standing::default();
    for part in Part::ALL {
        if let Some(usage) = locked.usage(part, claim.model) {
            standing.debts[part as usize] = usage.meter(claim.of).debt(now);
            standing.running[part as usize] = usage.running;
        }
    }
    let debts = match claim.judge(&standing) {
        Ok(debts) => debts,
        Err(refusal) => {
            return Taken {
                debts: standing.debts,
                outcome: Err(refusal),
            };
        }
    };
    let counted = claim.places.map(|most| most.is_some());
    for part in Part::ALL {
        let limited = claim.rates[part as usize].is_some() || counted[part as usize];
        let Some(usage) = limited
            .then(|| locked.usage_mut(part, claim.model))
            .flatten()
        else {
            continue;
        };
        usage.meter_mut(claim.of).owe(debts[part as usize], now);
        usage.running += u32::from(counted[part as usize]);
    }
    drop(locked);
    let place = counted.contains(&true).then(|| Place {
        account: Arc::clone(account),
        model: claim.model.map(Arc::from),
        counted,
    });
    Taken {
        debts,
        outcome: Ok(place),
    }
}

impl Account {
    fn usage(&self, part: Part, model: Option<&str>) -> Option<&Usage> {
        match part {
            Part::Whole => Some(&self.whole),
            Part::Model => self.models.get(model?),
        }
    }

    fn usage_mut(&mut self, part: Part, model: Option<&str>) -> Option<&mut Usage> {
        if part == Part::Whole {
            return Some(&mut self.whole);
        }
        let model = model?;
        if !self.models.contains_key(model) {
            self.models.insert(model.into(), Usage::default());
        }
        self.models.get_mut(model)
    }

    /// Whether nothing is owed and nobody is at work: then it is as good as a new one.
    fn is_settled(&self, now: u64) -> bool {
        let settled = |usage: &Usage| {
            usage.running == 0 && usage.requests.debt(now) == 0 && usage.tokens.debt(now) == 0
        };
        settled(&self.whole) && self.models.values().all(settled)
    }
}

impl Usage {
    fn meter(&self, of: Good) -> Meter {
        match of {
            Good::Requests => self.requests,
            Good::Tokens => self.tokens,
        }
    }

    fn meter_mut(&mut self, of: Good) -> &mut Meter {
        match of {
            Good::Requests => &mut self.requests,
            Good::Tokens => &mut self.tokens,
        }
    }
}

/// A place among the requests of a tenant, given back on drop.
pub(crate) struct Place {
    account: Arc<Mutex<Account>>,
    model: Option<Arc<str>>,
    counted: [bool; PARTS],
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut account = self.account.lock();
        for part in Part::ALL {
            if self.counted[part as usize]
                && let Some(usage) = account.usage_mut(part, self.model.as_deref())
            {
                usage.running = usage.running.saturating_sub(1);
            }
        }
    }
}

/// Tokens that are set aside.
pub(crate) struct Reserved {
    memory: Arc<Memory>,
    tenant: Arc<str>,
    model: Option<Arc<str>>,
    rates: [Option<Rate>; PARTS],
    tokens: u64,
}

impl Reserved {
    pub(crate) fn settle(&self, used: u64) {
        let now = self.memory.clock.now();
        // A tenant without an account has paid for all of it, unless it used more than was set aside.
        let account = match self.memory.accounts.get(&*self.tenant) {
            Some(account) => Arc::clone(&account),
            None if used <= self.tokens => return,
            None => match self.memory.open(&self.tenant, now) {
                Ok(account) => account,
                Err(Crowded) => return,
            },
        };
        let mut account = account.lock();
        for part in Part::ALL {
            if let Some(rate) = self.rates[part as usize]
                && let Some(usage) = account.usage_mut(part, self.model.as_deref())
            {
                let debt = rate.settle(usage.tokens.debt(now), self.tokens, used);
                usage.tokens.owe(debt, now);
            }
        }
    }
}

#[cfg(test)]
mod tests;
