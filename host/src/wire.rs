//! The composition root: makes the crates' implementations and hands them to each other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use opentelemetry::metrics::Meter;
use tokio_util::sync::CancellationToken;
use wharf_core::{Engine, LoadError, PluginHost};
use wharf_engine::{OnnxEngine, OpenError};
use wharf_sandbox::{Sandbox, SandboxError};
use wharf_server::Server;
use wharf_serving::Serving;

use crate::config::{self, Config, Overrides};
use crate::shutdown;
use crate::telemetry::Telemetry;

/// What runs models and plugins.
pub(crate) struct Runtimes {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) plugins: Arc<dyn PluginHost>,
}

impl Runtimes {
    /// Starts both.
    ///
    /// # Errors
    /// A [`LoadError`] where a setting is what keeps one from starting.
    pub(crate) fn new(config: &Config, meter: &Meter) -> Result<Self> {
        Ok(Self {
            engine: Arc::new(engine(config, meter)?),
            plugins: Arc::new(sandbox(config, meter)?),
        })
    }
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

/// A setting that nothing can be made with.
fn setting(key: &str, message: String) -> LoadError {
    LoadError::new(config::FILE, message).with_key(key)
}

/// Serves a site until a signal ends it.
///
/// The order is that of dependence, and the end is the reverse: the server drains first, so that no request is without
/// what it needs; the watcher and the reaper stop next; telemetry sends what is left last.
pub(crate) async fn serve(
    config: Config,
    overrides: Overrides,
    site: PathBuf,
    ready_file: Option<PathBuf>,
) -> Result<()> {
    let telemetry = Telemetry::install(&config.telemetry)?;
    let stop = shutdown::on_signal().context("signals cannot be watched")?;
    let meter = telemetry.meter();
    let runtimes = {
        let (config, meter) = (config.clone(), meter.clone());
        tokio::task::spawn_blocking(move || Runtimes::new(&config, &meter)).await??
    };
    let serving = Serving::start(
        config.serving.clone(),
        site.clone(),
        runtimes.engine,
        runtimes.plugins,
        &meter,
    )?;
    let server = Server::bind(&config.server, &serving, &telemetry.observability())?;
    if let Some(file) = ready_file {
        announce(&file, &server)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let reconfigure = tokio::spawn(follow_configuration(
        serving.clone(),
        overrides,
        site,
        stop.clone(),
    ));
    server.serve(stop).await;
    reconfigure.await?;
    serving.shutdown().await;
    tokio::task::spawn_blocking(move || telemetry.shutdown()).await?;
    tracing::info!("ended");
    Ok(())
}

/// Lays a changed `wharf.toml` over what runs, until the program ends. Routes and reload follow it at once; other sections take effect
/// at the next start, and the log says so.
async fn follow_configuration(
    serving: Serving,
    overrides: Overrides,
    site: PathBuf,
    stop: CancellationToken,
) {
    let mut changed = serving.site_config_changed();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            result = changed.changed() => if result.is_err() { return },
        }
        // The file is read again rather than taken from the watcher: the environment and the flags are laid over it.
        let (site, overrides) = (site.clone(), overrides.clone());
        match tokio::task::spawn_blocking(move || Config::load(&site, &overrides)).await {
            Ok(loaded) => {
                let problem = loaded
                    .and_then(|config| reconfigure(&serving, &config))
                    .err();
                if let Some(problem) = &problem {
                    tracing::error!(%problem, "the configuration is refused, and the one before stays in force");
                }
                serving.set_site_config_error(problem);
            }
            Err(error) => tracing::error!(%error, "the configuration was not read"),
        }
    }
}

/// Checks every section, so that the next start does not fail, and puts in force what can change while running.
fn reconfigure(serving: &Serving, config: &Config) -> Result<(), LoadError> {
    config.check()?;
    serving.reconfigure(config.serving.clone())?;
    tracing::info!("wharf.toml: [serving] is in force; other sections follow at the next start");
    Ok(())
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
