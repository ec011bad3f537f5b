//! The command line.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod bench;
mod bundle;
mod check;
mod completions;
mod key;
mod mock;
mod oci;
mod openapi;
mod output;
mod plugin;
mod progress;
mod serve;

use std::fmt::Display;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Configuration that cannot be served, as `sysexits.h` numbers it (`EX_CONFIG`).
const EXIT_CONFIG: u8 = 78;

/// Serves AI models, extended by sandboxed WebAssembly plugins.
#[derive(Parser)]
#[command(
    version,
    after_help = "Documentation: README.md. Each setting can also be given as an environment variable: \
    WHARF_SECTION__KEY, such as WHARF_SERVER__MAX_CONNECTIONS=2000."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves a site, and reloads what changes in it.
    #[command(after_help = "Example: wharf serve --site examples/quickstart")]
    Serve(serve::Serve),
    /// Says what `serve` would refuse, a line a problem, and exits with 78 if there is any.
    #[command(after_help = "Example: wharf check --site examples/quickstart")]
    Check(check::Check),
    /// Answers in the name of a site: every route and model of it with made-up values of the right shapes, without loading a
    /// model.
    #[command(after_help = mock::HELP)]
    Mock(mock::Mock),
    /// Writes the description of the API, as OpenAPI 3.1 has it, to standard output.
    #[command(after_help = openapi::HELP)]
    Openapi(openapi::Openapi),
    /// Puts a load on a server and says how it did: throughput, percentiles, errors.
    #[command(after_help = bench::HELP)]
    Bench(bench::Bench),
    /// Makes, builds, tests and measures plugins.
    #[command(after_help = plugin::HELP)]
    Plugin(plugin::Plugin),
    /// Takes releases of a plugin, its model and its route together out of OCI registries, and puts them there.
    #[command(after_help = bundle::HELP)]
    Bundle(bundle::Bundle),
    /// Makes API keys.
    #[command(after_help = key::HELP)]
    Key(key::Key),
    /// Writes a script that completes this program's commands and flags in a shell.
    #[command(after_help = completions::HELP)]
    Completions(completions::Completions),
}

impl Cli {
    /// Runs the command; an error is written to standard error, with its causes.
    pub(crate) fn run(self) -> ExitCode {
        let outcome = match self.command {
            Command::Serve(serve) => serve.run(),
            Command::Check(check) => check.run(),
            Command::Mock(mock) => mock.run(),
            Command::Openapi(openapi) => openapi.run(),
            Command::Bench(bench) => bench.run(),
            Command::Plugin(plugin) => plugin.run(),
            Command::Bundle(bundle) => bundle.run(),
            Command::Key(key) => key.run(),
            Command::Completions(completions) => completions.run(),
        };
        outcome.unwrap_or_else(|error| {
            output::notice(format_args!("wharf: {error:#}"));
            let is_config = error.downcast_ref::<wharf_core::LoadError>().is_some();
            ExitCode::from(if is_config { EXIT_CONFIG } else { 1 })
        })
    }
}

/// Ends with 2, as clap does: what was asked for makes no sense.
fn usage_error(message: impl Display) -> Result<ExitCode> {
    clap::Error::raw(
        clap::error::ErrorKind::ValueValidation,
        format!("{message}\n"),
    )
    .print()?;
    Ok(ExitCode::from(2))
}
