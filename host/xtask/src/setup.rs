//! `cargo xtask setup`: everything that a fresh machine lacks.

mod onnxruntime;
mod toolchain;

pub(crate) use onnxruntime::library as onnxruntime_library;
pub(crate) use toolchain::Toolchain;

use std::path::PathBuf;

use anyhow::Result;

use crate::guests;
use crate::paths::Paths;
use crate::workspace::say;

/// Fetches ONNX Runtime, finds or installs a guest toolchain and builds the guests, all where they are missing. Gives
/// the path of the ONNX Runtime library.
///
/// # Errors
/// Where something is missing and cannot be had; the text says what to do.
pub(crate) fn run(paths: &Paths) -> Result<PathBuf> {
    let library = onnxruntime_library()?;
    say("onnxruntime", &library.display().to_string());
    guests::run(paths)?;
    Ok(library)
}
