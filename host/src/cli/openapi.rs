//! `wharf openapi`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, ValueEnum};
use wharf_server::openapi;

use crate::cli::{EXIT_CONFIG, output};
use crate::config::{Config, Overrides};
use crate::wire::{self, Models};

pub(super) const HELP: &str = "\
With a site, the document has a path for each of its routes, with what it takes and gives. Models are read and not loaded, so that ONNX \
Runtime is not needed, and no other server is asked: of a model of another server, what it takes and gives is known to a running server alone, \
whose GET /openapi.json has it.

Examples:
  wharf openapi > wharf.json
  wharf openapi --site examples/quickstart > quickstart.json
  wharf openapi --listener admin";

/// Flags of `wharf openapi`.
#[derive(Args)]
pub(crate) struct Openapi {
    /// A site folder, whose routes the document is to have.
    #[arg(long, value_name = "DIR")]
    site: Option<PathBuf>,
    /// Whose API is described.
    #[arg(long, value_enum, default_value_t = Listener::Public)]
    listener: Listener,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Listener {
    /// That of clients.
    Public,
    /// That of operators.
    Admin,
}

impl Openapi {
    /// Writes the document. What of the site is refused is written to standard error, and is then missing in the document.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let (document, complete) = match (self.listener, self.site) {
            (Listener::Admin, _) => (openapi::admin(), true),
            (Listener::Public, None) => (openapi::public(), true),
            (Listener::Public, Some(site)) => of_site(&site)?,
        };
        output::line(document)?;
        Ok(match complete {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(EXIT_CONFIG),
        })
    }
}

/// The document of a site, and whether all of the site is in it.
fn of_site(site: &Path) -> Result<(String, bool)> {
    let config = Config::load(site, &Overrides::default())?;
    config.check()?;
    let meter = opentelemetry::global::meter("wharf");
    let runtimes = wire::runtimes(Models::Mock, &config, &meter)?;
    let site = std::path::absolute(site)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(1)
        .build()?;
    let _entered = runtime.enter();
    let (snapshot, problems) = wharf_serving::inspect(&config.serving, &site, &runtimes);
    for problem in &problems {
        output::notice(format_args!("wharf: {problem}"));
    }
    Ok((openapi::of_site(&snapshot), problems.is_empty()))
}
