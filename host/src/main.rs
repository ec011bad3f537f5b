//! The program `wharf`: its command line, its configuration, and the one place where its crates are wired together.
//!
//! What it does lives in the crates: `sandbox` runs plugins, `engine` runs models, `serving` composes them into routes
//! and reloads them, `server` speaks HTTP. Nothing here decides anything about a request.

mod cli;
mod config;
mod mock;
mod shutdown;
mod telemetry;
mod wire;

use std::process::ExitCode;

use clap::Parser;

#[global_allocator]
static ALLOCATOR: wharf_memory::Allocator = wharf_memory::Allocator;

#[expect(
    unsafe_code,
    reason = "the environment is changed while this is the only thread"
)]
fn main() -> ExitCode {
    // ONNX Runtime would keep a database about its use in the user's cache folder, and send it to its maker.
    if std::env::var_os("ORT_DISABLE_TELEMETRY").is_none() {
        // SAFETY: nothing has started a thread yet.
        unsafe { std::env::set_var("ORT_DISABLE_TELEMETRY", "1") };
    }
    // A usage error exits with 2: clap does that itself.
    cli::Cli::parse().run()
}
