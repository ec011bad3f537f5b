//! What clients may do with models while they serve: load, unload, and look at them.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use wharf_core::{Error, ErrorKind, Name, Result};

use crate::serving::Serving;

/// What a load is to change before: both land in the site, together or not at all.
#[derive(Clone, Debug, Default)]
pub struct ModelChange {
    /// Keys of `model.toml` to set; the others stay as they are.
    pub settings: Vec<SettingEdit>,
    /// Files of versions. A version that is given is replaced as a whole.
    pub files: Vec<ModelFile>,
}

/// A key of `model.toml` and its new value.
#[derive(Clone, Debug, PartialEq)]
pub struct SettingEdit {
    /// The key with its tables: `batching.max_rows`.
    pub key: String,
    /// The value.
    pub value: SettingValue,
}

/// A value of `model.toml`.
#[derive(Clone, Debug, PartialEq)]
pub enum SettingValue {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<SettingValue>),
    /// The key is taken out, and its default holds.
    Default,
}

/// A file of a version.
#[derive(Clone, Debug)]
pub struct ModelFile {
    /// The version.
    pub version: u64,
    /// The path inside the version's folder, as the client wrote it: `model.onnx`. It is checked before any path is made.
    pub path: String,
    /// What is in it.
    pub data: Bytes,
}

/// A version of a model or a route, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The name of the model, or of a route that has one of its own.
    pub name: Name,
    /// The version; none where no version is known.
    pub version: Option<u64>,
    /// How it is.
    pub state: ModelState,
    /// Why it is so, for the operator; empty where there is nothing to say. It names files of the site, and never a path.
    pub reason: String,
}

/// How a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It takes requests.
    Ready,
    /// It takes none, and nothing is being done about it.
    Unavailable,
    /// It is being loaded.
    Loading,
    /// It takes none any more, and requests that began before still run.
    Unloading,
}

/// What the requests to one version came to, through one name.
#[derive(Clone, Debug)]
pub struct ModelStatistics {
    /// The name that clients use: of a model, or of a route.
    pub name: Name,
    /// The version of the model.
    pub version: u64,
    /// When the last request ended; none before the first.
    pub last_inference: Option<SystemTime>,
    /// Rows of requests that succeeded.
    pub inference_count: u64,
    /// Runs of the model.
    pub execution_count: u64,
    /// Requests that succeeded, from their arrival at the route to their answer.
    pub success: Tally,
    /// Requests that failed, likewise.
    pub fail: Tally,
    /// Time in the model's queue.
    pub queue: Tally,
    /// Time to make the inputs of runs.
    pub compute_input: Tally,
    /// Time in the runtime.
    pub compute_infer: Tally,
    /// Time to make the outputs of runs.
    pub compute_output: Tally,
    /// Answers from the response cache, and the time to look them up.
    pub cache_hit: Tally,
    /// Answers that were not there, and the time to look and to store them.
    pub cache_miss: Tally,
    /// Runs by their rows, ascending.
    pub batches: Vec<BatchStatistics>,
}

/// Runs with a number of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStatistics {
    /// The rows.
    pub rows: u64,
    /// Time to make the inputs.
    pub compute_input: Tally,
    /// Time in the runtime.
    pub compute_infer: Tally,
    /// Time to make the outputs.
    pub compute_output: Tally,
}

/// How often something was done, and how long it took together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often.
    pub count: u64,
    /// How long together.
    pub time: Duration,
}

impl Serving {
    /// Loads a model of the site, and says when it is in force; where it is, loads it anew if its content changed. What is
    /// to change is tried before it lands in the site: where it cannot be loaded, nothing has changed.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model, and no files are given; `InvalidArgument` with the parameter as the
    /// field where files or settings are wrong; `Unprocessable` where the model cannot be loaded; `Unavailable` where the
    /// server is still loading or ends.
    pub async fn load_model(&self, name: &Name, change: ModelChange) -> Result<()> {
        let _ = (name, change);
        Err(Error::new(
            ErrorKind::Unimplemented,
            "loading is not there yet",
        ))
    }

    /// Takes a model out of force until it is loaded again or the process starts anew. Requests that began before end as
    /// they would have; this waits until they have, up to the drain timeout.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model.
    pub async fn unload_model(&self, name: &Name) -> Result<()> {
        let _ = name;
        Err(Error::new(
            ErrorKind::Unimplemented,
            "unloading is not there yet",
        ))
    }

    /// Every version of every model, and every route with a file, sorted by name and version.
    #[must_use]
    pub fn index(&self) -> Vec<IndexEntry> {
        Vec::new()
    }

    /// What requests came to, of every name and version in force, sorted by these.
    #[must_use]
    pub fn statistics(&self) -> Vec<ModelStatistics> {
        Vec::new()
    }
}
