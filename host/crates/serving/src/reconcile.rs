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
use crate::reaper::Retired;
use crate::site::{Ports, Scan};
use crate::state::{Load, Loaded, PluginLoad, Purpose, Versions};
use crate::status::ReloadReport;

/// The earlier versions that are tried where the wanted ones of a model cannot be loaded.
const MOST_FALLBACKS: u32 = 3;

/// Puts what a look at the site found in force, and says what came of it. What was `tried` already is not loaded again where
/// the site has that very content.
pub(crate) async fn reconcile(
    in_force: &Arc<InForce>,
    mut scan: Scan,
    purpose: &Purpose,
    tried: Vec<Loaded>,
) -> ReloadReport {
    let mut loads = in_force.read(|state| state.plan(&mut scan, purpose));
    let (mut loaded, outdated): (Vec<Loaded>, Vec<Loaded>) = tried
        .into_iter()
        .partition(|tried| loads.iter().any(|load| tried.is_of(load)));
    loads.retain(|load| !loaded.iter().any(|tried| tried.is_of(load)));
    retire(in_force, outdated);
    let _loading = in_force.loading(versions(&loads));
    loaded.extend(load_all(in_force, loads).await);
    // Whoever asks for a model is told that it does not load, and nothing else is loaded in its place.
    let fallen: Vec<ModelVersion> = match purpose {
        Purpose::Load(_) => Vec::new(),
        _ => in_force.read(|state| state.fallen(&loaded).into_iter().cloned().collect()),
    };
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
    in_force.change(|state, effects| state.apply(scan, loaded, purpose, effects))
}

/// Loads beside each other, as many at once as the settings say.
pub(crate) async fn load_all(in_force: &Arc<InForce>, loads: Vec<Load>) -> Vec<Loaded> {
    let at_once = in_force.config.load().max_parallel_loads;
    // Loading reads, compiles and warms up: never on a thread that serves.
    stream::iter(loads)
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
        .await
}

/// Lets go of models that were loaded for nothing.
pub(crate) fn retire(in_force: &InForce, loaded: Vec<Loaded>) {
    for one in loaded {
        if let Loaded::Model(_, Ok(model)) = one {
            in_force.reaper.retire(Retired::Model(model));
        }
    }
}

/// The versions of models among what is to be loaded.
pub(crate) fn versions(loads: &[Load]) -> Versions {
    let version = |load: &Load| match load {
        Load::Model(version) => Some((version.name.clone(), version.version)),
        Load::Plugin(_) => None,
    };
    loads.iter().filter_map(version).collect()
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

impl Loaded {
    /// Whether this is what came of a load, wherever that took its files from.
    fn is_of(&self, load: &Load) -> bool {
        match (self, load) {
            (Self::Model(loaded, _), Load::Model(wanted)) => {
                (&loaded.name, loaded.version, loaded.digest)
                    == (&wanted.name, wanted.version, wanted.digest)
            }
            _ => false,
        }
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
