//! The scripts that Redis runs, and what goes into and comes out of them. Redis runs a script as one: nobody sees or changes anything
//! in between.

use std::sync::Arc;
use std::time::Duration;

use redis::{Pipeline, Script, ScriptInvocation};

use super::super::claim::{Claim, Good, PARTS, Part, Standing};
use super::super::gcra::MOST_DEBT;

const TAKE: &str = concat!(include_str!("meter.lua"), include_str!("take.lua"));
const SETTLE: &str = concat!(include_str!("meter.lua"), include_str!("settle.lua"));
const RENEW: &str = concat!(include_str!("meter.lua"), include_str!("renew.lua"));

/// In place of a time, it says that Redis' own counts.
pub(super) const OWN_TIME: u64 = 0;

/// The script on every request's path. It is named by its digest, and sent whole where Redis does not know it.
pub(super) struct Take(Script);

/// A name in the sets of places, for so long.
#[derive(Clone, Copy)]
pub(super) struct Term<'a> {
    pub(super) name: &'a str,
    pub(super) length: Duration,
}

impl Take {
    pub(super) fn new() -> Self {
        Self(Script::new(TAKE))
    }

    /// What asks Redis for a claim: in one round trip, whatever limits apply. The time is in microseconds.
    pub(super) fn of(
        &self,
        keys: &Keys,
        claim: &Claim<'_>,
        term: Term<'_>,
        now: u64,
    ) -> ScriptInvocation<'_> {
        let mut script = self.0.prepare_invoke();
        script.arg(now).arg(keys.meters.len());
        for key in keys.meters.iter().chain(keys.places.iter()) {
            script.key(key);
        }
        for rate in claim.rates.iter().flatten() {
            // What is more than the burst is beyond every debt that is allowed.
            script.arg(rate.cost(claim.units)).arg(rate.capacity());
        }
        script.arg(term.name).arg(micros(term.length));
        for most in claim.places.iter().flatten() {
            script.arg(*most);
        }
        script
    }
}

/// What Redis said to a claim: whether it was taken, and how things stood before; none where that cannot be.
pub(super) fn answer(claim: &Claim<'_>, answer: &[u64]) -> Option<(bool, Standing)> {
    let (taken, mut numbers) = answer
        .split_first()
        .map(|(taken, rest)| (*taken == 1, rest.iter()))?;
    let mut standing = Standing::default();
    for part in Part::ALL {
        if claim.rates[part as usize].is_some() {
            standing.debts[part as usize] = *numbers.next()?;
        }
    }
    for part in Part::ALL {
        if claim.places[part as usize].is_some() {
            standing.running[part as usize] = u32::try_from(*numbers.next()?).ok()?;
        }
    }
    numbers.next().is_none().then_some((taken, standing))
}

/// Adds to a pipeline what changes debts by so many nanoseconds each.
pub(super) fn settle(pipeline: &mut Pipeline, keys: &[String], differences: &[i64], now: u64) {
    let command = pipeline.cmd("EVAL").arg(SETTLE).arg(keys.len()).arg(keys);
    command.arg(now).arg(MOST_DEBT).arg(differences).ignore();
}

/// Adds to a pipeline what prolongs leases in a set of places.
pub(super) fn renew(pipeline: &mut Pipeline, key: &str, names: &[String], length: Duration) {
    let command = pipeline.cmd("EVAL").arg(RENEW).arg(1).arg(key);
    command
        .arg(OWN_TIME)
        .arg(micros(length))
        .arg(names)
        .ignore();
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// The keys of a claim. Those of a tenant have its name in braces: a cluster keeps them together.
pub(super) struct Keys {
    /// Of each rate.
    pub(super) meters: Vec<String>,
    /// Of each number of places.
    pub(super) places: Arc<[String]>,
}

impl Keys {
    pub(super) fn of(prefix: &str, claim: &Claim<'_>) -> Self {
        let kind = match claim.of {
            Good::Requests => "requests",
            Good::Tokens => "tokens",
        };
        let key = |kind: &str, part: Part| match (part, claim.model) {
            (Part::Model, Some(model)) => format!("{prefix}:{{{}}}:{kind}:{model}", claim.tenant),
            _ => format!("{prefix}:{{{}}}:{kind}", claim.tenant),
        };
        let keys = |kind: &str, limited: [bool; PARTS]| {
            let parts = Part::ALL.into_iter().filter(|part| limited[*part as usize]);
            parts.map(|part| key(kind, part)).collect::<Vec<_>>()
        };
        Self {
            meters: keys(kind, claim.rates.map(|rate| rate.is_some())),
            places: keys("places", claim.places.map(|most| most.is_some())).into(),
        }
    }
}
