//! Where long work runs: on threads that may block, as many as there are cores, and within a budget of memory.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use wharf_codec::CodecError;

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

/// The places of jobs. A job holds its place until it ends, whether or not somebody still waits for it: so those that were given up do not pile
/// up. Those that wait for a place are calls of guests, whose number is bounded.
#[derive(Clone)]
pub(super) struct Workers {
    threads: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Default for Workers {
    fn default() -> Self {
        let threads = available_parallelism().map_or(1, NonZeroUsize::get);
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            memory: Arc::new(Semaphore::new(MEMORY_MB as usize)),
        }
    }
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
        // Memory first: a job that waits for it must not keep a thread from others.
        let memory = place(self.memory, load.memory_mb).await?;
        let thread = place(self.threads, 1).await?;
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

async fn place(of: Arc<Semaphore>, count: u32) -> Result<OwnedSemaphorePermit, CodecError> {
    // They are never closed.
    of.acquire_many_owned(count)
        .await
        .map_err(|_| CodecError::Cancelled)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn workers(threads: usize) -> Workers {
        Workers {
            threads: Arc::new(Semaphore::new(threads)),
            memory: Arc::new(Semaphore::new(MEMORY_MB as usize)),
        }
    }

    #[tokio::test]
    async fn a_job_that_was_given_up_keeps_its_place_and_learns_of_it() {
        let workers = workers(1);
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
        assert_eq!(workers.threads.available_permits(), 0);
        drop(first);
        was_noticed.recv().unwrap();
        // The place is free once the job is over.
        let second = workers.run(Load::default(), |_| Ok(7)).await;
        assert_eq!(second, Ok(7));
    }

    #[tokio::test]
    async fn what_takes_more_memory_than_there_is_runs_alone() {
        let workers = workers(2);
        let memory = Arc::clone(&workers.memory);
        let load = Load::of_bytes(u64::MAX);
        let free = workers
            .run(load, move |_| Ok(memory.available_permits()))
            .await;
        assert_eq!(free, Ok(0));
    }
}
