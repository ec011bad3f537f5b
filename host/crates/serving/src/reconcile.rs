//! One pass from the site to the snapshot: look, load what is new, swap once.
//!
//! Passes run one at a time, and a pass ends with one swap, so that files which change together take effect together. The
//! price: what changes while a large model loads waits for that load. Loads of one pass run beside each other.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::{JoinError, spawn_blocking};
use wharf_core::{Engine, LoadError, ModelFolder, ModelVersion, PluginHost};

use crate::in_force::InForce;
use crate::site::{Ports, Scan};
use crate::state::{Load, Loaded, PluginLoad};
use crate::status::ReloadReport;

/// The earlier versions that are tried where the wanted ones of a model cannot be loaded.
const MOST_FALLBACKS: u32 = 3;

/// Puts what a look at the site found in force, and says what came of it.
pub(crate) async fn reconcile(
    in_force: &Arc<InForce>,
    mut scan: Scan,
    thorough: bool,
) -> ReloadReport {
    let loads = in_force.read(|state| state.plan(&mut scan, thorough));
    let at_once = in_force.config.load().max_parallel_loads;
    // Loading reads, compiles and warms up: never on a thread that serves.
    let mut loaded: Vec<Loaded> = stream::iter(loads)
        .map(|load| {
            let in_force = Arc::clone(in_force);
            async move {
                let subject = load.subject();
                match spawn_blocking(move || load.run(in_force.ports())).await {
                    Ok(loaded) => Some(loaded),
                    Err(error) if error.is_panic() => Some(subject.panicked(error)),
                    // The runtime ends, and with it whatever would be loaded for.
                    Err(_cancelled) => None,
                }
            }
        })
        .buffer_unordered(at_once.max(1))
        .filter_map(std::future::ready)
        .collect()
        .await;
    let fallen: Vec<ModelVersion> =
        in_force.read(|state| state.fallen(&loaded).into_iter().cloned().collect());
    for version in fallen {
        let in_force = Arc::clone(in_force);
        let fallback = spawn_blocking(move || fall_back(in_force.ports().engine, &version)).await;
        match fallback {
            Ok(fallback) => loaded.extend(fallback),
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "loading an earlier version panicked; this is a bug");
            }
            // The runtime ends.
            Err(_cancelled) => {}
        }
    }
    in_force.change(|state, effects| state.apply(scan, loaded, effects))
}

/// Loads an earlier version of a model none of whose wanted ones can be loaded: after a restart, what served before serves
/// again. Blocks.
pub(crate) fn fall_back(engine: &dyn Engine, failed: &ModelVersion) -> Option<Loaded> {
    let folder = ModelFolder {
        site: failed.site.clone(),
        name: failed.name.clone(),
    };
    let mut below = failed.version;
    for _ in 0..MOST_FALLBACKS {
        // What is wrong with the folder was said when its versions were listed.
        let version = engine.version_below(&folder, below).ok()??;
        below = version.version;
        match engine.load(&version) {
            Ok(model) => return Some(Loaded::Model(version, Ok(model))),
            Err(error) => tracing::warn!(%error, "an earlier version cannot be loaded either"),
        }
    }
    None
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
