//! `wharf bundle`: releases of a plugin, its model and its route together, in folders and in OCI registries.
//!
//! A release is a folder with `routes/`, `models/` and `plugins/`, as a site has them. In a site it lies at
//! `bundles/NAME/RELEASE/`. In a registry each of its files is a layer, so that a release that changes a route uploads no model
//! again.

mod artifact;
mod contents;
mod path;
mod release;

mod inspect;
mod pull;
mod push;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What `--help` says at its end.
pub(crate) const HELP: &str = "\
A release is a folder that holds, as a site does:
  routes/NAME.toml                   at least one
  models/NAME/VERSION/model.onnx     and models/NAME/model.toml, tokenizers and what else the settings name
  plugins/NAME.wasm, NAME.toml

Examples:
  wharf bundle inspect flowers/
  wharf bundle push flowers/ registry.example.com/bundles/flowers:3
  wharf bundle pull registry.example.com/bundles/flowers:3 --site site

Each command has examples of its own: wharf bundle pull --help";

/// Flags of `wharf bundle`.
#[derive(Args)]
pub(crate) struct Bundle {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Puts a release into an OCI registry.
    #[command(after_help = push::HELP)]
    Push(push::Push),
    /// Takes a release out of an OCI registry into a site.
    #[command(after_help = pull::HELP)]
    Pull(pull::Pull),
    /// Says what is in a release: routes, models, plugins and the grants that they need.
    #[command(after_help = inspect::HELP)]
    Inspect(inspect::Inspect),
}

impl Bundle {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Push(push) => push.run(),
            Command::Pull(pull) => pull.run(),
            Command::Inspect(inspect) => inspect.run(),
        }
    }
}

#[cfg(test)]
mod tests;
