//! The composition root: makes the crates' implementations and hands them to each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use opentelemetry::metrics::Meter;
use tokio_util::sync::CancellationToken;
use wharf_artifacts::Artifacts;
use wharf_core::{Gatekeeper, LoadError};
use wharf_engine::{MockEngine, OnnxEngine, OpenError};
use wharf_gateway::{Access, Gateway};
use wharf_sandbox::{Sandbox, SandboxError};
use wharf_server::{BindError, Server};
use wharf_serving::{Runtimes, Serving};
use wharf_upstream::Peers;

use crate::config::{self, Config, Overrides};
use crate::mock::MockPeers;
use crate::shutdown;
use crate::telemetry::Telemetry;

/// What answers in the name of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Models {
    /// ONNX Runtime, which runs it.
    Run,
    /// Nobody runs it: answers are made up, those of other servers too.
    Mock,
}

/// Starts what runs models and plugins, and what reaches other servers. Plugins run also where models do not: they cost little, and
/// what a route takes and gives is theirs to say.
///
/// # Errors
/// A [`LoadError`] where a setting is what keeps one from starting.
pub(crate) fn runtimes(models: Models, config: &Config, meter: &Meter) -> Result<Runtimes> {
    Ok(Runtimes {
        engine: match models {
            Models::Run => Arc::new(engine(config, meter)?),
            Models::Mock => Arc::new(MockEngine::new()),
        },
        plugins: Arc::new(sandbox(config, meter)?),
        upstreams: Some(match models {
            Models::Run => Arc::new(Peers::new(meter)),
            Models::Mock => Arc::new(MockPeers::new(meter)),
        }),
    })
}

fn engine(config: &Config, meter: &Meter) -> Result<OnnxEngine> {
    OnnxEngine::new(config.models.clone(), meter).map_err(|error| match error {
        OpenError::Library { reason } if config.models.onnxruntime.is_some() => {
            // Not the error's own advice: the variable that it names gives way to the setting.
            let message = format!(
                "{reason}; name another, or take the setting out and run `cargo xtask setup`"
            );
            setting("models.onnxruntime", message).into()
        }
        error => anyhow::Error::new(error).context("models cannot be run"),
    })
}

fn sandbox(config: &Config, meter: &Meter) -> Result<Sandbox> {
    let opened = Sandbox::new(config.plugins.clone(), meter);
    opened
        .map(Sandbox::with_recordings)
        .map_err(|error| match error {
            SandboxError::Cache { folder, source } if config.plugins.cache_folder.is_some() => {
                let message = format!(
                    "cannot use {}: {source}; name another folder, or mend its rights",
                    folder.display()
                );
                setting("plugins.cache_folder", message).into()
            }
            error => anyhow::Error::new(error).context("plugins cannot be run"),
        })
}

async fn artifacts(config: &Config, site: &Path) -> Result<Artifacts> {
    let (config, site) = (config.artifacts.clone(), site.to_owned());
    let opened = tokio::task::spawn_blocking(move || Artifacts::open(config, &site)).await?;
    opened.map_err(|error| match error {
        wharf_artifacts::OpenError::Setting { key, message } => {
            setting(&format!("artifacts.{key}"), message).into()
        }
        error => anyhow::Error::new(error).context("artifacts cannot be kept"),
    })
}

/// A setting that nothing can be made with.
fn setting(key: &str, message: String) -> LoadError {
    LoadError::new(config::FILE, message).with_key(key)
}

/// Why the server cannot start. A setting that it cannot work with is one of the configuration, like any other.
fn unbound(error: BindError) -> anyhow::Error {
    match error {
        BindError::Config(error) => config::of_server(error).into(),
        error => error.into(),
    }
}

