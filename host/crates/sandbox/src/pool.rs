//! The instances of a plugin: who gets which, and what becomes of it afterwards.
//!
//! Isolation by request takes an instance that a thread of the pool's own made ahead of time; that thread also drops the
//! used ones, so a request pays for neither. Isolation by tenant and shared instances are kept and used again. An
//! instance whose call trapped, ran into a limit or was left is never used again. A pool whose plugin began as a draft goes over to
//! the optimised code when it is there: calls that run end on what they began with.

mod fresh;
mod keeper;
mod kept;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Instant;

use arc_swap::ArcSwap;
use crossbeam_queue::ArrayQueue;
use parking_lot::Mutex;
use wharf_core::{Isolation, RequestContext};

use crate::engine::SandboxError;
use crate::guest::PluginFacts;
use crate::instance::{GuestInstance, InstanceFactory, StartError};
use crate::metrics::{Occupied, PoolMetrics};
use fresh::FreshShelf;
use kept::{KeptShelf, Tenant};

/// The used instances that wait for the pool's thread; more are dropped by those who used them.
const USED: usize = 64;

/// The instances of a plugin.
pub(crate) struct Pool {
    instances: Arc<Instances>,
    keeper: Option<JoinHandle<()>>,
}

/// What a pool shares with its thread and with texts, which may outlive it.
pub(crate) struct Instances {
    plugin: Arc<PluginFacts>,
    /// What new instances are made of.
    factory: ArcSwap<InstanceFactory>,
    /// What they are to be made of once it is seen to work.
    offered: Mutex<Option<InstanceFactory>>,
    shelf: Shelf,
    used: ArrayQueue<Box<GuestInstance>>,
    in_use: AtomicU32,
    stop: AtomicBool,
    keeper: OnceLock<Thread>,
    metrics: PoolMetrics,
}

enum Shelf {
    // Boxed, since its queue is padded to cache lines.
    Fresh(Box<FreshShelf>),
    Kept(KeptShelf),
}

/// Why there is no instance for a request.
pub(crate) enum TakeError {
    /// All are in use.
    Full,
    /// A new one could not be made.
    Start(StartError),
}

impl Pool {
    /// Opens a pool. `memory_bytes` is what an initialised instance takes.
    pub(crate) fn open(
        factory: InstanceFactory,
        isolation: Isolation,
        metrics: PoolMetrics,
        memory_bytes: u64,
    ) -> Result<Self, SandboxError> {
        let limits = &factory.plugin.limits;
        let shelf = match isolation {
            Isolation::Request => Shelf::Fresh(Box::new(FreshShelf::new(limits, memory_bytes))),
            Isolation::Tenant => Shelf::Kept(KeptShelf::by_tenant(limits, factory.tier)),
            Isolation::Shared => Shelf::Kept(KeptShelf::shared(limits, factory.tier)),
        };
        let instances = Arc::new(Instances {
            plugin: Arc::clone(&factory.plugin),
            factory: ArcSwap::from_pointee(factory),
            offered: Mutex::default(),
            shelf,
            used: ArrayQueue::new(USED),
            in_use: AtomicU32::new(0),
            stop: AtomicBool::new(false),
            keeper: OnceLock::new(),
            metrics,
        });
        // WASI waits on timers, and the epoch lets guests yield: starting an instance needs a runtime.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(SandboxError::Thread)?;
        let keeper = std::thread::Builder::new()
            .name("wharf-plugin".to_owned())
            .spawn({
                let instances = Arc::clone(&instances);
                move || instances.tend(&runtime)
            })
            .map_err(SandboxError::Thread)?;
        instances.keeper.get_or_init(|| keeper.thread().clone());
        Ok(Self {
            instances,
            keeper: Some(keeper),
        })
    }

    /// What the pool shares; whoever keeps it weakly does not keep the plugin.
    pub(crate) fn instances(&self) -> &Arc<Instances> {
        &self.instances
    }

    /// Takes an instance for a call.
    pub(crate) async fn take(
        &self,
        request: &RequestContext,
    ) -> Result<Lease<&Instances>, TakeError> {
        Lease::take(&*self.instances, request).await
    }

