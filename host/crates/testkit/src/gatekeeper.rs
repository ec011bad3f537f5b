//! A fake of the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use parking_lot::Mutex;
use wharf_core::{
    Admission, Error, ErrorKind, Gatekeeper, Permit, Principal, Prompt, Quota, Result, Scope,
    TokenReserve,
};

/// Knows its callers by the key in `x-api-key`, and gives each a number of requests.
#[derive(Default)]
pub struct FakeGatekeeper {
    callers: Mutex<BTreeMap<String, Arc<Principal>>>,
    /// The requests that are left, by subject; none without a quota.
    left: Mutex<BTreeMap<String, u64>>,
    /// The requests that hold a permit.
    held: Arc<AtomicU64>,
}

impl FakeGatekeeper {
    /// Lets a caller in by a key of its own name.
    ///
    /// # Panics
    /// Where a scope is none.
    #[must_use]
    pub fn with(self, subject: &str, tenant: Option<&str>, scopes: &[&str]) -> Self {
        let scope = |scope: &&str| Scope::parse(scope).expect("a scope");
        let context = format!("{{\"user\":\"{subject}\",\"roles\":[]}}");
        let principal = Principal {
            tenant: tenant.map(Into::into),
            subject: subject.into(),
            roles: Vec::new(),
            scopes: scopes.iter().map(scope).collect(),
            context: HeaderValue::from_str(&context).expect("a name"),
        };
        let mut callers = self.callers.lock();
        callers.insert(subject.to_owned(), Arc::new(principal));
        drop(callers);
        self
    }

    /// Gives a caller so many requests, and no more.
    #[must_use]
    pub fn limited(self, subject: &str, requests: u64) -> Self {
        self.left.lock().insert(subject.to_owned(), requests);
        self
    }

    /// Lets a caller in no more.
    pub fn forget(&self, subject: &str) {
        self.callers.lock().remove(subject);
    }

    /// The requests that hold a permit.
    #[must_use]
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::SeqCst)
    }
}

impl Gatekeeper for FakeGatekeeper {
    fn grants_scopes(&self) -> bool {
        true
    }

    fn identify<'a>(&'a self, fields: &'a HeaderMap) -> Prompt<'a, Result<Arc<Principal>>> {
        let key = fields.get("x-api-key").and_then(|key| key.to_str().ok());
        let caller = key.and_then(|key| self.callers.lock().get(key).cloned());
        let unknown = || {
            let message = "no credentials that are known here";
            Error::new(ErrorKind::Unauthenticated, message).with_field("authorization")
        };
        Prompt::Now(caller.ok_or_else(unknown))
    }

    fn admit<'a>(&'a self, principal: &'a Principal, route: &'a str) -> Prompt<'a, Admission> {
        let mut left = self.left.lock();
        let Some(left) = left.get_mut(&*principal.subject) else {
            let outcome = Ok(Permit::holding(Held::new(&self.held)));
            let quota = None;
            return Prompt::Now(Admission { outcome, quota });
        };
        let outcome = match left.checked_sub(1) {
            Some(rest) => {
                *left = rest;
                Ok(Permit::holding(Held::new(&self.held)))
            }
            None => {
                let message = format!("no requests for {route} are left");
                let error = Error::new(ErrorKind::QuotaExceeded, message);
                Err(error.with_retry_after(Duration::from_secs(3)))
            }
        };
        let quota = Some(Quota {
            policy: "fake".into(),
            limit: 10,
            window: Duration::from_secs(60),
            remaining: *left,
            reset: Duration::from_secs(3),
        });
        Prompt::Now(Admission { outcome, quota })
    }

    fn reserve<'a>(
        &'a self,
        _principal: &'a Principal,
        _route: &'a str,
        _tokens: u64,
    ) -> Prompt<'a, Result<Box<dyn TokenReserve>>> {
        Prompt::Now(Ok(Box::new(Unlimited)))
    }
}

struct Held(Arc<AtomicU64>);

impl Held {
    fn new(held: &Arc<AtomicU64>) -> Self {
        held.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(held))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Unlimited;

impl TokenReserve for Unlimited {
    fn settle(self: Box<Self>, _used: u64) {}
}
