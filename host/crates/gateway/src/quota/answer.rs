//! What a client is told: the errors of refusals, and what is left of a quota.

use std::time::Duration;

use wharf_core::{Error, ErrorKind, Quota};

use super::claim::{Claim, PARTS, Part, Refusal};
use super::gcra::Wait;
use super::plans::Plan;

/// When a client without a place may ask again: nobody knows when one is free.
const PLACE: Duration = Duration::from_secs(1);
/// When a client may ask again while quotas cannot be looked at.
const DOWN: Duration = Duration::from_secs(1);

/// Why a claim was refused, for its client.
pub(crate) fn refused(plan: &Plan, claim: &Claim<'_>, route: &str, refusal: Refusal) -> Error {
    use super::claim::Good::{Requests, Tokens};
    let (Refusal::Rate(part, _) | Refusal::Places(part)) = refusal;
    let Some(limits) = plan.limits(part, route) else {
        return quota_exceeded(format!("the plan {:?} allows no more", plan.name));
    };
    match (refusal, claim.of) {
        (Refusal::Places(_), _) => {
            let limit = &limits.words.places;
            quota_exceeded(format!("{limit}; wait for an answer before the next one"))
                .with_retry_after(PLACE)
        }
        (Refusal::Rate(_, Wait::For(wait)), Requests) => again_after(&limits.words.requests, wait),
        (Refusal::Rate(_, Wait::For(wait)), Tokens) => again_after(&limits.words.tokens, wait),
        (Refusal::Rate(_, Wait::Never), Requests) => quota_exceeded(limits.words.requests.clone()),
        (Refusal::Rate(_, Wait::Never), Tokens) => quota_exceeded(format!(
            "{}, and this request may use {}: make it smaller",
            limits.words.tokens, claim.units
        )),
    }
}

/// The quotas cannot be looked at.
pub(crate) fn unavailable() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the quotas cannot be looked at now; try again later",
    )
    .with_retry_after(DOWN)
}

/// What is left of the rate that came closest to its end, where one applies: by the debts after the claim.
pub(crate) fn quota(
    plan: &Plan,
    claim: &Claim<'_>,
    route: &str,
    debts: [u64; PARTS],
    refusal: Option<Refusal>,
) -> Option<Quota> {
    let of = |part: Part| {
        let rate = claim.rates[part as usize]?;
        let debt = debts[part as usize];
        Some((part, rate, rate.remaining(debt), Duration::from_nanos(debt)))
    };
    let refusing = match refusal {
        Some(Refusal::Rate(part, _)) => of(part),
        _ => None,
    };
    let rates: [_; PARTS] = Part::ALL.map(of);
    let tightest = rates
        .into_iter()
        .flatten()
        .min_by_key(|(_, _, remaining, reset)| (*remaining, std::cmp::Reverse(*reset)));
    let (part, rate, remaining, reset) = refusing.or(tightest)?;
    let limits = plan.limits(part, route)?;
    Some(Quota {
        policy: limits.policy.clone(),
        limit: rate.within(limits.window),
        window: limits.window,
        remaining,
        reset,
    })
}

fn quota_exceeded(message: String) -> Error {
    Error::new(ErrorKind::QuotaExceeded, message)
}

fn again_after(limit: &str, wait: Duration) -> Error {
    // Up to whole milliseconds, and never none of them.
    let millis = wait.as_nanos().div_ceil(1_000_000).max(1);
    let when = if millis < 10_000 {
        format!("{millis} ms")
    } else {
        format!("{} s", millis.div_ceil(1000))
    };
    quota_exceeded(format!("{limit}; try again in {when}")).with_retry_after(wait)
}
