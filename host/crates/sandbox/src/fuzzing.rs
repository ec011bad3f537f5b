//! What fuzzers call; there only with the feature `fuzzing`.
//!
//! A plugin is fuzzed in its parts, since compiling it takes a thousand times as long as reading it: its settings, its signature, the
//! shape of its imports and exports, the whole way of a load, and in a guest that is good, every call that it may make.

mod contract;
mod imports;
mod loading;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::cache::CompileCache;
use crate::{Config, Limits, Sandbox, SandboxError};

pub use contract::{compared, plugin_contract};
pub use imports::{ImportsTarget, functions};
pub use loading::{plugin_component, plugin_settings, plugin_signature};

/// The sandbox of all targets: it keeps nothing on disk, and no plugin starts for long.
static SANDBOX: LazyLock<Sandbox> = LazyLock::new(|| {
    let config = Config {
        max_instances: 32,
        component_mb: 4,
        component_code_mb: 1,
        component_functions: 2000,
        limits: Limits {
            memory_mb: 64,
            init_ms: 500,
            ready_instances: 1,
            ..Limits::default()
        },
        ..Config::default()
    };
    sandbox(config).expect("a sandbox can be made")
});

fn sandbox(config: Config) -> Result<Sandbox, SandboxError> {
    let meter = opentelemetry::global::meter("fuzzing");
    let config = Config {
        // What a target does is to depend on its input alone.
        compile_in_tiers: false,
        ..config
    };
    Sandbox::with_cache(config, &meter, |engine, config| {
        CompileCache::open(engine, None, config.cache_files).map_err(|source| SandboxError::Cache {
            folder: std::path::PathBuf::new(),
            source,
        })
    })
}

/// Waits until something holds that other threads bring about, such as that data which they worked on is let go.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let latest = Instant::now() + Duration::from_secs(5);
    while !holds() {
        assert!(Instant::now() < latest, "{what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
