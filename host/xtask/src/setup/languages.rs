//! What builds plugins in other languages than Rust, installed where it is missing.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use wharf_toolchain::{CToolchain, JavaScriptToolchain, PythonToolchain, answer_of};

use super::cache;
use super::toolchain::install_debian_packages;
use crate::paths::Paths;
use crate::workspace::{execute, say};

/// The example whose `package.json` names the package, and whose lock file names all that it needs.
const PACKAGES: &str = "examples/plugins/javascript";
const PACKAGE_FILES: [&str; 2] = ["package.json", "package-lock.json"];

/// The toolchains, and where those lie that are no programs.
pub(crate) struct Languages {
    pub(crate) python: PythonToolchain,
    pub(crate) javascript: JavaScriptToolchain,
    pub(crate) c: CToolchain,
    /// The folder `node_modules` of `javascript`.
    pub(crate) node_modules: PathBuf,
}

impl Languages {
    /// Finds or installs all of them. Python's package is one of those that the tests' interpreter has.
    ///
    /// # Errors
    /// Where one is missing and cannot be had; the text says what to do.
    pub(crate) fn ensure(paths: &Paths, python: &Path) -> Result<Self> {
        let node_modules = node_modules(paths)?;
        Ok(Self {
            python: PythonToolchain::with(python.to_owned()),
            javascript: JavaScriptToolchain::with(&node_modules),
            c: clang()?,
            node_modules,
        })
    }
}

fn clang() -> Result<CToolchain> {
    if let Some(found) = CToolchain::find() {
        return Ok(found);
    }
    if let Err(error) = install_debian_packages(&CToolchain::DEBIAN_PACKAGES) {
        say("toolchain", &format!("{error:#}"));
    }
    match CToolchain::find() {
        Some(found) => Ok(found),
        None => bail!("{}", CToolchain::advice()),
    }
}

/// The packages that build plugins in JavaScript, in the user's cache folder. Another Node.js or another lock file makes
/// another folder, so that checkouts of different ages do not fight over one.
fn node_modules(paths: &Paths) -> Result<PathBuf> {
    let version = node()?;
    let source = paths.root().join(PACKAGES);
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
        execute(&mut npm).context("npm cannot fetch what builds plugins in JavaScript")?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_built_with_the_version_that_authors_are_told() {
        let package = include_str!("../../../../examples/plugins/javascript/package.json");
        let package: serde_json::Value = serde_json::from_str(package).unwrap();
        for known in JavaScriptToolchain::PACKAGES {
            let (name, version) = known.rsplit_once('@').unwrap();
            assert_eq!(package["devDependencies"][name], version);
        }
    }
}