/// Serves a site until a signal ends it.
///
/// The order is that of dependence, and the end is the reverse: the server drains first, so that no request is without
/// what it needs; the watcher and the reaper stop next; telemetry sends what is left last.
pub(crate) async fn serve(
    models: Models,
    config: Config,
    overrides: Overrides,
    site: PathBuf,
    ready_file: Option<PathBuf>,
) -> Result<()> {
    let telemetry = Telemetry::install(&config.telemetry)?;
    let stop = shutdown::on_signal().context("signals cannot be watched")?;
    wharf_memory::start_giving_back().context("the thread for freed memory cannot be started")?;
    let meter = telemetry.meter();
    let runtimes = {
        let (config, meter) = (config.clone(), meter.clone());
        tokio::task::spawn_blocking(move || self::runtimes(models, &config, &meter)).await??
    };
    let serving = Serving::open(config.serving.clone(), site.clone(), runtimes, &meter)?;
    let artifacts = artifacts(&config, &site).await?;
    serving.keep_artifacts_in(Arc::new(artifacts.clone()));
    let tending = {
        let stop = stop.clone();
        tokio::spawn(async move { artifacts.tend(stop.cancelled()).await })
    };
    let gateway = gateway(&config, &site, &meter).await?;
    let gatekeeper = gateway
        .clone()
        .map(|gateway| gateway as Arc<dyn Gatekeeper>);
    let observability = telemetry.observability();
    let settings = config.server.clone().in_site(&site);
    let server = Server::bind(&settings, &serving, gatekeeper.as_ref(), &observability);
    let server = server.map_err(unbound)?;
    if let Some(file) = ready_file {
        announce(&file, &server)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let parts = Following {
        serving: serving.clone(),
        gateway: gateway.clone(),
        auth: config.gateway.auth,
    };
    let reconfigure = tokio::spawn(follow_configuration(parts, overrides, site, stop.clone()));
    server.serve(stop).await;
    reconfigure.await?;
    if let Some(gateway) = gateway {
        gateway.shutdown().await;
    }
    tending.await?;
    serving.shutdown().await;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    tracing::info!("ended");
    Ok(())
}

/// What knows who clients are; none where nobody is asked.
async fn gateway(config: &Config, site: &Path, meter: &Meter) -> Result<Option<Arc<Gateway>>> {
    if config.gateway.auth == Access::None {
        return Ok(None);
    }
    let (config, site, meter) = (config.gateway.clone(), site.to_owned(), meter.clone());
    let opening = tokio::task::spawn_blocking(move || Gateway::open(&config, &site, &meter));
    Ok(Some(Arc::new(opening.await??)))
}

/// What follows the configuration while it runs.
#[derive(Clone)]
struct Following {
    serving: Serving,
    gateway: Option<Arc<Gateway>>,
    /// Who may send requests since the start.
    auth: Access,
}

/// Lays a changed `wharf.toml` over what runs, until the program ends. Routes, reload, keys and quotas follow it at once; other
/// sections take effect at the next start, and the log says so.
async fn follow_configuration(
    parts: Following,
    overrides: Overrides,
    site: PathBuf,
    stop: CancellationToken,
) {
    let mut changed = parts.serving.site_config_changed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
        }
        // The file is read again rather than taken from the watcher: the environment and the flags are laid over it.
        let (site, overrides, following) = (site.clone(), overrides.clone(), parts.clone());
        let following = tokio::task::spawn_blocking(move || {
            Config::load(&site, &overrides).and_then(|config| following.reconfigure(&config))
        });
        match following.await {
            Ok(followed) => {
                let problem = followed.err();
                if let Some(problem) = &problem {
                    tracing::error!(%problem, "the configuration is refused, and the one before stays in force");
                }
                parts.serving.set_site_config_error(problem);
            }
            Err(error) => tracing::error!(%error, "the configuration was not read"),
        }
    }
}

impl Following {
    /// Checks every section, so that the next start does not fail, and puts in force what can change while running. Reads files.
    fn reconfigure(&self, config: &Config) -> Result<(), LoadError> {
        config.check()?;
        if config.gateway.auth != self.auth {
            tracing::warn!("gateway.auth is another; it takes effect at the next start");
        }
        if let Some(gateway) = &self.gateway {
            let mut settings = config.gateway.clone();
            settings.auth = self.auth;
            gateway.reconfigure(&settings)?;
        }
        self.serving.reconfigure(config.serving.clone())?;
        tracing::info!(
            "wharf.toml: [serving] and [gateway] are in force; other sections follow at the next start"
        );
        Ok(())
    }
}

/// Writes the bound addresses, whole or not at all: whoever waits for the file reads it at once.
fn announce(file: &Path, server: &Server) -> std::io::Result<()> {
    let addresses =
        serde_json::json!({ "listen": server.address(), "admin": server.admin_address() });
    let coming = file.with_extension("coming");
    std::fs::write(&coming, addresses.to_string())?;
    std::fs::rename(coming, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(error: &anyhow::Error) -> Option<&str> {
        let error = error.downcast_ref::<LoadError>()?;
        assert_eq!(error.file, config::FILE);
        error.key.as_deref()
    }

    #[test]
    fn a_setting_that_keeps_a_runtime_from_starting_is_named() {
        let meter = opentelemetry::global::meter("test");
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.models.onnxruntime = Some(folder.path().join("nothing.so"));
        let error = engine(&config, &meter).err().unwrap();
        assert_eq!(key_of(&error), Some("models.onnxruntime"));

        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        config.plugins.cache_folder = Some(file);
        let error = sandbox(&config, &meter).err().unwrap();
        assert_eq!(key_of(&error), Some("plugins.cache_folder"), "{error}");
    }
}
