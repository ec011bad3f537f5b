//! Where long work runs: on threads that may block, as many as there are cores, within a budget of memory, and by turns between plugins.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use wharf_codec::CodecError;

use crate::metrics::CodecMetrics;

/// The memory that all jobs together may take while they work, in MiB. One that takes more is alone.
const MEMORY_MB: u32 = 1024;

/// What a job takes while it works.
#[derive(Clone, Copy, Default)]
pub(super) struct Load {
    memory_mb: u32,
}

impl Load {
    pub(super) fn of_bytes(bytes: u64) -> Self {
        Self {
            memory_mb: u32::try_from(bytes >> 20)
                .unwrap_or(u32::MAX)
                .min(MEMORY_MB),
        }
    }
}

/// The places of jobs, which all plugins share. A job holds its place until it ends, whether or not somebody still waits for it: so those
/// that were given up do not pile up.
#[derive(Clone)]
pub(super) struct Places {
    threads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Default for Places {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        Self::of(threads)
    }
}

impl Places {
    fn of(threads: usize) -> Self {
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            memory: Arc::new(Semaphore::new(MEMORY_MB as usize)),
        }
    }

    /// The places as one plugin gets them.
    pub(super) fn for_plugin(&self, metrics: CodecMetrics) -> Workers {
        Workers(Arc::new(Queue {
            places: self.clone(),
            turn: Arc::new(Semaphore::new(1)),
            metrics,
        }))
    }
}

/// Runs the jobs of one plugin. Of a plugin's jobs one at a time waits for a place; the others wait for its turn. Places are given in the
/// order of waiting, so a plugin that floods them delays the job of another by one job of its own, however many wait. Those
/// that wait are calls of guests, whose number is bounded.
#[derive(Clone)]
pub(super) struct Workers(Arc<Queue>);

struct Queue {
    places: Places,
    turn: Arc<Semaphore>,
    metrics: CodecMetrics,
}

/// Tells a job that nobody waits for it any more.
struct GiveUp(Arc<AtomicBool>);

impl Drop for GiveUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Workers {
    /// Runs a job when there is a place for it.
    pub(super) async fn run<T: Send + 'static>(
        self,
        load: Load,
        job: impl FnOnce(&AtomicBool) -> Result<T, CodecError> + Send + 'static,
    ) -> Result<T, CodecError> {
        let queue = &self.0;
        let came = Instant::now();
        let turn = place(&queue.turn, 1).await?;
        // Memory first: a job that waits for it must not keep a thread from others.
        let memory = place(&queue.places.memory, load.memory_mb).await?;
        let thread = place(&queue.places.threads, 1).await?;
        drop(turn);
        queue.metrics.waited(came.elapsed());
        let cancelled = Arc::new(AtomicBool::new(false));
        let _give_up = GiveUp(Arc::clone(&cancelled));
        let ran = spawn_blocking(move || {
            let result = job(&cancelled);
            drop((memory, thread));
            result
        });
        // Jobs guard against panics of their own; one that still panics, or a runtime that ends, is no fault of the input.
        ran.await.unwrap_or(Err(CodecError::Cancelled))
    }
}

async fn place(of: &Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, CodecError> {
    // They are never closed.
    Arc::clone(of)
        .acquire_many_owned(count)
        .await
        .map_err(|_| CodecError::Cancelled)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use futures_util::future::join_all;
    use opentelemetry::metrics::MeterProvider;
    use opentelemetry::metrics::noop::NoopMeterProvider;
    use parking_lot::Mutex;

    use super::*;
    use crate::metrics::CodecInstruments;

    fn plugin(places: &Places, name: &str) -> Workers {
        let meter = NoopMeterProvider::new().meter("test");
        places.for_plugin(CodecInstruments::new(&meter).bind(&name.parse().unwrap()))
    }

    #[tokio::test]
    async fn a_job_that_was_given_up_keeps_its_place_and_learns_of_it() {
        let places = Places::of(1);
        let workers = plugin(&places, "one");
        let (begun, has_begun) = mpsc::channel();
        let (noticed, was_noticed) = mpsc::channel();
        let mut first = Box::pin(workers.clone().run(Load::default(), move |cancelled| {
            begun.send(()).unwrap();
            while !cancelled.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
            noticed.send(()).unwrap();
            Err::<(), _>(CodecError::Cancelled)
        }));
        assert!(futures_util::poll!(&mut first).is_pending());
        has_begun.recv().unwrap();
        assert_eq!(places.threads.available_permits(), 0);
        drop(first);
        was_noticed.recv().unwrap();
        // The place is free once the job is over.
        let second = workers.run(Load::default(), |_| Ok(7)).await;
        assert_eq!(second, Ok(7));
    }

    #[tokio::test]
    async fn what_takes_more_memory_than_there_is_runs_alone() {
        let places = Places::of(2);
        let memory = Arc::clone(&places.memory);
        let load = Load::of_bytes(u64::MAX);
        let free = plugin(&places, "one")
            .run(load, move |_| Ok(memory.available_permits()))
            .await;
        assert_eq!(free, Ok(0));
    }

    #[tokio::test]
    async fn a_plugin_that_floods_the_places_leaves_another_its_turn() {
        let places = Places::of(1);
        let (flooding, other) = (plugin(&places, "flooding"), plugin(&places, "other"));
        let ran = Arc::new(Mutex::new(Vec::new()));
        let job = |workers: &Workers, name: &'static str| {
            let ran = Arc::clone(&ran);
            // All memory, so that they are in each other's way there, too.
            let load = Load::of_bytes(u64::MAX);
            Box::pin(workers.clone().run(load, move |_| {
                ran.lock().push(name);
                Ok(())
            }))
        };
        let held = place(&places.threads, 1).await.unwrap();
        let mut flood: Vec<_> = (0..20).map(|_| job(&flooding, "flooding")).collect();
        let mut late = job(&other, "other");
        for flooded in &mut flood {
            assert!(futures_util::poll!(flooded).is_pending());
        }
        assert!(futures_util::poll!(&mut late).is_pending());
        drop(held);
        let (late, flood) = tokio::join!(late, join_all(flood));
        assert!(late.is_ok() && flood.iter().all(Result::is_ok));
        let ran = ran.lock();
        let turn = ran.iter().position(|name| *name == "other").unwrap();
        assert!(turn <= 1, "it came after {turn} jobs of the other plugin");
        assert_eq!(ran.len(), 21);
    }
}
