//! wasmtime's engine: how guests are compiled, where their memory comes from, and the clock that interrupts them.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use wasmtime::{
    Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, Strategy,
    WasmBacktraceDetails,
};

use crate::Config;
use crate::cache::Tier;

/// How often guests are interrupted to see whether they may go on.
const TICK: Duration = Duration::from_millis(1);

/// The tables and core modules that are set aside for each instance, on average. A guest in Rust takes one or two, one
/// in Python some forty.
const PER_INSTANCE: u32 = 4;

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A setting is out of its bounds.
    #[error("plugins.{key}: {message}")]
    Setting {
        /// The setting, below `plugins`.
        key: String,
        /// What it must be.
        message: String,
    },
    /// The address space for instances could not be set aside.
    #[error(
        "cannot set aside address space for plugin instances; lower plugins.max_instances or raise the limit of virtual memory"
    )]
    Engine(#[source] wasmtime::Error),
    /// The contract could not be linked.
    #[error("cannot link the plugin contract")]
    Link(#[source] wasmtime::Error),
    /// The cache folder cannot be used.
    #[error("plugins.cache_folder: cannot use {folder}; name another folder, or mend its rights")]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("cannot start the thread that interrupts plugins")]
    Thread(#[source] std::io::Error),
}

/// Whether wasmtime's compiler of drafts is of its first tier for this processor.
pub(crate) const HAS_DRAFTS: bool = cfg!(target_arch = "x86_64");

/// Makes the engine that code of a tier is compiled for and runs in: Winch's calls within a component are not Cranelift's, so that one
/// engine cannot run both.
pub(crate) fn engine(config: &Config, tier: Tier) -> Result<Engine, SandboxError> {
    let mut wasm = wasmtime::Config::new();
    wasm.strategy(match tier {
        Tier::Draft => Strategy::Winch,
        Tier::Optimised => Strategy::Cranelift,
    });
    wasm.epoch_interruption(true)
        // Calls are cheaper without the bookkeeping of component-model async, which the contract does not use.
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .wasm_memory64(false)
        // wasmtime's own backtraces go by frame pointers; tables for others take time whenever code is made and loaded.
        .native_unwind_info(false)
        // Python's interpreter recurses deeply, and the frames of a draft are some times as large as others.
        .max_wasm_stack(4 << 20)
        .async_stack_size(5 << 20)
        .allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config, tier)));
    Engine::new(&wasm).map_err(SandboxError::Engine)
}

fn pool(config: &Config, tier: Tier) -> PoolingAllocationConfig {
    let scan = PoolingAllocationConfig::is_pagemap_scan_available();
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(config.max_instances)
        .total_stacks(config.max_instances)
        .total_memories(config.max_instances)
        .total_tables(config.max_instances.saturating_mul(PER_INSTANCE))
        .total_core_instances(config.max_instances.saturating_mul(PER_INSTANCE))
        .max_memory_size(1 << 32)
        .table_elements(100_000)
        .max_memories_per_component(100)
        .max_tables_per_component(1000)
        .max_core_instances_per_component(1000)
        // With the kernel's help only pages that a guest wrote are reset, in place: 11 us instead of 20 us for a new
        // instance. Without it every resident page is, so fewer of them are kept; so they are of drafts, which are soon gone.
        .pagemap_scan(if scan { Enabled::Yes } else { Enabled::No })
        .linear_memory_keep_resident(match tier {
            Tier::Optimised if scan => 2 << 20,
            _ => 64 << 10,
        })
        .table_keep_resident(64 << 10);
    pool
}

/// Advances the engines' epochs, on a thread of its own, so that no guest keeps it from running.
pub(crate) struct Ticker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(crate) fn start(engines: Vec<Engine>) -> Result<Self, SandboxError> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new()
            .name("wharf-epoch".to_owned())
            .spawn({
                let stop = Arc::clone(&stop);
                move || {
                    while !stop.load(Ordering::Relaxed) {
                        std::thread::park_timeout(TICK);
                        engines.iter().for_each(Engine::increment_epoch);
                    }
                }
            })
            .map_err(SandboxError::Thread)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // The thread runs no code that panics.
            let _ = thread.join();
        }
    }
}
