//! The instances of a plugin: who gets which, and what becomes of it afterwards.
//!
//! Isolation by request takes an instance that a thread of the pool's own made ahead of time; that thread also drops the
//! used ones, so a request pays for neither. Isolation by tenant and shared instances are kept and used again. An
//! instance whose call trapped, ran into a limit or was left is never used again.

mod fresh;
mod kept;

use std::ops::Deref;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{JoinHandle, Thread};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use wharf_core::{Isolation, RequestContext};

use crate::engine::SandboxError;
use crate::fault::refusal;
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
    instances: Arc<Instances>,
    keeper: Option<JoinHandle<()>>,
}

/// What a pool shares with its thread and with texts, which may outlive it.
pub(crate) struct Instances {
    factory: InstanceFactory,
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
            Isolation::Tenant => Shelf::Kept(KeptShelf::by_tenant(limits)),
            Isolation::Shared => Shelf::Kept(KeptShelf::shared(limits)),
        };
        let instances = Arc::new(Instances {
            shelf,
            factory,
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
    healthy: bool,
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
        let pool = &*lease.pool;
        pool.metrics.ready(-i64::from(found.is_some()));
        let instance = match found {
            Some(instance) => instance,
            None => {
                pool.metrics.missed();
                pool.factory.start().await.map_err(TakeError::Start)?
            }
        };
        lease.instance = Some(instance);
        Ok(lease)
    }

    fn count(pool: P) -> Result<Self, TakeError> {
        let limit = pool.factory.plugin.limits.instances;
        let before = pool.in_use.fetch_add(1, Ordering::AcqRel);
        pool.metrics.taken();
        let lease = Self {
            pool,
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

    /// The instance.
    pub(crate) fn instance(&mut self) -> &mut GuestInstance {
        self.instance
            .as_mut()
            .expect("a lease that was given out has an instance")
    }

    /// The work came to an end of its own, so the instance may serve again where its isolation allows.
    pub(crate) fn ended(&mut self) {
        self.healthy = true;
    }
}

impl<P: Deref<Target = Instances>> Drop for Lease<P> {
    fn drop(&mut self) {
        let pool = &*self.pool;
        if let Some(instance) = self.instance.take() {
            // Where the queue is full an instance is dropped here.
            match &pool.shelf {
                Shelf::Kept(shelf) if self.healthy => {
                    let dropped = shelf.put(self.tenant.take(), instance);
                    pool.metrics.ready(1 - dropped.len() as i64);
                    for instance in dropped {
                        let _ = pool.used.push(instance);
                    }
                }
                _ => drop(pool.used.push(instance)),
            }
            if pool.used.len() >= USED / 2 {
                pool.wake();
            }
        }
        pool.in_use.fetch_sub(1, Ordering::AcqRel);
        pool.metrics.given_back();
    }
}

/// The last that is left of a pool: a text may have put its instance back after the pool was given up.
impl Drop for Instances {
    fn drop(&mut self) {
        let left = match &self.shelf {
            Shelf::Fresh(shelf) => shelf.len(),
            Shelf::Kept(shelf) => shelf.len(),
        };
        self.metrics.ready(-(left as i64));
    }
}

impl Instances {
    fn wake(&self) {
        if let Some(keeper) = self.keeper.get() {
            keeper.unpark();
        }
    }

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
                    let plugin = &self.factory.plugin;
                    let error = match error {
                        StartError::Fault(error, _) => format!("{error:?}"),
                        StartError::Refused(error) => refusal(error, plugin).to_string(),
                    };
                    let error = plugin.abilities.hide(&error, usize::MAX);
                    tracing::debug!(plugin = %plugin.name, %error, "cannot make a plugin instance ahead of time");
                    break;
                }
            }
            // Used instances hold the memory that the next ones need.
            self.drop_used();
        }
    }
}
