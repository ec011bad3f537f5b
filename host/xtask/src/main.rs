//! The repository's habits as a program: `cargo xtask COMMAND`.

mod abi;
mod bench;
mod demo;
mod examples;
mod gpu_check;
mod guests;
mod paths;
mod setup;
mod test;
mod text_embedding;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use paths::Paths;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The repository's habits as a program")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fetches ONNX Runtime and the packages of the tests, finds or installs what builds plugins, and builds those of the repository.
    /// Quick when all is there.
    Setup,
    /// Builds the plugins and the test guests into `target/guests`.
    Guests,
    /// Sets up and serves the quickstart site on 127.0.0.1:8080.
    Demo,
    /// Puts the model and the plugins into the site `examples/text-embedding`.
    TextEmbedding,
    /// Sets up and runs every test.
    Test(test::Test),
    /// Measures what the README promises, beside its yardsticks in the same run.
    Bench(bench::Bench),
    /// Compares models on a GPU with the CPU, and with ONNX Runtime alone. Fails where there is no GPU.
    GpuCheck(gpu_check::GpuCheck),
    /// Loads the plugins that were built against earlier releases of the contract.
    AbiCheck,
    /// Checks who depends on whom, the length of files, and that every guest is tested.
    Tidy,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Plain words: a backtrace says nothing to who forgot to install something.
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let command = Args::parse().command;
    let paths = Paths::find()?;
    match command {
        Command::Setup => setup::for_tests(&paths).map(drop),
        Command::Guests => guests::run(&paths),
        Command::Demo => demo::run(&paths),
        Command::TextEmbedding => text_embedding::run(&paths),
        Command::Test(test) => test.run(&paths),
        Command::Bench(bench) => bench.run(&paths),
        Command::GpuCheck(check) => check.run(&paths),
        Command::AbiCheck => abi::run(&paths),
        Command::Tidy => tidy::run(paths.root()),
    }
}
