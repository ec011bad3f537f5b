//! Packages of PyPI and npm, in folders of the target folder that are kept.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wharf_toolchain::answer_of;

use crate::paths::Paths;
use crate::workspace::execute;

/// Goes up with every change of what is installed.
const GENERATION: u32 = 1;

/// The Python that servers run on. The system's comes first: the binaries in some wheels are made for it.
///
/// # Errors
/// Where there is none with pip.
pub(super) fn python() -> Result<&'static str> {
    let works =
        |python: &&str| answer_of(Command::new(python).args(["-m", "pip", "--version"])).is_some();
    ["/usr/bin/python3", "python3"]
        .into_iter()
        .find(works)
        .context("there is no Python with pip: install `python3-pip`")
}

/// A folder with packages of PyPI, to be named in `PYTHONPATH`.
///
/// # Errors
/// Where pip cannot install them.
pub(super) fn from_pypi(paths: &Paths, name: &str, packages: &[&str]) -> Result<PathBuf> {
    kept(paths, name, |folder| {
        let mut pip = Command::new(python()?);
        pip.args(["-m", "pip", "install", "--quiet", "--only-binary=:all:"])
            .args(["--disable-pip-version-check", "--root-user-action=ignore"])
            .arg("--target")
            .arg(folder)
            .args(packages);
        execute(&mut pip)
    })
}

/// A folder with packages of npm in `node_modules`. Their scripts do not run.
///
/// # Errors
/// Where npm cannot install them.
pub(super) fn from_npm(paths: &Paths, name: &str, packages: &[&str]) -> Result<PathBuf> {
    kept(paths, name, |folder| {
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--silent",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefix",
        ])
        .arg(folder)
        .args(packages);
        execute(&mut npm)
    })
}

/// What is installed in part is not kept.
fn kept(paths: &Paths, name: &str, install: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let all = paths.target().join("bench-peers");
    let folder = all.join(format!("{name}-{GENERATION}"));
    if !folder.is_dir() {
        let part = all.join(format!("{name}.{}.part", std::process::id()));
        std::fs::create_dir_all(&part)?;
        let installed = install(&part).and_then(|()| Ok(std::fs::rename(&part, &folder)?));
        if installed.is_err() {
            // It does no harm where it stays.
            drop(std::fs::remove_dir_all(&part));
        }
        installed.with_context(|| format!("{name} cannot be installed"))?;
    }
    Ok(folder)
}
