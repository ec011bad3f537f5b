//! One pass from the site to the snapshot: look, load what is new, swap once.
//!
//! Passes run one at a time, and a pass ends with one swap, so that files which change together take effect together. The
//! price: what changes while a large model loads waits for that load. Loads of one pass run beside each other.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::{JoinError, spawn_blocking};
use wharf_core::{LoadError, PluginHost};

use crate::in_force::InForce;
use crate::site::{Ports, Scan};
use crate::state::{Load, Loaded, PluginLoad};
use crate::status::ReloadReport;

/// Puts what a look at the site found in force, and says what came of it.
pub(crate) async fn reconcile(
    in_force: &Arc<InForce>,
    mut scan: Scan,
    thorough: bool,
) -> ReloadReport {
    let loads = in_force.read(|state| state.plan(&mut scan, thorough));
    let at_once = in_force.config.load().max_parallel_loads;
    // Loading reads, compiles and warms up: never on a thread that serves.
    let loaded: Vec<Loaded> = stream::iter(loads)
        .map(|load| {
            let in_force = Arc::clone(in_force);
            async move {
                let subject = load.subject();
                spawn_blocking(move || load.run(in_force.ports()))
                    .await
                    .unwrap_or_else(|error| subject.panicked(error))
            }
        })
        .buffer_unordered(at_once.max(1))
        .collect()
        .await;
    in_force.change(|state, effects| state.apply(scan, loaded, effects))
}

/// What a load is about, kept beside it in case that it panics.
struct Subject(Load);

impl Load {
    /// Loads. Blocks.
    pub(crate) fn run(self, ports: Ports<'_>) -> Loaded {
        match self {
            Self::Model(version) => {
                let result = ports.engine.load(&version);
                Loaded::Model(version, result)
            }
            Self::Plugin(load) => load.run(ports.plugins),
        }
    }

    fn subject(&self) -> Subject {
        Subject(match self {
            Self::Model(version) => Load::Model(version.clone()),
            Self::Plugin(load) => Load::Plugin(PluginLoad {
                file: load.file.clone(),
                digest: load.digest,
                release: None,
            }),
        })
    }
}

impl PluginLoad {
    fn run(self, host: &dyn PluginHost) -> Loaded {
        let release = match self.release {
            Some(release) => Ok(release),
            None => host.read(&self.file),
        };
        match release {
            // The file may have changed since it was looked at: what is loaded is what was read.
            Ok(release) => Loaded::Plugin(self.file.name, release.digest, host.load(&release)),
            Err(error) => Loaded::Plugin(self.file.name, self.digest, Err(error)),
        }
    }
}

impl Subject {
    fn panicked(self, error: JoinError) -> Loaded {
        const MESSAGE: &str = "loading it panicked; this is a bug, please report it with the file";
        match self.0 {
            Load::Model(version) => {
                let file = format!("models/{}/{}", version.name, version.version);
                let refused = LoadError::new(file, MESSAGE).with_source(error);
                Loaded::Model(version, Err(refused))
            }
            Load::Plugin(load) => {
                let file = format!("plugins/{}.wasm", load.file.name);
                let refused = LoadError::new(file, MESSAGE).with_source(error);
                Loaded::Plugin(load.file.name, load.digest, Err(refused))
            }
        }
    }
}
