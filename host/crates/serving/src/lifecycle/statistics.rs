//! What requests came to, by the name and the version that they named.

use std::time::{Duration, SystemTime};

use wharf_core::Name;

use crate::serving::Serving;
use crate::snapshot::Snapshot;

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
    /// Requests that failed, likewise, with those whose client left, as Triton counts them.
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
    /// The rows; runs of more than 128 are counted under the next power of two.
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
    /// What requests came to, of every name and version in force, sorted by these. A route that reaches models of several
    /// names has an entry for each of them, also where their versions are the same.
    #[must_use]
    pub fn statistics(&self) -> Vec<ModelStatistics> {
        self.snapshot().statistics()
    }
}

impl Snapshot {
    fn statistics(&self) -> Vec<ModelStatistics> {
        self.routes().flat_map(|route| route.statistics()).collect()
    }
}
