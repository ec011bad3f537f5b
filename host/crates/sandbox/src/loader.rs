//! From the files of a plugin to a plugin that serves.

mod build;
mod refused;

use std::fs::File;
use std::io::{self, Read};
use std::iter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use opentelemetry::metrics::Meter;
use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Linker;
use wharf_core::{
    Digest, Isolation, LoadError, ModelCalls, Plugin, PluginFile, PluginHost, PluginRelease,
};

use crate::abilities::{Abilities, Offered};
use crate::bindings::v1;
use crate::cache::{CompileCache, Tier};
use crate::engine::{HAS_DRAFTS, Ticker, engine};
use crate::guest::{GuestState, PluginFacts};
use crate::inspect::inspect;
use crate::instance::InstanceFactory;
use crate::logging::LogBudget;
use crate::manifest::Manifest;
use crate::metrics::{SandboxMetrics, Shared};
use crate::optimiser::Optimiser;
use crate::recording::Recordings;
use crate::{Config, SandboxError, contract, signature, site_file, wasi};
use refused::Cause;

/// The least code that is worth a draft, in bytes: less is compiled optimised in a tenth of the time that a component of 1 MB takes.
const WORTH_A_DRAFT: usize = 64 << 10;

/// The largest `plugins/NAME.toml`, in bytes.
const SETTINGS_BYTES: u64 = 1 << 20;

/// Loads plugins, and owns what they share: the compilers, their cache, the linkers and the thread that interrupts them.
pub struct Sandbox {
    config: Config,
    linker: Linker<GuestState>,
    cache: Arc<CompileCache>,
    /// None where everything is compiled optimised at once.
    drafts: Option<Drafts>,
    metrics: Shared,
    offered: Offered,
    /// None where calls are not recorded, whatever plugins ask for.
    recordings: Option<Recordings>,
    _ticker: Ticker,
}

/// What is there for drafts alone.
struct Drafts {
    linker: Linker<GuestState>,
    optimiser: Optimiser,
}

/// A plugin of which nothing has run yet.
pub(crate) struct Prepared {
    pub(crate) factory: InstanceFactory,
    /// The version of the contract that it was built against.
    contract: String,
    isolation: Isolation,
}

impl Sandbox {
    /// Makes the engines, opens the cache and starts the threads.
    ///
    /// # Errors
    /// Where a setting is out of bounds, the cache folder that is set cannot be used, or the machine lacks address space.
    pub fn new(config: Config, meter: &Meter) -> Result<Self, SandboxError> {
        Self::with_cache(config, meter, CompileCache::of_host)
    }

    /// As [`Sandbox::new`], with a cache that is opened so.
    pub(crate) fn with_cache(
        config: Config,
        meter: &Meter,
        open_cache: impl FnOnce(&Engine, &Config) -> Result<CompileCache, SandboxError>,
    ) -> Result<Self, SandboxError> {
        config.check()?;
        let optimised = engine(&config, Tier::Optimised)?;
        let draft = (config.compile_in_tiers && HAS_DRAFTS)
            .then(|| engine(&config, Tier::Draft))
            .transpose()
            .unwrap_or_else(|error| {
                // It has a pool of its own, as large as the other.
                tracing::warn!(?error, "new plugins wait for optimised code; lower plugins.max_instances, or set plugins.compile_in_tiers = false");
                None
            });
        let linker = linked(&optimised)?;
        let cache = Arc::new(open_cache(&optimised, &config)?.with_drafts(draft.clone()));
        let drafts = match &draft {
            Some(engine) => Some(Drafts {
                linker: linked(engine)?,
                optimiser: Optimiser::start(Arc::clone(&cache), linker.clone())?,
            }),
            None => None,
        };
        Ok(Self {
            cache,
            drafts,
            _ticker: Ticker::start(iter::once(optimised).chain(draft).collect())?,
            metrics: Arc::new(SandboxMetrics::new(meter)),
            offered: Offered::new(&config, meter).map_err(SandboxError::Thread)?,
            recordings: None,
            linker,
            config,
        })
    }

