//! Packages of Node.js, in the user's cache folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wharf_toolchain::{JavaScriptToolchain, answer_of};

use super::cache;
use super::toolchain::install_debian_packages;
use crate::paths::Paths;
use crate::workspace::{execute, say};

const PACKAGE_FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The packages that the lock file of a folder names. Another Node.js or another lock file makes another folder, so that
/// checkouts of different ages do not fight over one.
///
/// # Errors
/// Where there is no Node.js, or npm cannot fetch them.
pub(super) fn modules(paths: &Paths, source: &str) -> Result<PathBuf> {
    let version = node()?;
    let source = paths.root().join(source);
    let mut parts = vec![version.into_bytes()];
    for file in PACKAGE_FILES {
        let path = source.join(file);
        parts
            .push(std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?);
    }
    let cache = cache::folder()?;
    let name = format!(
        "node-{:016x}",
        cache::fingerprint(parts.iter().map(Vec::as_slice))
    );
    let folder = cache.join(name);
    let modules = folder.join("node_modules");
    if modules.is_dir() {
        return Ok(modules);
    }
    cache::in_scratch(&cache, |scratch| {
        for file in PACKAGE_FILES {
            std::fs::copy(source.join(file), scratch.join(file))?;
        }
        let mut npm = Command::new("npm");
        npm.current_dir(scratch);
        // Not `npm ci`, which fails where a registry lacks an optional package for another machine. The lock file counts as well.
        // Scripts of packages are programs that nobody has read, and none is needed.
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]);
        execute(&mut npm)
            .with_context(|| format!("npm cannot fetch the packages of {}", source.display()))?;
        match std::fs::rename(scratch, &folder) {
            // Another process was sooner.
            Err(_) if modules.is_dir() => Ok(()),
            moved => moved.with_context(|| format!("cannot write {}", folder.display())),
        }
    })?;
    ensure!(
        modules.is_dir(),
        "{} has no packages: remove it and repeat",
        folder.display()
    );
    Ok(modules)
}

/// The version of Node.js, which Debian has where none is installed.
fn node() -> Result<String> {
    let version = || {
        answer_of(Command::new("npm").arg("--version"))?;
        answer_of(Command::new("node").arg("--version"))
    };
    if let Some(version) = version() {
        return Ok(version);
    }
    if let Err(error) = install_debian_packages(&["nodejs", "npm"]) {
        say("toolchain", &format!("{error:#}"));
    }
    match version() {
        Some(version) => Ok(version),
        None => bail!("{}", JavaScriptToolchain::advice()),
    }
}
