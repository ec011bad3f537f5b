//! `wharf serve`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;

use crate::config::{Config, ModelOverrides, Overrides, ServerOverrides, TelemetryOverrides};
use crate::telemetry::LogFormat;
use crate::wire::{self, Models};

/// How long the end waits for threads that are left behind.
const PATIENCE: Duration = Duration::from_secs(1);

/// Flags of `wharf serve`.
#[derive(Args)]
pub(crate) struct Serve {
    /// The site folder.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    site: PathBuf,
    /// The address of the public listener [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", env = "WHARF_LISTEN")]
    listen: Option<SocketAddr>,
    /// The address of the admin listener: metrics, state, reload [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDRESS", env = "WHARF_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// How log lines look.
    #[arg(long, value_enum, env = "WHARF_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// The ONNX Runtime library.
    #[arg(long, value_name = "FILE")]
    onnxruntime: Option<PathBuf>,
    /// A file that gets the bound addresses as JSON once the listeners are open: for port 0.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Serve {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let overrides = Overrides {
            server: ServerOverrides {
                listen: self.listen,
                admin_listen: self.admin_listen,
                ..ServerOverrides::default()
            },
            telemetry: TelemetryOverrides {
                log_format: self.log_format,
            },
            models: ModelOverrides {
                onnxruntime: self.onnxruntime,
            },
        };
        run(Models::Run, &self.site, overrides, self.ready_file)
    }
}

/// Serves a site until a signal ends it.
pub(super) fn run(
    models: Models,
    site: &Path,
    overrides: Overrides,
    ready_file: Option<PathBuf>,
) -> Result<ExitCode> {
    let config = Config::load(site, &overrides)?;
    config.check()?;
    let site = std::path::absolute(site).context("the site folder has no absolute path")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("wharf-serve")
        .build()
        .context("the runtime cannot be started")?;
    let served = runtime.block_on(wire::serve(models, config, overrides, site, ready_file));
    // What had to end in order has ended. A load that cannot be interrupted is not waited for.
    runtime.shutdown_timeout(PATIENCE);
    served.map(|()| ExitCode::SUCCESS)
}
