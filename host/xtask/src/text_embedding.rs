//! `cargo xtask text-embedding`: puts into the example site of that name what is not committed, its model and its plugins.

use std::path::Path;

use anyhow::{Context, Result};

use crate::paths::Paths;
use crate::setup;
use crate::workspace::say;

/// What the model's folder holds.
const FILES: [&str; 2] = ["tokenizer.json", "1/model.onnx"];

/// Fetches, makes and builds what is missing.
///
/// # Errors
/// Where something is missing and cannot be had; the text says what to do.
pub(crate) fn run(paths: &Paths) -> Result<()> {
    // The guests put themselves into the site.
    setup::run(paths)?;
    let made = setup::minilm(paths)?;
    let site = paths.example("text-embedding");
    let model = site.join("models/minilm");
    for file in FILES {
        put(&made.model.join(file), &model.join(file))?;
    }
    let shown = site.strip_prefix(paths.root()).unwrap_or(&site);
    say("site", &format!("{} is complete", shown.display()));
    Ok(())
}

/// Copies a file by way of another name, so that a server never reads half of it.
fn put(from: &Path, to: &Path) -> Result<()> {
    let written = || format!("cannot write {}", to.display());
    if let Some(folder) = to.parent() {
        std::fs::create_dir_all(folder).with_context(written)?;
    }
    let partial = to.with_extension("partial");
    std::fs::copy(from, &partial).with_context(written)?;
    std::fs::rename(&partial, to).with_context(written)
}
