//! `wharf key`: API keys, for clients that have no tokens.

mod new;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What `--help` says at its end.
pub(crate) const HELP: &str = "\
Examples:
  wharf key new --name ci --tenant acme --scope infer:digits
  wharf key new --help";

/// Flags of `wharf key`.
#[derive(Args)]
pub(crate) struct Key {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes a key, and the entry by which a server knows it.
    #[command(after_help = new::HELP)]
    New(new::New),
}

impl Key {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::New(new) => new.run(),
        }
    }
}
