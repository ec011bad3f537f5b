//! What builds plugins in other languages than Rust, installed where it is missing.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use wharf_toolchain::{CToolchain, JavaScriptToolchain, PythonToolchain};

use super::node;
use super::toolchain::install_debian_packages;
use crate::paths::Paths;
use crate::workspace::say;

/// The example whose `package.json` names the package, and whose lock file names all that it needs.
const PACKAGES: &str = "examples/plugins/javascript";

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
        let node_modules = node::modules(paths, PACKAGES)?;
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
