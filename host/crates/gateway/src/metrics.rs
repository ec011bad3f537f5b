//! What the gateway measures of who is let in. Never by tenant or subject: those are as many as there are clients.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Meter};

/// How it ended to find out who sends a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A token was verified, or a key was known.
    Ok,
    /// A token had been verified before.
    Cached,
    /// There were no credentials.
    Missing,
    /// The credentials are no token and no key.
    Malformed,
    /// The token is signed in a way that is not accepted.
    Algorithm,
    /// The token is from somebody who is not believed.
    Issuer,
    /// There is no such key.
    UnknownKey,
    /// The signature does not fit.
    Signature,
    /// A claim is missing or makes no sense.
    Claims,
    /// The token is for somebody else.
    Audience,
    /// The token or the key was good once.
    Expired,
    /// The token will be good later.
    Early,
    /// The keys that would verify the token are not there.
    Unavailable,
}

/// How a fetch of a key set ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FetchOutcome {
    /// There was a new set.
    Fetched,
    /// There was the same as before.
    Unchanged,
    /// There was none.
    Failed,
}

/// The instruments.
pub(crate) struct AuthMetrics {
    authentications: [BoundCounter<u64>; Outcome::ALL.len()],
    fetches: [BoundCounter<u64>; FetchOutcome::ALL.len()],
}

impl Outcome {
    const ALL: [Self; 13] = [
        Self::Ok,
        Self::Cached,
        Self::Missing,
        Self::Malformed,
        Self::Algorithm,
        Self::Issuer,
        Self::UnknownKey,
        Self::Signature,
        Self::Claims,
        Self::Audience,
        Self::Expired,
        Self::Early,
        Self::Unavailable,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Cached => "cached",
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Issuer => "issuer",
            Self::UnknownKey => "unknown-key",
            Self::Signature => "signature",
            Self::Claims => "claims",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Unavailable => "unavailable",
        }
    }
}

impl FetchOutcome {
    const ALL: [Self; 3] = [Self::Fetched, Self::Unchanged, Self::Failed];

    const fn name(self) -> &'static str {
        match self {
            Self::Fetched => "fetched",
            Self::Unchanged => "unchanged",
            Self::Failed => "failed",
        }
    }
}

impl AuthMetrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        let authentications = meter
            .u64_counter("gateway_authentication")
            .with_description(
                "Requests by how it ended to find out who sends them: ok, cached, missing, malformed, algorithm, issuer, \
                 unknown-key, signature, claims, audience, expired, early, unavailable",
            )
            .build();
        let fetches = meter
            .u64_counter("gateway_key_fetch")
            .with_description("Fetches of issuers' key sets by outcome: fetched, unchanged, failed")
            .build();
        let outcome = |name| [KeyValue::new("outcome", name)];
        Self {
            authentications: Outcome::ALL.map(|one| authentications.bind(&outcome(one.name()))),
            fetches: FetchOutcome::ALL.map(|one| fetches.bind(&outcome(one.name()))),
        }
    }

    pub(crate) fn authenticated(&self, outcome: Outcome) {
        self.authentications[outcome as usize].add(1);
    }

    pub(crate) fn fetched(&self, outcome: FetchOutcome) {
        self.fetches[outcome as usize].add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_counts_under_its_own_name() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at, "{}", outcome.name());
        }
        for (at, outcome) in FetchOutcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at, "{}", outcome.name());
        }
    }
}
