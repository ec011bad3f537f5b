//! The commands of the real binary.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, ensure};

use crate::Site;

/// Builds the command that serves a site on ports that the system chooses; its addresses go to `ready_file`.
///
/// # Errors
/// Where the binary was not built.
pub fn wharf_command(site: &Path, ready_file: &Path) -> Result<Command> {
    listening("serve", site, ready_file)
}

/// The same for a command that has listeners: `serve`, `mock`.
///
/// # Errors
/// Where the binary was not built.
pub(crate) fn listening(what: &str, site: &Path, ready_file: &Path) -> Result<Command> {
    let mut command = Command::new(binary()?);
    command
        .arg(what)
        .arg("--site")
        .arg(site)
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--ready-file",
        ])
        .arg(ready_file);
    Ok(command)
}

/// Runs `wharf check` on a site.
///
/// # Errors
/// Where the binary was not built, or cannot be run.
pub fn check(site: &Site) -> Result<Output> {
    let output = Command::new(binary()?)
        .arg("check")
        .arg("--site")
        .arg(site.path())
        .output()?;
    Ok(output)
}

/// What the program says of one of its commands.
///
/// # Errors
/// Where the binary was not built, or cannot be run.
pub fn help(command: &str) -> Result<String> {
    let output = Command::new(binary()?).args([command, "--help"]).output()?;
    Ok(String::from_utf8(output.stdout)?)
}

/// The program, with nothing said to it yet.
///
/// # Errors
/// Where the binary was not built.
pub fn program() -> Result<Command> {
    Ok(Command::new(binary()?))
}

/// The folder that guests are compiled in: plugins that a test builds share its standard library.
///
/// # Errors
/// Where the test does not lie in a target folder.
pub fn guest_build() -> Result<PathBuf> {
    Ok(target()?.join("guest-build"))
}

/// Cargo's target folder, found from the running test: `TARGET/debug/deps/e2e-HASH`.
pub(crate) fn target() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    test.ancestors()
        .nth(3)
        .map(Path::to_owned)
        .context("the test does not lie in a target folder")
}

fn binary() -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let profile = test
        .ancestors()
        .nth(2)
        .context("the test does not lie in a target folder")?;
    let binary = profile.join(format!("wharf{}", std::env::consts::EXE_SUFFIX));
    ensure!(
        binary.is_file(),
        "no {}; `cargo xtask test` builds it",
        binary.display()
    );
    Ok(binary)
}
