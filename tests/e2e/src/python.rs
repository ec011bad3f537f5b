//! Clients that are Python programs: scripts of this repository, run in the environment that `cargo xtask setup` makes.

use std::ffi::OsStr;
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::LONG_PATIENCE;

/// A file or folder of the repository, whose root the tests are told by cargo.
#[must_use]
pub fn repository(place: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(place)
}

/// Runs a Python script of the repository to its end. Gives what it wrote.
///
/// # Errors
/// Where the environment is not there, or as [`execute`].
pub async fn python<A: AsRef<OsStr>>(script: &str, arguments: &[A]) -> Result<String> {
    let mut command = interpreter()?;
    command.arg(repository(script)).args(arguments);
    execute(script, command).await
}

/// The interpreter of the Python environment, which leaves no compiled files in the repository.
///
/// # Errors
/// Where the environment is not there.
pub fn interpreter() -> Result<Command> {
    let interpreter = std::env::var_os("WHARF_TEST_PYTHON").context(
        "WHARF_TEST_PYTHON is not set: `cargo xtask test` makes the Python environment and names it",
    )?;
    let mut command = Command::new(interpreter);
    command.arg("-B");
    Ok(command)
}

/// Runs a program to its end, and shows its output among the test's own. Gives what it wrote.
///
/// # Errors
/// Where it cannot start, fails or does not end within [`LONG_PATIENCE`]; with what it wrote.
pub async fn execute(name: &str, command: Command) -> Result<String> {
    execute_within(LONG_PATIENCE, name, command).await
}

/// The same for a program that may take so long.
///
/// # Errors
/// As [`execute`].
pub async fn execute_within(patience: Duration, name: &str, command: Command) -> Result<String> {
    // Waiting for a process blocks.
    let ran = tokio::task::spawn_blocking(move || run(command, patience)).await?;
    let (success, output) = ran.with_context(|| format!("cannot run {name}"))?;
    eprintln!("--- {name}:\n{output}\n---");
    if !success {
        bail!("{name} failed:\n{output}");
    }
    Ok(output)
}

fn run(mut command: Command, patience: Duration) -> Result<(bool, String)> {
    let mut output = tempfile::tempfile()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output.try_clone()?)
        .spawn()?;
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    };
    let mut text = Vec::new();
    output.rewind()?;
    output.read_to_end(&mut text)?;
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if status.is_none() {
        text.push_str("\nit did not end in time");
    }
    Ok((status.is_some_and(|status| status.success()), text))
}