    /// Records the calls of plugins whose settings ask for it. Without it, as for a plugin that is tried out, nothing is written.
    #[must_use]
    pub fn with_recordings(mut self) -> Self {
        let folder = self.config.recordings_folder.clone();
        self.recordings = Some(Recordings::new(folder, Arc::clone(&self.metrics)));
        self
    }

    #[cfg(feature = "fuzzing")]
    pub(crate) fn linker(&self) -> &Linker<GuestState> {
        &self.linker
    }

    /// Makes a release of a component and settings that did not come from the site. Other files that the settings name are read from
    /// the site.
    ///
    /// # Errors
    /// Where the settings are wrong.
    pub fn release(
        &self,
        file: &PluginFile,
        component: Bytes,
        settings: Arc<str>,
    ) -> Result<PluginRelease, LoadError> {
        let manifest = Manifest::parse(&file.name, &settings, &self.config.limits)?;
        let files = site_file::read_all(&file.site, manifest.grants.files());
        let content = Digest::new(Sha256::digest(&component).into());
        let mut digest = Sha256::new();
        digest.update(content.as_bytes());
        digest.update((settings.len() as u64).to_le_bytes());
        digest.update(settings.as_bytes());
        for file in &files {
            digest.update(file.digest.map_or([0; 32], |digest| *digest.as_bytes()));
        }
        Ok(PluginRelease {
            site: file.site.clone(),
            name: file.name.clone(),
            digest: Digest::new(digest.finalize().into()),
            component,
            content,
            settings,
            files: files.into(),
            owner: None,
        })
    }

    /// Verifies, compiles and type-checks a plugin, and opens what it is granted. Nothing of it has run then.
    pub(crate) fn prepare(
        &self,
        release: &PluginRelease,
        tier: Tier,
    ) -> Result<Prepared, LoadError> {
        let file = format!("plugins/{}.wasm", release.name);
        let refused = |message: String| LoadError::new(&file, message);
        let manifest = Manifest::parse(&release.name, &release.settings, &self.config.limits)?;
        let component = &release.component;
        let content = release.content;
        if let Some(pin) = manifest.pin.filter(|pin| *pin != content) {
            let message = format!(
                "pins the SHA-256 {pin}, but {file} has {content}: put the pinned component there, or change the pin"
            );
            return Err(
                LoadError::new(format!("plugins/{}.toml", release.name), message)
                    .with_key("sha256"),
            );
        }
        let code = inspect(component, &self.config).map_err(refused)?;
        let tier = if code < WORTH_A_DRAFT {
            Tier::Optimised
        } else {
            tier
        };
        let compiled = self.cache.component(&content, component, tier);
        let compiled = compiled.map_err(|error| {
            refused(format!("the component is not valid: {error:#}"))
                .with_source(Cause(format!("{error:#}")))
        })?;
        self.metrics.compiled(compiled.compilation);
        let component = compiled.component;
        let linker = match (&self.drafts, compiled.tier) {
            (Some(drafts), Tier::Draft) => &drafts.linker,
            _ => &self.linker,
        };
        let contract = contract::check(linker, &component, &manifest.grants).map_err(refused)?;
        let abilities = Abilities::open(manifest.grants, &self.offered, release)?;
        let record = match (&self.recordings, manifest.record) {
            (Some(recordings), Some(policy)) => Some(recordings.open(policy, release)?),
            _ => None,
        };
        let component = linker
            .instantiate_pre(&component)
            .map_err(|error| refused(format!("the component does not fit: {error:#}")))?;
        let plugin = Arc::new(PluginFacts {
            name: release.name.clone(),
            digest: release.digest.to_string(),
            settings: manifest.settings,
            metrics: self.metrics.guest(&release.name),
            log: LogBudget::new(manifest.limits.log_lines_per_second),
            faults: LogBudget::new(manifest.limits.fault_lines_per_second),
            limits: manifest.limits,
            abilities,
            record,
        });
        let factory = InstanceFactory::new(component, compiled.tier, plugin);
        if !factory.exports.has_lifecycle() && &*factory.plugin.settings != "{}" {
            // There is nothing to call that would look at them.
            tracing::warn!(
                plugin = %factory.plugin.name, digest = %factory.plugin.digest,
                "the plugin exports no lifecycle, so its settings are not checked before its first call"
            );
        }
        Ok(Prepared {
            factory,
            contract,
            isolation: manifest.isolation,
        })
    }
}

