//! Instances that serve again: of one tenant each, or of everybody.
#![expect(
    clippy::vec_box,
    reason = "an instance goes through many hands, and moving it would cost more than a call"
)]

use std::collections::HashMap;
use std::iter;
use std::sync::Arc;
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
    kept: Mutex<Kept>,
}

struct Kept {
    /// Apart from those of tenants, so that nothing is looked up where everybody shares.
    everybody: Place,
    tenants: HashMap<Arc<str>, Place>,
    /// How many instances stand in all places together.
    count: usize,
    /// The code that those which are kept run.
    tier: Tier,
}

struct Place {
    /// The one last used is the last: its memory is warm.
    instances: Vec<Box<GuestInstance>>,
    last_used: Instant,
}

impl KeptShelf {
    pub(super) fn by_tenant(limits: &Limits, tier: Tier) -> Self {
        Self {
            by_tenant: true,
            tenants: limits.tenants as usize,
            instances: limits.instances as usize,
            idle: Duration::from_secs(limits.idle_s.into()),
            kept: Mutex::new(Kept {
                everybody: Place::new(Instant::now()),
                tenants: HashMap::new(),
                count: 0,
                tier,
            }),
        }
    }

    pub(super) fn shared(limits: &Limits, tier: Tier) -> Self {
        Self {
            by_tenant: false,
            ..Self::by_tenant(limits, tier)
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
        let mut kept = self.kept.lock();
        let instance = kept.place(tenant)?.instances.pop()?;
        kept.count -= 1;
        Some(instance)
    }

    /// Keeps an instance that worked until `now`. Gives those that have to go for it, or itself where it may not be kept.
    pub(super) fn put(
        &self,
        tenant: Tenant,
        instance: Box<GuestInstance>,
        now: Instant,
    ) -> Vec<Box<GuestInstance>> {
        if self.is_unshared(&tenant) {
            return vec![instance];
        }
        let mut kept = self.kept.lock();
        let kept = &mut *kept;
        // It worked while the pool went over to other code.
        if instance.tier() != kept.tier {
            return vec![instance];
        }
        let mut dropped = Vec::new();
        let place = match tenant {
            None => &mut kept.everybody,
            Some(tenant) => {
                if kept.tenants.len() >= self.tenants && !kept.tenants.contains_key(&tenant) {
                    dropped = kept.remove_idlest();
                }
                (kept.tenants.entry(tenant)).or_insert_with(|| Place::new(now))
            }
        };
        place.last_used = place.last_used.max(now);
        place.instances.push(instance);
        kept.count += 1;
        // Every tenant may keep some, but all together not more than may work at one time.
        if kept.count > self.instances {
            dropped.extend(kept.take_idlest());
        }
        dropped
    }

    /// Keeps only instances that run the code of this tier from now on. Those that stand here stay until they are exchanged.
    pub(super) fn go_over(&self, tier: Tier) {
        self.kept.lock().tier = tier;
    }

    /// Whose idle instances have one that runs other code.
    pub(super) fn outdated(&self) -> Option<Tenant> {
        let kept = self.kept.lock();
        let outdated = |place: &Place| place.outdated(kept.tier).is_some();
        if outdated(&kept.everybody) {
            return Some(None);
        }
        let (tenant, _) = kept.tenants.iter().find(|(_, place)| outdated(place))?;
        Some(Some(Arc::clone(tenant)))
    }

    /// Puts an instance in the place of a tenant's outdated one, which goes, also where there is no other for it.
    pub(super) fn exchange(&self, tenant: &Tenant, new: Option<Box<GuestInstance>>) {
        let mut kept = self.kept.lock();
        let tier = kept.tier;
        let Some(place) = kept.place(tenant) else {
            return;
        };
        // A request may have taken it meanwhile. It gives it back to be dropped.
        let Some(at) = place.outdated(tier) else {
            return;
        };
        let old = if let Some(new) = new {
            std::mem::replace(&mut place.instances[at], new)
        } else {
            let old = place.instances.remove(at);
            kept.count -= 1;
            old
        };
        // Not while others wait for the shelf.
        drop(kept);
        drop(old);
    }

    /// Drops the instances of tenants that were idle for long by `now`.
    pub(super) fn expire(&self, now: Instant) {
        let mut kept = self.kept.lock();
        let is_idle = |place: &Place| now.saturating_duration_since(place.last_used) >= self.idle;
        let tenants = kept.tenants.extract_if(|_, place| is_idle(place));
        let mut expired: Vec<Place> = tenants.map(|(_, place)| place).collect();
        if is_idle(&kept.everybody) {
            expired.push(std::mem::replace(&mut kept.everybody, Place::new(now)));
        }
        kept.count -= expired.iter().map(Place::len).sum::<usize>();
        // Not while others wait for the shelf.
        drop(kept);
        drop(expired);
    }

    /// How many instances are kept.
    pub(super) fn len(&self) -> usize {
        self.kept.lock().count
    }
}

impl Kept {
    fn place(&mut self, tenant: &Tenant) -> Option<&mut Place> {
        match tenant {
            None => Some(&mut self.everybody),
            Some(tenant) => self.tenants.get_mut(tenant),
        }
    }

    /// Gives up the place of the tenant that was idle the longest.
    fn remove_idlest(&mut self) -> Vec<Box<GuestInstance>> {
        let idlest = self.tenants.iter().min_by_key(|(_, place)| place.last_used);
        let Some(tenant) = idlest.map(|(tenant, _)| Arc::clone(tenant)) else {
            return Vec::new();
        };
        let removed = self.tenants.remove(&tenant);
        let instances = removed.map_or_else(Vec::new, |place| place.instances);
        self.count -= instances.len();
        instances
    }

    /// Takes an instance from where they were idle the longest.
    fn take_idlest(&mut self) -> Option<Box<GuestInstance>> {
        let places = iter::once(&mut self.everybody).chain(self.tenants.values_mut());
        let filled = places.filter(|place| place.len() > 0);
        let idlest = filled.min_by_key(|place| place.last_used)?;
        let instance = idlest.instances.pop()?;
        self.count -= 1;
        Some(instance)
    }
}

impl Place {
    fn new(now: Instant) -> Self {
        Self {
            instances: Vec::new(),
            last_used: now,
        }
    }

    fn len(&self) -> usize {
        self.instances.len()
    }

    /// Where there is an instance that does not run the code of this tier.
    fn outdated(&self, tier: Tier) -> Option<usize> {
        (self.instances.iter()).position(|instance| instance.tier() != tier)
    }
}
