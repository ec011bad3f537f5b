//! Compiles again, optimised, what serves as a draft.
//!
//! A plugin that is new serves from a draft within a fraction of the time that optimised code takes to make. That code is made here,
//! by threads that give way to all others, and offered to the plugin's pool. Nobody waits for it.

use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime::component::Linker;
use wharf_core::{Digest, Name};

use crate::SandboxError;
use crate::cache::{CompileCache, Tier};
use crate::guest::{GuestState, PluginFacts};
use crate::instance::InstanceFactory;
use crate::metrics::{DraftEnd, DraftMetrics};
use crate::pool::Instances;

/// The plugins that wait to be compiled again. Each keeps its component in memory.
const WAITING: usize = 16;

/// How much the compiler's threads give way. On a saturated machine they still get a tenth of what another thread gets: with the
/// most that there is, a busy plugin would serve from its draft for a minute.
const NICE: i32 = 10;

/// The thread that compiles. Dropping it leaves what waits undone and ends the thread; a compilation cannot be interrupted, so that
/// may take as long as one.
pub(crate) struct Optimiser {
    shared: Arc<Workshop>,
    /// None once it ends.
    drafts: Option<SyncSender<Draft>>,
    thread: Option<JoinHandle<()>>,
}

/// A plugin that serves from a draft.
pub(crate) struct Draft {
    pub(crate) instances: Weak<Instances>,
    pub(crate) plugin: Weak<PluginFacts>,
    pub(crate) name: Name,
    pub(crate) metrics: DraftMetrics,
    /// The digest of the component alone.
    pub(crate) content: Digest,
    pub(crate) component: Bytes,
}

struct Workshop {
    cache: Arc<CompileCache>,
    linker: Linker<GuestState>,
    stop: AtomicBool,
    /// One component is compiled at a time.
    compiling: Mutex<()>,
}

impl Optimiser {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub(crate) fn start(
        cache: Arc<CompileCache>,
        linker: Linker<GuestState>,
    ) -> Result<Self, SandboxError> {
        let shared = Arc::new(Workshop {
            cache,
            linker,
            stop: AtomicBool::new(false),
            compiling: Mutex::default(),
        });
        let (drafts, waiting) = sync_channel(WAITING);
        let thread = std::thread::Builder::new()
            .name("wharf-optimise".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || shared.run(&waiting)
            })
            .map_err(SandboxError::Thread)?;
        Ok(Self {
            shared,
            drafts: Some(drafts),
            thread: Some(thread),
        })
    }

    /// Leaves a draft to be compiled again. Where too many wait already, it is done before this returns: whoever loads plugins faster
    /// than they can be compiled has to wait.
    pub(crate) fn improve(&self, draft: Draft) {
        let Some(drafts) = &self.drafts else { return };
        match drafts.try_send(draft) {
            Ok(()) => {}
            Err(TrySendError::Full(draft) | TrySendError::Disconnected(draft)) => {
                self.shared.improve(&draft);
            }
        }
    }
}

impl Drop for Optimiser {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.drafts = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that optimises plugins panicked");
        }
    }
}

impl Workshop {
    fn run(&self, waiting: &Receiver<Draft>) {
        while let Ok(draft) = waiting.recv() {
            self.improve(&draft);
        }
    }

    /// Compiles what serves as a draft, and offers it where it does.
    fn improve(&self, draft: &Draft) {
        let _compiling = self.compiling.lock();
        // A plugin that went while it waited is not compiled, and neither is any once the host ends.
        if self.stop.load(Ordering::Acquire) || draft.instances.strong_count() == 0 {
            draft.metrics.ended(DraftEnd::Left);
            return;
        }
        let component = aside(|| self.cache.optimised(&draft.content, &draft.component))
            .and_then(|component| self.linker.instantiate_pre(&component?));
        let (Some(instances), Some(plugin)) = (draft.instances.upgrade(), draft.plugin.upgrade())
        else {
            draft.metrics.ended(DraftEnd::Left);
            return;
        };
        match component {
            Ok(component) => {
                instances.offer(InstanceFactory::new(component, Tier::Optimised, plugin));
            }
            Err(error) => {
                tracing::error!(
                    plugin = %draft.name, ?error,
                    "a plugin of which a draft serves cannot be compiled optimised; the draft serves on, slower"
                );
                draft.metrics.ended(DraftEnd::Kept);
            }
        }
    }
}

/// Compiles on threads that give way to all others, on half of the cores.
fn aside<T: Send>(compile: impl FnOnce() -> T + Send) -> wasmtime::Result<T> {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    rayon::ThreadPoolBuilder::new()
        .num_threads((cores / 2).max(1))
        .thread_name(|_| "wharf-optimise".to_owned())
        .build_scoped(
            |thread| {
                // Where the system refuses, it competes with other work, and is right all the same.
                let _ = rustix::process::setpriority_process(None, NICE);
                thread.run();
            },
            |threads| threads.install(compile),
        )
        .map_err(wasmtime::Error::from)
}
