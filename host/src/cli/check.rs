//! `wharf check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use wharf_core::LoadError;

use crate::cli::{EXIT_CONFIG, output};
use crate::config::{Config, Overrides};
use crate::wire::{self, Models};

/// Flags of `wharf check`.
#[derive(Args)]
pub(crate) struct Check {
    /// The site folder.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    site: PathBuf,
}

impl Check {
    /// Loads everything that `serve` would, and writes what it would refuse to standard output: `FILE [KEY]: MESSAGE`.
    pub(crate) fn run(self) -> Result<ExitCode> {
        let loaded = Config::load(&self.site, &Overrides::default())
            .and_then(|config| config.check().map(|()| config))
            .and_then(|config| config.check_files(&self.site).map(|()| config));
        let config = match loaded {
            Ok(mut config) => {
                // What is compiled here is to be in the cache when it is served.
                config.plugins.compile_in_tiers = false;
                config
            }
            Err(problem) => {
                output::line(problem)?;
                return Ok(ExitCode::from(EXIT_CONFIG));
            }
        };
        let meter = opentelemetry::global::meter("wharf");
        let runtimes = match wire::runtimes(Models::Run, &config, &meter) {
            Ok(runtimes) => runtimes,
            Err(error) => {
                output::line(error.downcast::<LoadError>()?)?;
                return Ok(ExitCode::from(EXIT_CONFIG));
            }
        };
        let site = std::path::absolute(&self.site)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .build()?;
        let _entered = runtime.enter();
        let problems = wharf_serving::check(&config.serving, &site, &runtimes);
        for problem in &problems {
            output::line(problem)?;
        }
        match problems.len() {
            0 => output::line(format_args!("{}: nothing to mend", self.site.display()))?,
            count => output::notice(format_args!("wharf: {count} to mend")),
        }
        Ok(if problems.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(EXIT_CONFIG)
        })
    }
}
