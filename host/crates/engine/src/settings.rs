//! `model.toml`: how a model is served.
//!
//! ```toml
//! [versions]
//! policy = "latest"       # "latest" (the default), "all" or "listed"
//! count = 1               # for "latest": how many of the highest versions
//! list = [1, 3]           # for "listed"
//!
//! [instances]
//! count = 2               # sessions that run side by side; by default from the cores and the size of the weights
//! device = "cpu"          # or "cuda:0"
//!
//! [threads]
//! intra = 1               # threads of one operator; by default the cores divided by the instances
//! inter = 1               # operators that run side by side
//!
//! [batching]
//! max_rows = 32           # the most rows of one batch; 1, the default, joins nothing
//! delay_ms = 0            # how long an idle instance waits for a batch to fill
//! queue_capacity = 256    # requests that may wait
//! queue_wait_ms = 500     # a request that would wait longer is refused at once
//!
//! [warmup]
//! enabled = true          # a version that fails its warm-up is refused
//! timeout_ms = 60000      # a version that takes longer is refused
//! shapes.X = [1, 3, 224, 224]   # of inputs whose free dimensions cannot be 1
//!
//! [memory]
//! arena = true            # keep freed tensors of a run for the next run
//! ```
//!
//! Every key is optional, and an unknown one is an error.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use wharf_core::LoadError;

/// The most instances of a model, and threads of one: each is a thread of the process.
const MAX_THREADS: u32 = 256;

/// The settings of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Which versions are served.
    pub versions: Versions,
    /// How many sessions, and where.
    pub instances: Instances,
    /// Threads of a session.
    pub threads: Threads,
    /// How requests are joined, and how many wait.
    pub batching: Batching,
    /// The trial run of a new version.
    pub warmup: Warmup,
    /// Memory of a session.
    pub memory: Memory,
}

/// Which versions of a model are served.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Versions {
    /// The rule.
    pub policy: Policy,
    /// How many of the highest versions `latest` serves; 1 by default.
    pub count: Option<NonZeroU32>,
    /// The versions that `listed` serves.
    pub list: Option<Vec<u64>>,
}

/// The rule that picks versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// The highest `count` versions.
    #[default]
    Latest,
    /// Every version.
    All,
    /// The versions of `list`.
    Listed,
}

/// How many sessions, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Instances {
    /// Sessions that run side by side.
    pub count: Option<NonZeroU32>,
    /// What they run on.
    pub device: Device,
}

/// What a model runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// The CPU.
    #[default]
    Cpu,
    /// The CUDA device of that index.
    Cuda(u32),
}

impl FromStr for Device {
    type Err = String;

    fn from_str(device: &str) -> Result<Self, String> {
        match device.split_once(':') {
            None if device == "cpu" => Ok(Self::Cpu),
            Some(("cuda", index)) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| unknown_device(device)),
            _ => Err(unknown_device(device)),
        }
    }
}

fn unknown_device(device: &str) -> String {
    format!("unknown device {device:?}: use \"cpu\", or \"cuda:0\" with the index of the device")
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl<'de> Deserialize<'de> for Device {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Threads of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Threads {
    /// Threads of one operator.
    pub intra: Option<NonZeroU32>,
    /// Operators that run side by side; 1 by default.
    pub inter: Option<NonZeroU32>,
}

/// How requests are joined, and how many wait.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batching {
    /// The most rows of one batch. Joining is safe only where every row is worked on by itself, which no check can see, so
    /// it is off (1) unless said.
    pub max_rows: Option<NonZeroU32>,
    /// How long an idle instance waits for a batch to fill, in milliseconds; 0 by default.
    pub delay_ms: u64,
    /// Requests that may wait.
    pub queue_capacity: Option<NonZeroU32>,
    /// A request that is likely to wait longer, in milliseconds, is refused at once; 500 by default. Four requests for each
    /// instance may always wait.
    pub queue_wait_ms: Option<u64>,
}

/// The trial run of a new version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warmup {
    /// Whether it is run; on by default.
    pub enabled: bool,
    /// The longest that one run of it may take, in milliseconds; 60 seconds by default.
    pub timeout_ms: u64,
    /// The shapes of inputs by name; free dimensions are 1 where none is given.
    pub shapes: BTreeMap<String, Vec<u64>>,
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout_ms: 60_000,
            shapes: BTreeMap::new(),
        }
    }
}

/// Memory of a session.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Whether a session keeps the memory of a run for the next, on the CPU. Faster; without it a rare large input leaves
    /// nothing behind.
    pub arena: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { arena: true }
    }
}

impl Settings {
    /// Reads `model.toml`; `file` is its name for errors.
    ///
    /// # Errors
    /// Where it is no TOML, has an unknown key or a wrong value, or settings contradict each other. The error names the key.
    pub fn parse(file: &str, text: &str) -> Result<Self, LoadError> {
        let deserializer = toml::Deserializer::parse(text).map_err(|error| {
            LoadError::new(file, format!("not valid TOML: {}", error.message()))
        })?;
        let settings: Self = serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = error.path().to_string();
            LoadError::new(file, error.inner().message()).with_key(key)
        })?;
        settings.check(file)?;
        Ok(settings)
    }

    fn check(&self, file: &str) -> Result<(), LoadError> {
        let Versions {
            policy,
            count,
            list,
        } = &self.versions;
        let wrong = |key: &str, message: &str| Err(LoadError::new(file, message).with_key(key));
        match policy {
            Policy::Listed if list.as_ref().is_none_or(Vec::is_empty) => wrong(
                "versions.list",
                "policy \"listed\" needs the versions, such as list = [1, 3]",
            ),
            Policy::All | Policy::Latest if list.is_some() => wrong(
                "versions.list",
                "only policy \"listed\" takes a list; remove it or change the policy",
            ),
            Policy::All | Policy::Listed if count.is_some() => wrong(
                "versions.count",
                "only policy \"latest\" takes a count; remove it or change the policy",
            ),
            _ if self.batching.delay_ms > 0 && self.max_rows() == 1 => wrong(
                "batching.delay_ms",
                "a delay is of no use where nothing is joined; set batching.max_rows too",
            ),
            _ if self
                .instances
                .count
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("instances.count", "use at most 256")
            }
            _ if self
                .threads
                .intra
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("threads.intra", "use at most 256")
            }
            _ if self
                .threads
                .inter
                .is_some_and(|count| count.get() > MAX_THREADS) =>
            {
                wrong("threads.inter", "use at most 256")
            }
            _ if self.batching.delay_ms > 10_000 => wrong("batching.delay_ms", "use at most 10000"),
            _ => Ok(()),
        }
    }

    /// The most rows of one batch.
    #[must_use]
    pub fn max_rows(&self) -> u64 {
        self.batching
            .max_rows
            .map_or(1, |rows| u64::from(rows.get()))
    }
}

#[cfg(test)]
mod tests;
