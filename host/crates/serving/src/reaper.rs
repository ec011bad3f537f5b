//! Drops what is not in force any more, on a thread of its own. A request that ends may be the last user of a model, but
//! never the one that frees it: the reaper holds everything that retires, and lets go when nobody else does.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;
use wharf_core::{Model, Name, Plugin};

use crate::bundle::ReleaseName;
use crate::snapshot::Snapshot;
use crate::status::DrainStatus;

/// How often references are counted while something drains. Nothing is counted otherwise.
const INTERVAL: Duration = Duration::from_millis(20);

/// Something that is not in force any more.
pub(crate) enum Retired {
    Snapshot(Arc<Snapshot>),
    Model(Arc<dyn Model>),
    Plugin(Arc<dyn Plugin>),
    /// A plugin or a model of a release.
    Part(Arc<ReleaseName>, Box<Retired>),
}

/// The reaper's thread, and what it holds.
pub(crate) struct Reaper {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
    draining: Draining,
    /// Counts how often something was dropped.
    dropped: watch::Sender<u64>,
}

#[derive(Default)]
struct Queue {
    held: Vec<Held>,
    /// The models whose destructors run now.
    dropping: Vec<(Name, u64)>,
    stopped: bool,
}

/// How many things retired and are not yet freed.
#[derive(Default)]
pub(crate) struct Draining {
    snapshots: AtomicU64,
    models: AtomicU64,
    plugins: AtomicU64,
}

struct Held {
    retired: Retired,
    since: SystemTime,
}

impl Reaper {
    /// Starts the thread. Must be called within a runtime: destructors may need it.
    pub(crate) fn start() -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new()
            .name("wharf-reaper".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || {
                    let _runtime = runtime.enter();
                    shared.work();
                }
            })?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Hands something over. After `stop` nothing frees it any more but the reaper's own drop.
    pub(crate) fn retire(&self, retired: Retired) {
        self.shared
            .draining
            .of(&retired)
            .fetch_add(1, Ordering::Relaxed);
        self.shared.queue.lock().held.push(Held {
            retired,
            since: SystemTime::now(),
        });
        self.shared.wake.notify_one();
    }

    /// What drains.
    pub(crate) fn draining(&self) -> Vec<DrainStatus> {
        let queue = self.shared.queue.lock();
        queue.held.iter().map(Held::status).collect()
    }

    /// The models that drain, and those whose destructors run now.
    pub(crate) fn models(&self) -> BTreeSet<(Name, u64)> {
        let queue = self.shared.queue.lock();
        let held = queue.held.iter().filter_map(Held::model);
        held.chain(queue.dropping.iter().cloned()).collect()
    }

    /// Waits until no version of a model drains any more.
    pub(crate) async fn freed(&self, name: &Name) {
        let mut dropped = self.shared.dropped.subscribe();
        while self.models().iter().any(|(draining, _)| draining == name) {
            // It cannot fail: the sender lives as long as the reaper.
            let _ = dropped.changed().await;
        }
    }

    /// How much drains: snapshots, models, plugins.
    pub(crate) fn counts(&self) -> [u64; 3] {
        let draining = &self.shared.draining;
        [&draining.snapshots, &draining.models, &draining.plugins]
            .map(|count| count.load(Ordering::Relaxed))
    }

    /// Ends the thread, which drops what is free by now and leaves the rest to those who hold it. Blocks for as long as
    /// destructors take.
    pub(crate) fn stop(&self) {
        self.shared.queue.lock().stopped = true;
        self.shared.wake.notify_one();
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("the reaper panicked");
        }
    }
}

/// The thread holds only what is shared, so a reaper that is not stopped still ends it.
impl Drop for Reaper {
    fn drop(&mut self) {
        self.shared.queue.lock().stopped = true;
        self.shared.wake.notify_one();
    }
}

impl Shared {
    fn work(&self) {
        loop {
            let mut queue = self.queue.lock();
            if queue.stopped {
                drop(queue);
                self.reap();
                self.queue.lock().held.clear();
                // Nobody need wait for what is left to those who hold it.
                self.dropped.send_modify(|count| *count += 1);
                return;
            }
            if queue.held.is_empty() {
                self.wake.wait(&mut queue);
            } else {
                self.wake.wait_for(&mut queue, INTERVAL);
            }
            drop(queue);
            self.reap();
        }
    }

    /// Drops what nobody else holds, until nothing more comes free: a snapshot sets its models free.
    fn reap(&self) {
        loop {
            let free: Vec<Held> = {
                let mut queue = self.queue.lock();
                let free: Vec<Held> = queue
                    .held
                    .extract_if(.., |held| held.references() == 0)
                    .collect();
                queue.dropping = free.iter().filter_map(Held::model).collect();
                free
            };
            if free.is_empty() {
                return;
            }
            for held in free {
                let draining = self.draining.of(&held.retired);
                let subject = held.status().subject;
                // A destructor that panics must not take the reaper with it.
                if catch_unwind(AssertUnwindSafe(move || drop(held))).is_err() {
                    tracing::error!(subject, "dropping panicked");
                }
                draining.fetch_sub(1, Ordering::Relaxed);
                tracing::debug!(subject, "dropped");
            }
            self.queue.lock().dropping.clear();
            self.dropped.send_modify(|count| *count += 1);
        }
    }
}

impl Draining {
    fn of(&self, retired: &Retired) -> &AtomicU64 {
        match retired {
            Retired::Snapshot(_) => &self.snapshots,
            Retired::Model(_) => &self.models,
            Retired::Plugin(_) => &self.plugins,
            Retired::Part(_, part) => self.of(part),
        }
    }
}

impl Retired {
    fn holders(&self) -> usize {
        match self {
            Self::Snapshot(snapshot) => Arc::strong_count(snapshot),
            Self::Model(model) => Arc::strong_count(model),
            Self::Plugin(plugin) => Arc::strong_count(plugin),
            Self::Part(_, part) => part.holders(),
        }
    }

    fn subject(&self) -> (&'static str, String) {
        match self {
            Self::Snapshot(snapshot) => ("snapshot", snapshot.generation().to_string()),
            Self::Model(model) => {
                let info = model.info();
                ("model", format!("{}/{}", info.name, info.version))
            }
            Self::Plugin(plugin) => ("plugin", plugin.info().name.to_string()),
            Self::Part(release, part) => {
                let (kind, subject) = part.subject();
                (
                    kind,
                    format!("{}/{}: {subject}", release.bundle, release.release),
                )
            }
        }
    }
}

impl Held {
    /// The holders beside the reaper. Once it is zero it stays so: nobody is left to clone it.
    fn references(&self) -> usize {
        self.retired.holders() - 1
    }

    fn model(&self) -> Option<(Name, u64)> {
        let Retired::Model(model) = &self.retired else {
            return None;
        };
        let info = model.info();
        Some((info.name.clone(), info.version))
    }

    fn status(&self) -> DrainStatus {
        let (kind, subject) = self.retired.subject();
        DrainStatus {
            kind,
            subject,
            since: self.since,
            references: self.references(),
        }
    }
}
