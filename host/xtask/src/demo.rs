//! `cargo xtask demo`: serves the quickstart site, after all the set-up that it needs.

use std::process::Command;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::setup;
use crate::workspace::build_server;

/// Where the demo listens.
const LISTEN: &str = "127.0.0.1:8080";

/// Sets up, builds and serves; comes back only with an error, or when the server has ended.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    let onnxruntime = setup::run(paths)?;
    build_server(paths)?;
    let site = paths.quickstart();
    let shown = site.strip_prefix(paths.root()).unwrap_or(&site).display();
    println!(
        "\nServing {shown}. In another terminal, in the same folder:\n\n    \
         curl --data-binary @{shown}/images/3.png -H 'content-type: image/png' http://{LISTEN}/v1/infer/digits\n    \
         curl --json '{{\"input\": [5.1, 3.5, 1.4, 0.2]}}' http://{LISTEN}/v1/infer/iris\n"
    );
    let mut server = Command::new(paths.wharf());
    server
        .arg("serve")
        .arg("--site")
        .arg(&site)
        .args(["--listen", LISTEN])
        .env("WHARF_ONNXRUNTIME", onnxruntime);
    hand_over(server).context("cannot start the server")
}

/// The server takes the place of this process, so that signals and the exit status are its own.
#[cfg(unix)]
fn hand_over(mut server: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(server.exec().into())
}

/// The server gets the console's Ctrl-C itself.
#[cfg(not(unix))]
fn hand_over(mut server: Command) -> Result<()> {
    let status = server.status()?;
    anyhow::ensure!(status.success(), "the server ended with {status}");
    Ok(())
}
