//! The process's one ONNX Runtime environment.
#![expect(
    unsafe_code,
    reason = "the library's telemetry is switched off by the environment of the process"
)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use ort::environment::Environment;
use ort::logging::LogLevel;
use parking_lot::Mutex;

/// ONNX Runtime allows one environment in a process, and its CUDA provider may abort when one is torn down at exit: it is
/// made once and kept.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// Loads the library and makes the environment, or gives the one that is there.
///
/// # Errors
/// What the library or its loader says.
pub(crate) fn environment(library: &Path) -> Result<Environment, String> {
    let mut kept = ENVIRONMENT.lock();
    if let Some(environment) = kept.as_ref() {
        return Ok(environment.clone());
    }
    // `ort` panics where a library of that name is no ONNX Runtime at all.
    let environment = catch_unwind(AssertUnwindSafe(|| open(library)))
        .map_err(|_| "the library is no ONNX Runtime".to_owned())??;
    Ok(kept.insert(environment).clone())
}

/// What the library's telemetry looks at, once, when the first environment is made.
const NO_TELEMETRY: &str = "ORT_DISABLE_TELEMETRY";

/// Keeps the library from writing a database into the user's cache folder, and from sending it to its maker. Switching
/// telemetry off through its interface comes too late for the first, and does not stop the second.
fn forbid_telemetry() {
    if std::env::var_os(NO_TELEMETRY).is_none() {
        // SAFETY: Rust's own readers of the environment wait for this, and C code of the process reads it only where it
        // resolves names or looks at the time zone. The program sets the variable itself before its first thread, so that
        // only other users of this crate come here.
        unsafe { std::env::set_var(NO_TELEMETRY, "1") };
    }
}

fn open(library: &Path) -> Result<Environment, String> {
    forbid_telemetry();
    let environment = ort::init_from(library)
        .map_err(|error| error.to_string())?
        .with_name("wharf")
        .with_telemetry(false)
        .with_logger(Arc::new(log))
        .build()
        .map_err(|error| error.to_string())?;
    environment.set_log_level(LogLevel::Warning);
    Ok(environment)
}

fn log(level: LogLevel, category: &str, _session: &str, location: &str, message: &str) {
    match level {
        // What fails is also returned as an error, and reported by who asked.
        LogLevel::Error | LogLevel::Fatal | LogLevel::Warning => {
            tracing::warn!(target: "onnxruntime", category, location, "{message}");
        }
        LogLevel::Info | LogLevel::Verbose => {
            tracing::trace!(target: "onnxruntime", category, location, "{message}");
        }
    }
}
