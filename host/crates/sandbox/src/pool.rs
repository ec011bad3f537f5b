//! The instances of a plugin: who gets which, and what becomes of it afterwards.
//!
//! Isolation by request takes an instance that a thread of the pool's own made ahead of time; that thread also drops the
//! used ones, so a request pays for neither. Isolation by tenant and shared instances are kept and used again. An
//! instance whose call trapped, ran into a limit or was left is never used again.

mod fresh;
mod kept;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use wharf_core::{Isolation, RequestContext};

use crate::engine::SandboxError;
use crate::instance::{GuestInstance, InstanceFactory, StartError};
use crate::metrics::PoolMetrics;
use fresh::FreshShelf;
use kept::{KeptShelf, Tenant};

/// How often the pool's thread looks around when nobody wakes it.
const ROUND: Duration = Duration::from_millis(500);

/// The used instances that wait for the pool's thread; more are dropped by those who used them.
const USED: usize = 64;

/// The instances of a plugin.
pub(crate) struct Pool {
    inner: Arc<Inner>,
    keeper: Option<JoinHandle<()>>,
}

struct Inner {
    factory: InstanceFactory,
    shelf: Shelf,
    used: ArrayQueue<Box<GuestInstance>>,
    in_use: AtomicU32,
    stop: AtomicBool,
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
            Isolation::Tenant => Shelf::Kept(KeptShelf::by_tenant(limits)),
            Isolation::Shared => Shelf::Kept(KeptShelf::shared(limits)),
        };
        let inner = Arc::new(Inner {
            shelf,
            factory,
            used: ArrayQueue::new(USED),
            in_use: AtomicU32::new(0),
            stop: AtomicBool::new(false),
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
                let inner = Arc::clone(&inner);
                move || inner.tend(&runtime)
            })
            .map_err(SandboxError::Thread)?;
        Ok(Self {
            inner,
            keeper: Some(keeper),
        })
    }

    /// Takes an instance for a request.
    pub(crate) async fn take(&self, request: &RequestContext) -> Result<Lease<'_>, TakeError> {
        // The lease counts the use from here on, so that a request which leaves while an instance starts is counted out.
        let mut lease = self.lease()?;
        let inner = &*self.inner;
        let found = match &inner.shelf {
            Shelf::Fresh(shelf) => {
                let found = shelf.take();
                inner.metrics.ready(-i64::from(found.is_some()));
                if shelf.is_low() {
                    self.wake();
                }
                found
            }
            Shelf::Kept(shelf) => {
                lease.tenant = shelf.tenant(request);
                let found = shelf.take(&lease.tenant);
                inner.metrics.ready(-i64::from(found.is_some()));
                found
            }
        };
        lease.instance = Some(match found {
            Some(instance) => instance,
            None => {
                inner.metrics.missed();
                inner.factory.start().await.map_err(TakeError::Start)?
            }
        });
        Ok(lease)
    }

    fn lease(&self) -> Result<Lease<'_>, TakeError> {
        let inner = &*self.inner;
        let limit = inner.factory.plugin.limits.instances;
        let before = inner.in_use.fetch_add(1, Ordering::AcqRel);
        inner.metrics.taken();
        let lease = Lease {
            pool: self,
            instance: None,
            tenant: None,
            healthy: false,
        };
        // Refusing drops the lease, which counts the use out again.
        if before >= limit {
            Err(TakeError::Full)
        } else {
            Ok(lease)
        }
    }

    fn wake(&self) {
        if let Some(keeper) = &self.keeper {
            let keeper: &Thread = keeper.thread();
            keeper.unpark();
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.inner.stop.store(true, Ordering::Release);
        self.wake();
        if let Some(keeper) = self.keeper.take()
            && keeper.join().is_err()
        {
            tracing::error!("the thread of a plugin's pool panicked");
        }
        let Inner { shelf, metrics, .. } = &*self.inner;
        let left = match shelf {
            Shelf::Fresh(shelf) => shelf.len(),
            Shelf::Kept(shelf) => shelf.len(),
        };
        metrics.ready(-(left as i64));
    }
}

/// An instance on loan. Dropping it, in whatever state the call is, gives the instance back or throws it away.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    instance: Option<Box<GuestInstance>>,
    tenant: Tenant,
    healthy: bool,
}

impl Lease<'_> {
    /// The instance.
    pub(crate) fn instance(&mut self) -> &mut GuestInstance {
        self.instance
            .as_mut()
            .expect("a lease that was given out has an instance")
    }

    /// The call came to an end of its own, so the instance may serve again where its isolation allows.
    pub(crate) fn ended(&mut self) {
        self.healthy = true;
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        let inner = &*self.pool.inner;
        if let Some(instance) = self.instance.take() {
            // Where the queue is full an instance is dropped here.
            match &inner.shelf {
                Shelf::Kept(shelf) if self.healthy => {
                    let dropped = shelf.put(self.tenant.take(), instance);
                    inner.metrics.ready(1 - dropped.len() as i64);
                    for instance in dropped {
                        let _ = inner.used.push(instance);
                    }
                }
                _ => drop(inner.used.push(instance)),
            }
            if inner.used.len() >= USED / 2 {
                self.pool.wake();
            }
        }
        inner.in_use.fetch_sub(1, Ordering::AcqRel);
        inner.metrics.given_back();
    }
}

impl Inner {
    /// The work of the pool's thread: drops used instances, makes new ones, gives idle ones up.
    fn tend(&self, runtime: &tokio::runtime::Runtime) {
        while !self.stop.load(Ordering::Acquire) {
            self.drop_used();
            let given_up = match &self.shelf {
                Shelf::Fresh(shelf) => {
                    self.refill(shelf, runtime);
                    shelf.shrink_when_idle()
                }
                Shelf::Kept(shelf) => shelf.expire(),
            };
            self.metrics.ready(-(given_up as i64));
            std::thread::park_timeout(ROUND);
        }
    }

    fn drop_used(&self) {
        while let Some(instance) = self.used.pop() {
            drop(instance);
        }
    }

    fn refill(&self, shelf: &FreshShelf, runtime: &tokio::runtime::Runtime) {
        while shelf.wants_more() && !self.stop.load(Ordering::Acquire) {
            match runtime.block_on(self.factory.start()) {
                Ok(instance) => {
                    if !shelf.put(instance) {
                        break;
                    }
                    self.metrics.ready(1);
                }
                Err(error) => {
                    // The requests that then make an instance of their own report it.
                    tracing::debug!(plugin = %self.factory.plugin.name, ?error, "cannot make a plugin instance ahead of time");
                    break;
                }
            }
            // Used instances hold the memory that the next ones need.
            self.drop_used();
        }
    }
}
