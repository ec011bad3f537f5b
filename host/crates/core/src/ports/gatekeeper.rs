//! The port of the gateway: who sends a request, and how much they may.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use super::BoxFuture;
use crate::{Principal, Result};

/// What stands between clients and what is served. It is asked on every request's path, and mostly answers at once.
pub trait Gatekeeper: Send + Sync + 'static {
    /// Whether credentials say what their owners may do. Where they only say who sends a request, the server's own settings say whether
    /// clients may change it.
    fn grants_scopes(&self) -> bool;

    /// Finds out who sends a request, by its header fields; of a call of gRPC, by its metadata.
    ///
    /// # Errors
    /// `Unauthenticated` where the credentials are missing or wrong; `Unavailable` where they cannot be verified now.
    fn identify<'a>(&'a self, fields: &'a HeaderMap) -> Prompt<'a, Result<Arc<Principal>>>;

    /// Counts a request of theirs for a route against the quotas of their tenant.
    fn admit<'a>(&'a self, principal: &'a Principal, route: &'a str) -> Prompt<'a, Admission>;

    /// Sets tokens of the tenant's budget aside before it is known how many a request uses: as many as it may use at most.
    ///
    /// # Errors
    /// `QuotaExceeded` where so many are not left; `Unavailable` where the budget cannot be looked at.
    fn reserve<'a>(
        &'a self,
        principal: &'a Principal,
        route: &'a str,
        tokens: u64,
    ) -> Prompt<'a, Result<Box<dyn TokenReserve>>>;
}

/// Tokens that are set aside. Dropped without being settled, they are used up: whoever does not say what was used has used all.
pub trait TokenReserve: Send + Sync {
    /// Says how many were used. What is left goes back; what is more is taken from what comes.
    fn settle(self: Box<Self>, used: u64);
}

/// Whether a request may go on, and what is left of the quota that came closest to its end.
#[derive(Debug)]
pub struct Admission {
    /// The place that it takes; or `QuotaExceeded` with the time to wait, or `Unavailable` where the quotas cannot be looked at.
    pub outcome: Result<Permit>,
    /// For the answer's fields `RateLimit-Policy` and `RateLimit`; none where the tenant has no quota.
    pub quota: Option<Quota>,
}

/// A request's place among those of its tenant, given back on drop.
#[derive(Default)]
pub struct Permit(Option<Box<dyn Any + Send + Sync>>);

impl Permit {
    /// Makes one that holds what is to be given back.
    #[must_use]
    pub fn holding(held: impl Any + Send + Sync) -> Self {
        Self(Some(Box::new(held)))
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Permit").field(&self.0.is_some()).finish()
    }
}

/// What is left of a quota.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The name of the policy: the plan, or the plan and the model.
    pub policy: Arc<str>,
    /// The requests of a window.
    pub limit: u64,
    /// The window.
    pub window: Duration,
    /// The requests that would be admitted now.
    pub remaining: u64,
    /// How long until all of the burst would be.
    pub reset: Duration,
}

/// An answer that is mostly there at once. Where it is, nothing is boxed.
pub enum Prompt<'a, T> {
    /// It is there.
    Now(T),
    /// It has to be waited for.
    Later(BoxFuture<'a, T>),
}

impl<T> Prompt<'_, T> {
    /// Gives it, and waits for it where it is not there.
    pub async fn get(self) -> T {
        match self {
            Self::Now(answer) => answer,
            Self::Later(coming) => coming.await,
        }
    }
}
