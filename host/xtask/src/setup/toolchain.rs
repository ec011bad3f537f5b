//! The Rust toolchain of the guests, installed where it is missing.
//!
//! Where none is there, rustup is asked for its target, and apt for Debian's packages: a closed network has one or neither.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};
use wharf_toolchain::{RustToolchain, answer_of};

use crate::workspace::{execute, say};

/// Finds a toolchain, or installs one.
///
/// # Errors
/// Where none is there and none can be installed; the text says what to do.
pub(crate) fn ensure() -> Result<RustToolchain> {
    if let Some(found) = RustToolchain::find() {
        return Ok(found);
    }
    for install in [add_rustup_target, install_debian_rust] {
        // A closed network is common here: where one way fails, the next is tried.
        if let Err(error) = install() {
            say("toolchain", &format!("{error:#}"));
        }
        if let Some(found) = RustToolchain::find() {
            return Ok(found);
        }
    }
    bail!("{}", RustToolchain::advice())
}

fn add_rustup_target() -> Result<()> {
    if answer_of(Command::new("rustup").arg("--version")).is_none() {
        return Ok(());
    }
    execute(
        Command::new("rustup")
            .args(["target", "add", RustToolchain::RUSTUP_TARGET])
            .env("RUSTUP_MAX_RETRIES", "0"),
    )
}

fn install_debian_rust() -> Result<()> {
    install_debian_packages(&RustToolchain::DEBIAN_PACKAGES)
}

/// Installs packages where this is Debian and the user may.
///
/// # Errors
/// Where apt cannot install them.
pub(super) fn install_debian_packages(packages: &[&str]) -> Result<()> {
    let root = answer_of(Command::new("id").arg("-u")).is_some_and(|id| id == "0");
    if !root || !Path::new("/usr/bin/apt-get").is_file() {
        return Ok(());
    }
    let apt = |arguments: &[&str]| {
        let mut command = Command::new("apt-get");
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .args(["-qq", "-y"])
            .args(arguments);
        execute(command.stdout(Stdio::null()))
    };
    let mut install = vec!["install", "--no-install-recommends"];
    install.extend(packages);
    apt(&["update"])?;
    apt(&install)
}
