//! What the end-to-end tests stand on: sites in temporary folders, the real `wharf` binary, and clients that talk to it
//! over the network. It knows nothing of the server's insides.
//!
//! The tests are in `tests/e2e`. `cargo xtask test` builds the binary, the guests and what else they need.

mod client;
mod command;
pub mod grpc;
mod load;
mod metrics;
pub mod onnx;
mod process;
mod python;
mod site;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

pub use client::{Client, Protocol, Request, Response};
pub use command::{check, guest_build, help, program, wharf_command};
pub use load::{Load, Report};
pub use metrics::{Family, Metrics};
pub use process::{Exit, Wharf};
pub use python::{execute, execute_within, interpreter, python, repository};
pub use site::{Site, guest, quickstart, text_embedding};

/// How long a test waits for something that should happen soon.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test waits for what keeps a slow machine busy for a while, such as a program that has much to load.
pub const LONG_PATIENCE: Duration = Duration::from_secs(300);

/// Waits until `probe` gives something.
///
/// # Errors
/// Where it gives nothing within [`PATIENCE`]; `what` says what was waited for.
pub async fn wait_for<T>(what: &str, probe: impl AsyncFnMut() -> Option<T>) -> Result<T> {
    wait_within(PATIENCE, what, probe).await
}

/// Waits for so long until `probe` gives something.
///
/// # Errors
/// Where it gives nothing in time; `what` says what was waited for.
pub async fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("waited {} s in vain for {what}", patience.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
