//! One pass from the site to the snapshot: look, load what is new, swap once.
//!
//! Passes run one at a time, and a pass ends with one swap, so that files which change together take effect together. The
//! price: what changes while a large model loads waits for that load. Loads of one pass run beside each other.

use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::stream;
use tokio::task::{JoinError, spawn_blocking};
use wharf_core::{
    Digest, LoadError, ModelFolder, ModelVersion, Name, PluginFile, PluginHost, PluginRelease,
    UpstreamRelease,
};

use crate::bundle::{self, ReleaseName};
use crate::in_force::InForce;
use crate::reaper::Retired;
use crate::site::{Ports, Scan};
use crate::state::{Load, Loaded, PluginLoad, Purpose, StandIn, Versions};
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
    // In the place of releases that failed, and beside those that did not. It ends: each is loaded once.
    loop {
        let more = in_force.read(|state| state.plan_releases(&mut scan, purpose, &loaded));
        let count = more.len();
        let found = load_all(in_force, more).await;
        // None where the runtime ends.
        if count == 0 || found.is_empty() {
            break;
        }
        loaded.extend(found);
    }
    // Whoever asks for a model is told that it does not load, and nothing else is loaded in its place.
    let fallen: Vec<ModelVersion> = match purpose {
        Purpose::Load(_) => Vec::new(),
        _ => in_force.read(|state| {
            let fallen = state.fallen(&scan, &loaded, purpose);
            let wanted = |version: &&ModelVersion| !in_force.cancel_of(version).is_cancelled();
            fallen.into_iter().filter(wanted).cloned().collect()
        }),
    };
    for version in fallen {
        let (in_force, purpose) = (Arc::clone(in_force), purpose.clone());
        let fallback = spawn_blocking(move || {
            let cancel = in_force.cancel_of(&version);
            fall_back(in_force.ports_until(&cancel), &version, |version| {
                in_force.read(|state| state.models.stand_in(version, &purpose))
            })
        });
        let fallback = fallback.await;
        match fallback {
            Ok(fallback) => loaded.extend(fallback),
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "loading an earlier version panicked; this is a bug");
            }
            // The runtime ends.
            Err(_cancelled) => {}
        }
    }
    if in_force.ending.is_cancelled() {
        // That something was not loaded says nothing about it any more.
        retire(in_force, loaded);
        return in_force.change(|_, _| {});
    }
    let report = in_force.change(|state, effects| state.apply(scan, loaded, purpose, effects));
    bundle::save(in_force).await;
    report
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
                let cancel = match &load {
                    Load::Model(version) => in_force.cancel_of(version),
                    Load::Plugin(_) | Load::Release(_) | Load::Upstream(_) => {
                        in_force.ending.clone()
                    }
                };
                match spawn_blocking(move || load.run(in_force.ports_until(&cancel))).await {
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
        Load::Plugin(_) | Load::Release(_) | Load::Upstream(_) => None,
    };
    loads.iter().filter_map(version).collect()
}

/// Loads an earlier version of a model none of whose wanted ones can be loaded: after a restart, what served before serves
/// again, and while it serves, it follows its files. `stand_in` says what is to be done about one. Blocks.
pub(crate) fn fall_back(
    ports: Ports<'_>,
    failed: &ModelVersion,
    stand_in: impl Fn(&ModelVersion) -> StandIn,
) -> Vec<Loaded> {
    let folder = ModelFolder {
        site: failed.site.clone(),
        name: failed.name.clone(),
    };
    let mut loaded = Vec::new();
    let mut below = failed.version;
    for _ in 0..MOST_FALLBACKS {
        // What is wrong with the folder was said when its versions were listed.
        let Ok(Some(version)) = ports.engine.version_below(&folder, below) else {
            break;
        };
        below = version.version;
        match stand_in(&version) {
            StandIn::Stays => break,
            StandIn::Fails => continue,
            StandIn::Loads => {}
        }
        let result = ports.engine.load(&version, ports.cancel);
        let serves = result.is_ok();
        if let Err(error) = &result {
            tracing::warn!(%error, "an earlier version cannot be loaded either");
        }
        loaded.push(Loaded::Model(version, result));
        if serves {
            break;
        }
    }
    loaded
}

/// What a load is about, kept beside it in case that it panics.
enum Subject {
    Plugin(PluginFile, Digest),
    Model(ModelVersion),
    Release(ReleaseName, Digest),
    Upstream(Name, Digest),
}

impl Load {
    /// Loads. Blocks.
    pub(crate) fn run(self, ports: Ports<'_>) -> Loaded {
        match self {
            Self::Model(version) => {
                let result = ports.engine.load(&version, ports.cancel);
                Loaded::Model(version, result)
            }
            Self::Plugin(load) => load.run(ports.plugins),
            Self::Release(load) => {
                let (name, digest) = (load.name.clone(), load.digest);
                Loaded::Release(name, digest, load.run(ports))
            }
            Self::Upstream(release) => open(ports, &release),
        }
    }

    fn subject(&self) -> Subject {
        match self {
            Self::Model(version) => Subject::Model(version.clone()),
            Self::Plugin(load) => Subject::Plugin(load.file.clone(), load.digest),
            Self::Release(load) => Subject::Release(load.name.clone(), load.digest),
            Self::Upstream(release) => Subject::Upstream(release.name.clone(), release.digest),
        }
    }
}

/// Opens an upstream. Blocks.
fn open(ports: Ports<'_>, release: &UpstreamRelease) -> Loaded {
    let name = release.name.clone();
    let result = match ports.upstreams {
        Some(upstreams) => upstreams.port.open(release, Arc::clone(upstreams.changed)),
        // Without a port, nothing is read that could be opened.
        None => Err(LoadError::new(
            format!("upstreams/{name}.toml"),
            "this program reaches no other servers",
        )),
    };
    Loaded::Upstream(name, release.digest, result)
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
        let release = release.map(|release| PluginRelease {
            owner: self.owner,
            ..release
        });
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
        match self {
            Self::Model(version) => {
                let file = format!("models/{}/{}", version.name, version.version);
                let refused = LoadError::new(file, MESSAGE).with_source(error);
                Loaded::Model(version, Err(refused))
            }
            Self::Plugin(file, digest) => {
                let place = format!("plugins/{}.wasm", file.name);
                let refused = LoadError::new(place, MESSAGE).with_source(error);
                Loaded::Plugin(file.name, digest, Err(refused))
            }
            Self::Release(name, digest) => {
                let refused = LoadError::new(name.folder(), MESSAGE).with_source(error);
                Loaded::Release(name, digest, Err(vec![refused]))
            }
            Self::Upstream(name, digest) => {
                let file = format!("upstreams/{name}.toml");
                let refused = LoadError::new(file, MESSAGE).with_source(error);
                Loaded::Upstream(name, digest, Err(refused))
            }
        }
    }
}
