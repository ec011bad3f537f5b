//! `cargo xtask abi-check`: a component that was built against the first release of a contract loads for ever.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::paths::Paths;
use crate::setup::onnxruntime_library;
use crate::workspace::{build_server, say};

/// Builds the server, and loads each component in `tests/guests/abi` with it: `wharf check` compiles, type-checks,
/// instantiates and self-tests it.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    build_server(paths)?;
    check(paths, &onnxruntime_library()?)
}

/// Checks the server as it was built.
pub(crate) fn check(paths: &Paths, onnxruntime: &Path) -> Result<()> {
    let folder = paths.root().join("tests/guests/abi");
    let components = components(&folder)?;
    ensure!(
        !components.is_empty(),
        "{} holds no component",
        folder.display()
    );

    let site = tempfile::tempdir()?;
    let plugins = site.path().join("plugins");
    fs::create_dir(&plugins)?;
    for component in &components {
        // The settings beside a component, where it has any, go with it.
        for file in [component.clone(), component.with_extension("toml")] {
            if file.is_file() {
                fs::copy(
                    &file,
                    plugins.join(file.file_name().context("a component has a name")?),
                )?;
            }
        }
    }
    let status = Command::new(paths.wharf())
        .args(["check", "--site"])
        .arg(site.path())
        .env("WHARF_ONNXRUNTIME", onnxruntime)
        .status()
        .context("cannot run wharf")?;
    ensure!(
        status.success(),
        "a component of an earlier release does not load any more: the contract was broken"
    );
    say(
        "abi-check",
        &format!("{} components of earlier releases load", components.len()),
    );
    Ok(())
}

fn components(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut components = Vec::new();
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
        {
            components.push(path);
        }
    }
    components.sort();
    Ok(components)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_components_are_taken_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().unwrap();
        for file in ["b.wasm", "a.wasm", "a.toml", "README.md"] {
            fs::write(folder.path().join(file), "").unwrap();
        }
        let names: Vec<_> = components(folder.path()).unwrap();
        assert_eq!(
            names,
            [folder.path().join("a.wasm"), folder.path().join("b.wasm")]
        );
    }
}
