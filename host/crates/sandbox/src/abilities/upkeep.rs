//! What abilities need done while nobody calls them: files of secrets are read again, and state whose time is over is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::secret::Secrets;
use super::state::Stores;

/// How long a rotated secret goes unnoticed.
const ROUND: Duration = Duration::from_secs(1);

/// A thread that looks around from time to time. Dropping it ends it.
pub(crate) struct Upkeep {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    pub(super) fn start(state: Arc<Stores>, secrets: Arc<Secrets>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("wharf-abilities".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    while !stop.load(Ordering::Acquire) {
                        std::thread::park_timeout(ROUND);
                        secrets.refresh();
                        state.sweep(Instant::now());
                    }
                }
            })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // What is left to do ends with the host.
            let _ = thread.join();
        }
    }
}
