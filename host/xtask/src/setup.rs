//! `cargo xtask setup`: everything that a fresh machine lacks.

mod cache;
mod onnxruntime;
mod onnxruntime_gpu;
mod python;
mod toolchain;

pub(crate) use onnxruntime::library as onnxruntime_library;
pub(crate) use onnxruntime_gpu::{GpuLibraries, libraries as gpu_libraries};
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

/// What [`run`] does, and the Python environment of the tests' clients. Gives the paths that the tests need.
///
/// # Errors
/// As [`run`].
pub(crate) fn for_tests(paths: &Paths) -> Result<ForTests> {
    let python = python::interpreter(paths)?;
    say("python", &python.display().to_string());
    Ok(ForTests {
        onnxruntime: run(paths)?,
        python,
    })
}

/// Where that lies which tests need.
pub(crate) struct ForTests {
    /// The ONNX Runtime library.
    pub(crate) onnxruntime: PathBuf,
    /// The interpreter of the Python environment.
    pub(crate) python: PathBuf,
}
