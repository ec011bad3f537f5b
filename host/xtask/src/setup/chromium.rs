//! The browser that tests look at pages with.

use std::process::Command;

use anyhow::{Result, bail};
use wharf_toolchain::answer_of;

use super::toolchain::install_debian_packages;
use crate::workspace::say;

/// What it is called.
const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];

/// The browser, which Debian has where none is installed.
///
/// # Errors
/// Where there is none and none can be had; the text says what to install.
pub(super) fn browser() -> Result<&'static str> {
    if let Some(found) = find() {
        return Ok(found);
    }
    if let Err(error) = install_debian_packages(&["chromium"]) {
        say("chromium", &format!("{error:#}"));
    }
    match find() {
        Some(found) => Ok(found),
        None => bail!(
            "there is no Chromium on PATH, which tests look at pages with: install `chromium`"
        ),
    }
}

fn find() -> Option<&'static str> {
    let works = |name: &&str| answer_of(Command::new(name).arg("--version")).is_some();
    NAMES.into_iter().find(works)
}