    /// Takes an instance for a text, whose filter does not borrow the plugin.
    pub(crate) async fn take_for_text(
        &self,
        request: &RequestContext,
    ) -> Result<TextLease, TakeError> {
        Lease::take(Arc::clone(&self.instances), request).await
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.instances.stop.store(true, Ordering::Release);
        self.instances.wake();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the thread of a plugin's pool panicked");
        }
    }
}

/// An instance on loan. Dropping it, in whatever state the call is, gives the instance back or throws it away.
pub(crate) struct Lease<P: Deref<Target = Instances>> {
    pool: P,
    instance: Option<Box<GuestInstance>>,
    tenant: Tenant,
    /// When the work came to an end of its own.
    ended: Option<Instant>,
}

/// An instance on loan for a text.
pub(crate) type TextLease = Lease<Arc<Instances>>;

impl<P: Deref<Target = Instances>> Lease<P> {
    async fn take(pool: P, request: &RequestContext) -> Result<Self, TakeError> {
        // The lease counts the use from here on, so that a request which leaves while an instance starts is counted out.
        let mut lease = Self::count(pool)?;
        let pool = &*lease.pool;
        let found = match &pool.shelf {
            Shelf::Fresh(shelf) => {
                let found = shelf.take();
                if shelf.is_low() {
                    pool.wake();
                }
                found
            }
            Shelf::Kept(shelf) => {
                let tenant = shelf.tenant(request);
                let found = shelf.take(&tenant);
                lease.tenant = tenant;
                found
            }
        };
        let instance = match found {
            Some(instance) => instance,
            None => {
                pool.metrics.missed();
                let factory = pool.factory.load_full();
                // In a box, so that a call which finds an instance does not carry the room for this along.
                let started = Box::pin(factory.start()).await;
                started.map_err(TakeError::Start)?
            }
        };
        lease.instance = Some(instance);
        Ok(lease)
    }

    fn count(pool: P) -> Result<Self, TakeError> {
        let limit = pool.plugin.limits.instances;
        let before = pool.in_use.fetch_add(1, Ordering::AcqRel);
        let lease = Self {
            pool,
            instance: None,
            tenant: None,
            ended: None,
        };
        // Refusing drops the lease, which counts the use out again.
        if before >= limit {
            Err(TakeError::Full)
        } else {
            Ok(lease)
        }
    }

    /// The instance.
    pub(crate) fn instance(&mut self) -> &mut GuestInstance {
        self.instance
            .as_mut()
            .expect("a lease that was given out has an instance")
    }

    /// The work came to an end of its own, so the instance may serve again where its isolation allows.
    pub(crate) fn ended(&mut self, now: Instant) {
        self.ended = Some(now);
    }
}

impl<P: Deref<Target = Instances>> Drop for Lease<P> {
    fn drop(&mut self) {
        let pool = &*self.pool;
        if let Some(instance) = self.instance.take() {
            match (&pool.shelf, self.ended) {
                (Shelf::Kept(shelf), Some(now)) => {
                    let dropped = shelf.put(self.tenant.take(), instance, now);
                    dropped
                        .into_iter()
                        .for_each(|instance| pool.discard(instance));
                }
                _ => pool.discard(instance),
            }
        }
        pool.in_use.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Occupied for Instances {
    fn in_use(&self) -> u64 {
        self.in_use.load(Ordering::Relaxed).into()
    }

    fn ready(&self) -> u64 {
        let count = match &self.shelf {
            Shelf::Fresh(shelf) => shelf.len(),
            Shelf::Kept(shelf) => shelf.len(),
        };
        count as u64
    }
}

impl Instances {
    /// Offers better code for the same plugin. The pool's thread tries it out, and goes over to it.
    pub(crate) fn offer(&self, factory: InstanceFactory) {
        *self.offered.lock() = Some(factory);
        self.wake();
    }

    /// Leaves an instance to the pool's thread, which drops it. Where too many wait for that it is dropped here.
    fn discard(&self, instance: Box<GuestInstance>) {
        drop(self.used.push(instance));
        if self.used.len() >= USED / 2 {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }
}

#[cfg(test)]
mod tests;
