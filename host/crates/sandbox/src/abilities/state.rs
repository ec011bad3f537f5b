//! The ability `state`: small values of a plugin that outlive its instances and its releases.
//!
//! A plugin's state is found by the plugin's name, and by the bundle that it came with. Every release of it opens the same one, with the bounds of its own grant. A state that no release
//! has open any more is kept for [`KEPT`], so that a plugin which is taken out and put back finds it, and is then dropped.

mod scope;
mod view;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use opentelemetry::metrics::{BoundCounter, Meter};
use parking_lot::{Mutex, RwLock};
use serde::Deserialize;
use wharf_core::Name;

use super::Granted;
use crate::metrics::{StateMetrics, StateSize};

use scope::Scope;
pub(crate) use scope::{Found, NotCounted, Swap};
pub(crate) use view::{Refused, State, View};

/// How long the state of a plugin that is gone is kept.
const KEPT: Duration = Duration::from_secs(600);

/// `[grants.state]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    scope: Sharing,
    entries: u32,
    kb: u32,
    key_bytes: u32,
    tenants: u32,
}

/// Who sees what a request wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Sharing {
    /// Requests of the same tenant. Those without a tenant have a scope of their own.
    Tenant,
    /// Every request.
    Plugin,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            scope: Sharing::Tenant,
            entries: 10_000,
            kb: 1024,
            key_bytes: 256,
            tenants: 64,
        }
    }
}

impl Granted for Grant {
    fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, value, most) in [
            ("entries", self.entries, 1_000_000),
            ("kb", self.kb, 1 << 20),
            ("key_bytes", self.key_bytes, 4096),
            ("tenants", self.tenants, 100_000),
        ] {
            if !(1..=most).contains(&value) {
                return Err((key, format!("must be a whole number from 1 to {most}")));
            }
        }
        Ok(())
    }
}

/// The states of all plugins.
pub(crate) struct Stores {
    places: Arc<Mutex<Places>>,
    metrics: StateMetrics,
}

/// A change of the sharing begins another state: nothing of it could be read by the same requests.
type Places = HashMap<(Option<Name>, Name, Sharing), Place>;

struct Place {
    store: Arc<Store>,
    /// Since when no release has it open.
    gone_since: Option<Instant>,
}

/// The state of one plugin: a table for each scope, each under a lock of its own.
///
/// An operation holds the map for reading and one scope locked, and never waits. A scope goes only while the map is held for writing, so
/// nothing is written into one that is gone.
#[derive(Default)]
struct Store {
    scopes: RwLock<HashMap<Tenant, Mutex<Scope>>>,
    /// The version that was given last. One for all scopes: a scope that comes back gives no version twice.
    version: AtomicU64,
}

/// The tenant of a scope; none for requests without one, and for all where the plugin's scope is one.
type Tenant = Option<Arc<str>>;

impl Stores {
    pub(crate) fn new(meter: &Meter) -> Self {
        let places = Arc::<Mutex<Places>>::default();
        let metrics = StateMetrics::new(meter, {
            let places = Arc::clone(&places);
            move || sizes(&places)
        });
        Self { places, metrics }
    }

    /// Opens the state of a plugin, of a bundle or of the site.
    pub(crate) fn open(&self, grant: Grant, (bundle, plugin): (Option<Name>, &Name)) -> State {
        let mut places = self.places.lock();
        let place = places
            .entry((bundle, plugin.clone(), grant.scope))
            .or_insert_with(|| Place {
                store: Arc::default(),
                gone_since: None,
            });
        place.gone_since = None;
        State {
            store: Arc::clone(&place.store),
            refused: self.metrics.refused(plugin),
            grant,
        }
    }

    /// Drops entries whose time is over, scopes without an entry, and the states of plugins that are gone for long.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut stores = Vec::new();
        self.places.lock().retain(|_, place| {
            if Arc::strong_count(&place.store) > 1 {
                place.gone_since = None;
            } else if now.saturating_duration_since(*place.gone_since.get_or_insert(now)) >= KEPT {
                return false;
            }
            stores.push(Arc::clone(&place.store));
            true
        });
        for store in stores {
            store.sweep(now);
        }
    }
}

/// The sizes by plugin, for the gauges.
fn sizes(places: &Mutex<Places>) -> BTreeMap<Name, StateSize> {
    let stores: Vec<_> = places
        .lock()
        .iter()
        .map(|((_, plugin, _), place)| (plugin.clone(), Arc::clone(&place.store)))
        .collect();
    let mut sizes = BTreeMap::<Name, StateSize>::new();
    for (plugin, store) in stores {
        let size = sizes.entry(plugin).or_default();
        for scope in store.scopes.read().values() {
            let scope = scope.lock();
            size.entries += scope.len() as u64;
            size.bytes += scope.bytes();
        }
    }
    sizes
}

impl Store {
    fn sweep(&self, now: Instant) {
        let tenants: Vec<Tenant> = self.scopes.read().keys().cloned().collect();
        let mut empty = false;
        for tenant in tenants {
            // The locks are given up between the rounds: requests may wait for them.
            while self.sweep_scope(&tenant, now, &mut empty) {}
        }
        if empty {
            (self.scopes.write()).retain(|_, scope| !scope.get_mut().is_empty());
        }
    }

    /// Says whether there may be more to drop.
    fn sweep_scope(&self, tenant: &Tenant, now: Instant, empty: &mut bool) -> bool {
        let scopes = self.scopes.read();
        let Some(scope) = scopes.get(tenant) else {
            return false;
        };
        let mut scope = scope.lock();
        let more = scope.expire(now);
        *empty |= scope.is_empty();
        more
    }
}

impl StateMetrics {
    fn refused(&self, plugin: &Name) -> [BoundCounter<u64>; Refused::ALL.len()] {
        Refused::ALL.map(|refused| self.refusals(plugin, refused.name()))
    }
}

/// The next version of a store. Taken under the lock of a scope, so that the versions of a key only grow.
fn next(version: &AtomicU64) -> u64 {
    version.fetch_add(1, Ordering::Relaxed) + 1
}

#[cfg(test)]
mod tests;
