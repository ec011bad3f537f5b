//! The breakers of a release: one for each tenant, so that what one of them sends pauses the plugin for no other. Requests
//! without a tenant share one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;

use super::{Breaker, BreakerSettings, Change, Fate, Permit};

/// The most tenants whose calls trap at one time. Those beyond are not paused: to pause everybody for them would be worse.
const MOST_TENANTS: usize = 256;

#[derive(Default)]
pub(crate) struct Breakers {
    shared: Breaker,
    /// Whether a call of a tenant ever trapped: all that tenants of a plugin which works pay for.
    any: AtomicBool,
    /// Of tenants of whose last calls one trapped, not long ago: others need none.
    tenants: RwLock<HashMap<Arc<str>, Arc<Breaker>>>,
}

impl Breakers {
    /// Lets a call of a tenant through.
    ///
    /// # Errors
    /// How long no call is made.
    pub(crate) fn admit(
        &self,
        tenant: Option<&Arc<str>>,
        settings: impl FnOnce() -> BreakerSettings,
    ) -> Result<Permit, Duration> {
        let Some(tenant) = tenant else {
            return self.shared.admit(settings);
        };
        match self.known(tenant) {
            Some(breaker) => breaker.admit(settings),
            None => Ok(Permit::Call),
        }
    }

    /// Takes what a call of a tenant came to.
    pub(crate) fn ended(
        &self,
        tenant: Option<&Arc<str>>,
        permit: &Permit,
        fate: Fate,
        settings: impl FnOnce() -> BreakerSettings,
    ) -> Change {
        let Some(tenant) = tenant else {
            return self.shared.ended(permit, fate, settings);
        };
        if fate != Fate::Fault {
            let breaker = self.known(tenant);
            return breaker.map_or(Change::None, |breaker| {
                breaker.ended(permit, fate, settings)
            });
        }
        let settings = settings();
        let breaker = self.made(tenant, settings.longest);
        breaker.map_or(Change::None, |breaker| {
            breaker.ended(permit, fate, || settings)
        })
    }

    fn known(&self, tenant: &str) -> Option<Arc<Breaker>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.tenants.read().get(tenant).cloned()
    }

    /// The breaker of a tenant; none where there are too many. One whose tenant trapped last before the longest pause gives way:
    /// it may never call again, and if it does, its call is made whatever the breaker knows.
    fn made(&self, tenant: &Arc<str>, longest: Duration) -> Option<Arc<Breaker>> {
        if let Some(breaker) = self.known(tenant) {
            return Some(breaker);
        }
        let mut tenants = self.tenants.write();
        if tenants.len() >= MOST_TENANTS {
            tenants.retain(|_, breaker| !breaker.is_clean() && !breaker.is_stale(longest));
        }
        if tenants.len() >= MOST_TENANTS {
            return None;
        }
        let breaker = Arc::clone(tenants.entry(Arc::clone(tenant)).or_default());
        self.any.store(true, Ordering::Release);
        Some(breaker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> BreakerSettings {
        BreakerSettings {
            faults: 2,
            pause: Duration::from_secs(36_000),
            longest: Duration::from_secs(36_000),
        }
    }

    fn call(breakers: &Breakers, tenant: Option<&Arc<str>>, fate: Fate) -> Change {
        let permit = breakers.admit(tenant, settings).expect("calls are made");
        breakers.ended(tenant, &permit, fate, settings)
    }

    #[test]
    fn what_one_tenant_sends_pauses_the_plugin_for_no_other() {
        let breakers = Breakers::default();
        let [bad, good]: [Arc<str>; 2] = ["bad".into(), "good".into()];
        assert_eq!(call(&breakers, Some(&bad), Fate::Fault), Change::None);
        assert_eq!(call(&breakers, Some(&good), Fate::Ended), Change::None);
        assert!(matches!(
            call(&breakers, Some(&bad), Fate::Fault),
            Change::Opened(_)
        ));
        breakers
            .admit(Some(&bad), settings)
            .expect_err("it is paused");
        assert_eq!(breakers.admit(Some(&good), settings), Ok(Permit::Call));
        assert_eq!(breakers.admit(None, settings), Ok(Permit::Call));
    }

    #[test]
    fn their_number_is_bounded_and_those_that_trap_no_more_give_way() {
        let breakers = Breakers::default();
        let tenant = |number: usize| -> Arc<str> { number.to_string().into() };
        for number in 0..MOST_TENANTS {
            call(&breakers, Some(&tenant(number)), Fate::Fault);
        }
        let late = tenant(MOST_TENANTS);
        for _ in 0..10 {
            assert_eq!(call(&breakers, Some(&late), Fate::Fault), Change::None);
        }
        for _ in 0..32 {
            call(&breakers, Some(&tenant(0)), Fate::Ended);
        }
        assert_eq!(call(&breakers, Some(&late), Fate::Fault), Change::None);
        assert!(matches!(
            call(&breakers, Some(&late), Fate::Fault),
            Change::Opened(_)
        ));
        assert_eq!(breakers.tenants.read().len(), MOST_TENANTS);
        assert!(breakers.known("0").is_none());
    }

    #[test]
    fn those_that_call_no_more_give_way() {
        let breakers = Breakers::default();
        let soon = || BreakerSettings {
            longest: Duration::ZERO,
            pause: Duration::ZERO,
            ..settings()
        };
        // Closed ones and open ones.
        for number in 0..MOST_TENANTS {
            let tenant = Arc::from(number.to_string());
            for _ in 0..1 + number % 2 {
                breakers.ended(Some(&tenant), &Permit::Call, Fate::Fault, soon);
            }
        }
        let late = Arc::from("late");
        breakers.ended(Some(&late), &Permit::Call, Fate::Fault, soon);
        assert!(breakers.known("late").is_some());
        assert_eq!(breakers.tenants.read().len(), 1);
    }
}
