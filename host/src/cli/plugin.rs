//! `wharf plugin`: the tools of plugin authors.
//!
//! A plugin is tried here as it is served: `harness` loads it with the program's own sandbox, so a case that passes has passed
//! under the limits of production.

mod language;
mod project;
mod sources;

mod new;

mod build;
mod report;

mod subject;
mod tensors;

mod captured;
mod case;
mod harness;

mod inspect;
mod test;

mod bench;
mod recording;
mod replay;
mod watch;

mod oci;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Subcommand};

/// What `--help` says at its end.
pub(crate) const HELP: &str = "\
A first plugin:
  wharf plugin new shout --lang rust --stage preprocess
  cd shout
  wharf plugin build
  wharf plugin test
  cp shout.wasm shout.toml SITE/plugins/

Each command has examples of its own: wharf plugin test --help";

/// Flags of `wharf plugin`.
#[derive(Args)]
pub(crate) struct Plugin {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Makes the folder of a new plugin: source, settings, an example case.
    #[command(after_help = new::HELP)]
    New(new::New),
    /// Builds the component of a plugin, and says what it is.
    #[command(after_help = build::HELP)]
    Build(build::Build),
    /// Runs the cases of a plugin under the limits of production.
    #[command(after_help = test::HELP)]
    Test(test::Test),
    /// Measures what a call of a plugin costs.
    #[command(after_help = bench::HELP)]
    Bench(bench::Bench),
    /// Says what a component is: stages, imports and their grants, limits, digest. Runs nothing of it.
    #[command(after_help = inspect::HELP)]
    Inspect(inspect::Inspect),
    /// Runs one case or recorded request, and shows all that came of it.
    #[command(after_help = replay::HELP)]
    Replay(replay::Replay),
    /// Rebuilds a plugin when its files change, and puts it into a site.
    #[command(after_help = watch::HELP)]
    Watch(watch::Watch),
    /// Puts a component into an OCI registry.
    #[command(after_help = oci::PUSH_HELP)]
    Push(oci::Push),
    /// Takes a component out of an OCI registry.
    #[command(after_help = oci::PULL_HELP)]
    Pull(oci::Pull),
}

impl Plugin {
    pub(crate) fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::New(new) => new.run(),
            Command::Build(build) => build.run(),
            Command::Test(test) => test.run(),
            Command::Bench(bench) => bench.run(),
            Command::Inspect(inspect) => inspect.run(),
            Command::Replay(replay) => replay.run(),
            Command::Watch(watch) => watch.run(),
            Command::Push(args) => oci::push(&args),
            Command::Pull(args) => oci::pull(&args),
        }
    }
}
