//! Work of the host that a guest waits for: polled beside the guest, and not on its stack.
//!
//! wasmtime polls a host function on the fiber of the guest that calls it, which has room for the guest and little more. A call
//! of a model is a whole pipeline, perhaps with guests of its own and a run of the model on this very thread. So a host
//! function leaves such work here and suspends the guest; whoever polls the guest takes it, and polls it in the guest's place
//! until it is done. So the clock knows which time is the guest's own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::oneshot;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the guest of an instance leaves work, and how long it has waited for such in this call.
#[derive(Clone, Default)]
pub(crate) struct HostWork(Arc<Place>);

#[derive(Default)]
struct Place {
    /// One at a time: a guest has one thread.
    left: Mutex<Option<Work>>,
    waited_ns: AtomicU64,
}

impl HostWork {
    /// Leaves work, and gives what waits for it. What waits fails where the work is given up: then so is the guest.
    pub(crate) fn leave<T: Send + 'static, W: Future<Output = T> + Send + 'static>(
        &self,
        work: W,
    ) -> impl Future<Output = wasmtime::Result<T>> + Send + use<T, W> {
        let (done, result) = oneshot::channel();
        *self.0.left.lock() = Some(Box::pin(async move {
            // Nobody waits any more where the guest is gone.
            let _ = done.send(work.await);
        }));
        async {
            result
                .await
                .map_err(|_| wasmtime::format_err!("the host gave up what the guest waits for"))
        }
    }

    /// Takes what the guest has left.
    pub(crate) fn take(&self) -> Option<Running<'_>> {
        let work = self.0.left.lock().take()?;
        Some(Running {
            work,
            since: Instant::now(),
            waited_ns: &self.0.waited_ns,
        })
    }

    /// How long the guest has waited for work that has ended or was given up.
    pub(crate) fn waited(&self) -> Duration {
        Duration::from_nanos(self.0.waited_ns.load(Ordering::Relaxed))
    }

    /// Begins another call of the guest.
    pub(crate) fn reset(&self) {
        self.0.waited_ns.store(0, Ordering::Relaxed);
    }
}

/// Work that runs while its guest is suspended. Its time is counted when it is dropped.
pub(crate) struct Running<'a> {
    work: Work,
    since: Instant,
    waited_ns: &'a AtomicU64,
}

impl Running<'_> {
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        self.work.as_mut().poll(context)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let time = u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.waited_ns.fetch_add(time, Ordering::Relaxed);
    }
}
