//! `wharf mock`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::serve;
use crate::config::{Overrides, ServerOverrides, TelemetryOverrides};
use crate::telemetry::LogFormat;
use crate::wire::Models;

pub(super) const HELP: &str = "\
Answers have the datatypes and shapes that the models' files say, and are the same for the same inputs. Plugins run as they are. Clients \
cannot load or unload models. No upstream is asked for anything: a plain service is answered for by a body that says so, with the header field \
x-wharf-mock, and a route to a model of another server answers 503.

Example: wharf mock --site examples/quickstart --listen 127.0.0.1:8080";

/// Flags of `wharf mock`.
#[derive(Args)]
pub(crate) struct Mock {
    /// The site folder.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    site: PathBuf,
    /// The address of the public listener [default: 127.0.0.1:8080].
    #[arg(long, value_name = "ADDRESS", env = "WHARF_LISTEN")]
    listen: Option<SocketAddr>,
    /// The address of the admin listener [default: 127.0.0.1:9090].
    #[arg(long, value_name = "ADDRESS", env = "WHARF_ADMIN_LISTEN")]
    admin_listen: Option<SocketAddr>,
    /// How log lines look.
    #[arg(long, value_enum, env = "WHARF_LOG_FORMAT")]
    log_format: Option<LogFormat>,
    /// A file that gets the bound addresses as JSON once the listeners are open: for port 0.
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

impl Mock {
    pub(crate) fn run(self) -> Result<ExitCode> {
        let overrides = Overrides {
            server: ServerOverrides {
                listen: self.listen,
                admin_listen: self.admin_listen,
                // What a load brings stays in the site, and nobody would have tried it.
                management: Some(false),
            },
            telemetry: TelemetryOverrides {
                log_format: self.log_format,
            },
            ..Overrides::default()
        };
        serve::run(Models::Mock, &self.site, overrides, self.ready_file)
    }
}
