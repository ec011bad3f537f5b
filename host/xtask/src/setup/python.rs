//! The Python packages of the tests, their clients' and the one that builds plugins, in a virtual environment of the user's cache folder.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use wharf_toolchain::answer_of;

use super::cache;
use crate::paths::Paths;
use crate::workspace::execute;

/// The packages and their versions.
const REQUIREMENTS: &str = "tests/conformance/requirements.txt";

/// Where a virtual environment wants its packages.
const PACKAGES_FOLDER: &str = "import sysconfig; print(sysconfig.get_path('purelib'))";

/// The interpreter of the environment, made first where it is missing. Another Python or other packages make another
/// environment, so that checkouts of different ages do not fight over one.
///
/// # Errors
/// Where there is no Python with pip, or pip cannot fetch the packages.
pub(crate) fn interpreter(paths: &Paths) -> Result<PathBuf> {
    let requirements = paths.root().join(REQUIREMENTS);
    let text = std::fs::read_to_string(&requirements)
        .with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let python = cache::python().context("the tests' clients are written in Python")?;
    let version = answer_of(Command::new(python).arg("--version"))
        .with_context(|| format!("`{python} --version` failed"))?;

    let cache = cache::folder()?;
    let name = format!(
        "python-{:016x}",
        cache::fingerprint([version.as_bytes(), text.as_bytes()])
    );
    let environment = cache.join(name);
    let interpreter = environment.join("bin/python");
    if interpreter.is_file() {
        return Ok(interpreter);
    }
    cache::in_scratch(&cache, |scratch| {
        make(python, &requirements, scratch)?;
        if !interpreter.is_file() {
            // One whose Python was taken from under it. Where there is none, there is nothing to remove.
            drop(std::fs::remove_dir_all(&environment));
        }
        // Only scripts in `bin` hold the path of an environment, and none of them is used.
        match std::fs::rename(scratch, &environment) {
            // Another process was sooner.
            Err(_) if interpreter.is_file() => Ok(()),
            moved => moved.with_context(|| format!("cannot write {}", environment.display())),
        }
    })?;
    Ok(interpreter)
}

/// Debian keeps `ensurepip` in a package of its own. Without pip inside, and with the pip outside to fill it, an
/// environment needs no more than what fetches ONNX Runtime.
fn make(python: &str, requirements: &Path, folder: &Path) -> Result<()> {
    execute(
        Command::new(python)
            .args(["-m", "venv", "--without-pip"])
            .arg(folder),
    )
    .with_context(|| format!("{python} makes no virtual environment: install `python3-venv`"))?;
    let inside = folder.join("bin/python");
    let packages = answer_of(Command::new(&inside).args(["-c", PACKAGES_FOLDER]))
        .with_context(|| format!("{} does not start", inside.display()))?;
    let mut pip = cache::pip_install(python, packages);
    execute(pip.arg("--requirement").arg(requirements))
        .with_context(|| format!("pip cannot fetch {REQUIREMENTS}: see its message above"))
}

#[cfg(test)]
mod tests {
    use wharf_toolchain::PythonToolchain;

    #[test]
    fn plugins_are_built_with_the_version_that_authors_are_told() {
        let requirements = include_str!("../../../../tests/conformance/requirements.txt");
        assert!(
            requirements
                .lines()
                .any(|line| line == PythonToolchain::PACKAGE)
        );
    }
}
