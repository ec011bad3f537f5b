//! Instances that serve again: of one tenant each, or of everybody.
#![expect(
    clippy::vec_box,
    reason = "an instance goes through many hands, and moving it would cost more than a call"
)]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use wharf_core::RequestContext;

use crate::Limits;
use crate::cache::Tier;
use crate::instance::GuestInstance;

/// Whose instance it is. None for everybody's, and for requests without a tenant.
pub(super) type Tenant = Option<Arc<str>>;

/// The idle instances of each tenant.
pub(super) struct KeptShelf {
    by_tenant: bool,
    tenants: usize,
    instances: usize,
    idle: Duration,
    /// Counted beside the map, so that it is known without its lock.
    kept: AtomicUsize,
    places: Mutex<HashMap<Tenant, Place>>,
}

struct Place {
    /// The one last used is the last: its memory is warm.
    instances: Vec<Box<GuestInstance>>,
    last_used: Instant,
}

impl KeptShelf {
    pub(super) fn by_tenant(limits: &Limits) -> Self {
        Self {
            by_tenant: true,
            tenants: limits.tenants as usize,
            instances: limits.instances as usize,
            idle: Duration::from_secs(limits.idle_s.into()),
            kept: AtomicUsize::new(0),
            places: Mutex::default(),
        }
    }

    pub(super) fn shared(limits: &Limits) -> Self {
        Self {
            by_tenant: false,
            ..Self::by_tenant(limits)
        }
    }

    /// Whose instances the request may use.
    pub(super) fn tenant(&self, request: &RequestContext) -> Tenant {
        if self.by_tenant {
            request.tenant.clone()
        } else {
            None
        }
    }

    /// A request without a tenant shares an instance with nobody where they are kept by tenant.
    fn is_unshared(&self, tenant: &Tenant) -> bool {
        self.by_tenant && tenant.is_none()
    }

    pub(super) fn take(&self, tenant: &Tenant) -> Option<Box<GuestInstance>> {
        let instance = self.places.lock().get_mut(tenant)?.instances.pop()?;
        self.kept.fetch_sub(1, Ordering::AcqRel);
        Some(instance)
    }

    /// Keeps an instance. Gives those that have to go for it.
    pub(super) fn put(
        &self,
        tenant: Tenant,
        instance: Box<GuestInstance>,
    ) -> Vec<Box<GuestInstance>> {
        if self.is_unshared(&tenant) {
            return vec![instance];
        }
        let now = Instant::now();
        let mut places = self.places.lock();
        let mut dropped = Vec::new();
        if let Some(place) = places.get_mut(&tenant) {
            place.last_used = now;
            place.instances.push(instance);
        } else {
            if places.len() >= self.tenants {
                let idlest = places
                    .iter()
                    .min_by_key(|(_, place)| place.last_used)
                    .map(|(tenant, _)| tenant.clone());
                if let Some(place) = idlest.and_then(|idlest| places.remove(&idlest)) {
                    dropped = place.instances;
                }
            }
            places.insert(
                tenant,
                Place {
                    instances: vec![instance],
                    last_used: now,
                },
            );
        }
        drop(places);
        self.kept.fetch_add(1, Ordering::AcqRel);
        self.kept.fetch_sub(dropped.len(), Ordering::AcqRel);
        // Every tenant may keep some, but all together not more than may work at one time.
        if self.len() > self.instances {
            dropped.extend(self.take_idlest());
        }
        dropped
    }

    fn take_idlest(&self) -> Option<Box<GuestInstance>> {
        let mut places = self.places.lock();
        let (_, place) = places
            .iter_mut()
            .filter(|(_, place)| !place.instances.is_empty())
            .min_by_key(|(_, place)| place.last_used)?;
        let instance = place.instances.pop()?;
        drop(places);
        self.kept.fetch_sub(1, Ordering::AcqRel);
        Some(instance)
    }

    /// Whose idle instances have one that runs other code than that of this tier.
    pub(super) fn outdated(&self, tier: Tier) -> Option<Tenant> {
        let places = self.places.lock();
        let (tenant, _) = places.iter().find(|(_, place)| {
            let mut instances = place.instances.iter();
            instances.any(|instance| instance.tier() != tier)
        })?;
        Some(tenant.clone())
    }

    /// Puts an instance in the place of a tenant's outdated one, which goes, also where there is no other for it. Gives how many more
    /// are kept then.
    pub(super) fn exchange(
        &self,
        tenant: &Tenant,
        tier: Tier,
        new: Option<Box<GuestInstance>>,
    ) -> i64 {
        let mut places = self.places.lock();
        let Some(place) = places.get_mut(tenant) else {
            return 0;
        };
        let mut instances = place.instances.iter_mut();
        // A request may have taken it meanwhile. It gives it back to be dropped.
        let Some(at) = instances.position(|instance| instance.tier() != tier) else {
            return 0;
        };
        let (old, change) = match new {
            Some(new) => (std::mem::replace(&mut place.instances[at], new), 0),
            None => (place.instances.remove(at), -1),
        };
        drop(places);
        drop(old);
        if change < 0 {
            self.kept.fetch_sub(1, Ordering::AcqRel);
        }
        change
    }

    /// Drops the instances of tenants that were idle for long. Gives how many.
    pub(super) fn expire(&self) -> usize {
        let now = Instant::now();
        let expired: Vec<Place> = self
            .places
            .lock()
            .extract_if(|_, place| now.saturating_duration_since(place.last_used) >= self.idle)
            .map(|(_, place)| place)
            .collect();
        let count = expired.iter().map(|place| place.instances.len()).sum();
        self.kept.fetch_sub(count, Ordering::AcqRel);
        count
    }

    /// How many instances are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.load(Ordering::Acquire)
    }
}