/// Links the contract for components of an engine.
fn linked(engine: &Engine) -> Result<Linker<GuestState>, SandboxError> {
    let mut linker = Linker::new(engine);
    v1::link(&mut linker).map_err(SandboxError::Link)?;
    wasi::link(&mut linker).map_err(SandboxError::Link)?;
    Ok(linker)
}

impl PluginHost for Sandbox {
    fn read(&self, file: &PluginFile) -> Result<PluginRelease, LoadError> {
        let (wasm, toml) = (
            format!("plugins/{}.wasm", file.name),
            format!("plugins/{}.toml", file.name),
        );
        let most = u64::from(self.config.component_mb) << 20;
        let component = read_file(&file.site.join(&wasm), most).map_err(|error| {
            let message = if error.kind() == io::ErrorKind::FileTooLarge {
                format!(
                    "the component is too large; the cap is plugins.component_mb = {} (MiB)",
                    self.config.component_mb
                )
            } else {
                format!("cannot read the component: {error}")
            };
            LoadError::new(&wasm, message).with_source(error)
        })?;
        signature::verify(&self.config, file, &component)?;
        let settings = match read_file(&file.site.join(&toml), SETTINGS_BYTES) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|error| {
                LoadError::new(&toml, "the settings are not UTF-8").with_source(error)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(
                    LoadError::new(&toml, format!("cannot read the settings: {error}"))
                        .with_source(error),
                );
            }
        };
        self.release(file, component.into(), settings.into())
    }

    fn load(&self, release: &PluginRelease) -> Result<Arc<dyn Plugin>, LoadError> {
        // What is logged goes where the caller's lines go.
        let log = tracing::dispatcher::get_default(Clone::clone);
        // Guest code runs in here, on a runtime of its own, which cannot be nested in the caller's.
        let built = std::thread::scope(|scope| {
            std::thread::Builder::new()
                .name("wharf-load".to_owned())
                .spawn_scoped(scope, || {
                    tracing::dispatcher::with_default(&log, || self.build(release))
                })
                .map(std::thread::ScopedJoinHandle::join)
        });
        let file = || format!("plugins/{}.wasm", release.name);
        match built {
            Ok(Ok(built)) => Ok(Arc::new(built?)),
            Ok(Err(_)) => Err(LoadError::new(
                file(),
                "loading the plugin panicked; the log has the details",
            )),
            Err(error) => Err(
                LoadError::new(file(), "cannot start a thread to load the plugin")
                    .with_source(error),
            ),
        }
    }

    fn connect(&self, models: Weak<dyn ModelCalls>) {
        self.offered.model.connect(models);
    }
}

/// Opens a regular file. A named pipe is refused like a folder, where opening it would wait for a writer.
pub(crate) fn open_file(path: &Path) -> io::Result<File> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("this is no regular file"));
    }
    Ok(file)
}

/// Reads a regular file of at most so many bytes.
pub(crate) fn read_file(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_open(open_file(path)?, most)
}

/// Reads a file of at most so many bytes, which was opened.
pub(crate) fn read_open(file: File, most: u64) -> io::Result<Vec<u8>> {
    // With room for all of it at once: growing step by step costs more than reading does.
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(most) as usize);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(bytes)
}
