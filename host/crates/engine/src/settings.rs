//! `model.toml`: how a model is served. `host/reference/model.toml` shows every key with its default. Every key is optional,
//! and an unknown one is an error.

mod check;
mod device;
mod millis;
mod registry;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;
use serde_path_to_error::{Path, Segment};
use wharf_core::{LoadError, Queueing, Tenants, VersionPolicy};

pub use device::Device;
pub use millis::Millis;
pub use registry::Registry;

/// The settings of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The tenants that the model is there for; every one by default.
    pub tenants: Option<Vec<String>>,
    /// Which versions are served.
    pub versions: Versions,
    /// How many sessions, and where.
    pub instances: Instances,
    /// Threads of a session.
    pub threads: Threads,
    /// How requests are joined, and how many wait.
    pub batching: Batching,
    /// Whether answers are remembered.
    pub cache: Cache,
    /// The memory that the requests of a sequence share; none where the model has no sequences.
    pub sequences: Option<Sequences>,
    /// What is known of outputs, by name.
    pub outputs: BTreeMap<String, Output>,
    /// The trial run of a new version.
    pub warmup: Warmup,
    /// Memory of a session.
    pub memory: Memory,
    /// What people say of the model. With it a model may have no version yet.
    pub registry: Option<Registry>,
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
    /// Names for versions. A version with a name serves, whatever the policy says.
    pub labels: BTreeMap<String, u64>,
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
    /// Sessions that run side by side on each device.
    pub count: Option<NonZeroU32>,
    /// What they run on; the CPU by default.
    pub device: Option<Device>,
    /// Several devices, in place of one.
    pub devices: Option<Vec<Device>>,
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
    /// The most rows of one batch. Joining is safe only where every row is worked on by itself. Where the graph shows that,
    /// and every request has rows of the same bytes, it is 64, or what 256 KiB of inputs or of outputs hold, and a batch takes
    /// no longer than 2 ms or four times a run for one row; elsewhere it is 1, which joins nothing.
    pub max_rows: Option<NonZeroU32>,
    /// A batch of one of these rows is run at once; what has other rows waits for `delay_ms` to become one.
    pub preferred_rows: Vec<u64>,
    /// How long an idle instance waits for a batch to fill, in milliseconds, to the microsecond (0.1); 0 by default.
    pub delay_ms: Millis,
    /// Requests that may wait.
    pub queue_capacity: Option<NonZeroU32>,
    /// A request that is likely to wait longer, in milliseconds, is refused at once; four requests for each instance may
    /// wait at any rate. By default it is 500; and while more requests come than the model can answer, it is the time of one
    /// run, at least a millisecond, whatever waits.
    pub queue_wait_ms: Option<u64>,
    /// A request that has waited longer, in milliseconds, is refused. A request may ask for a shorter time of its own.
    pub queue_timeout_ms: Option<u64>,
    /// The levels of priority that requests may name, 1 the highest; 0, the default, has none.
    pub priority_levels: u32,
    /// The level of a request that names none; by default the middle one.
    pub default_priority: Option<NonZeroU32>,
    /// Requests that wait or run, by all routes together.
    pub max_in_flight: Option<NonZeroU32>,
}

/// Whether answers are remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Off by default: the same inputs must give the same outputs, which no check can see.
    pub enabled: bool,
}

/// The memory that the requests of a sequence share.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sequences {
    /// A sequence that rests longer, in milliseconds, is forgotten.
    pub idle_ms: u64,
    /// Sequences at one time.
    pub capacity: NonZeroU32,
    /// The input, BOOL, INT32 or FP32, that says whether a sequence begins.
    pub start: Option<String>,
    /// The input, BOOL, INT32 or FP32, that says whether it ends.
    pub end: Option<String>,
    /// The input, INT64, UINT64, INT32, UINT32 or BYTES, that takes its name.
    pub id: Option<String>,
    /// Outputs that become inputs of the next request; zeros for the first.
    pub states: Vec<SequenceState>,
}

/// An output that becomes an input of the next request of a sequence. Neither is seen by clients.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceState {
    /// The input.
    pub input: String,
    /// The output.
    pub output: String,
}

impl Default for Sequences {
    fn default() -> Self {
        Self {
            idle_ms: 60_000,
            capacity: NonZeroU32::new(1024).expect("1024 is not zero"),
            start: None,
            end: None,
            id: None,
            states: Vec::new(),
        }
    }
}

/// What is known of an output.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Output {
    /// A text file in the model's folder: the name of each class, a line each.
    pub classes: Option<String>,
}

/// The trial run of a new version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Warmup {
    /// Whether it is run; on by default.
    pub enabled: bool,
    /// The longest that all of it may take, on all instances together, in milliseconds; 60 seconds by default, and at most ten
    /// minutes.
    pub timeout_ms: u64,
    /// The shapes of inputs by name; free dimensions are 1 where none is given.
    pub shapes: BTreeMap<String, Vec<u64>>,
    /// Requests to run on each instance, at most 64; without, one of zeros. The inputs of one take at most 256 MiB.
    pub samples: Vec<Sample>,
}

/// A request of the warm-up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// How often it is run, at most 1000 times; 1 by default.
    #[serde(default = "once")]
    pub count: NonZeroU32,
    /// The inputs by name; those that are not named are zeros.
    pub inputs: BTreeMap<String, SampleInput>,
}

fn once() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// An input of a request of the warm-up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleInput {
    /// The shape; free dimensions are 1 where none is given.
    pub shape: Option<Vec<u64>>,
    /// `zeros`, `random`, or the path of a file in the model's folder: its elements as they are in memory, little-endian.
    #[serde(default = "zeros")]
    pub data: String,
}

fn zeros() -> String {
    "zeros".to_owned()
}

impl Default for Warmup {
    fn default() -> Self {
        Self {
            enabled: true,
            timeout_ms: 60_000,
            shapes: BTreeMap::new(),
            samples: Vec::new(),
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
    /// The most memory of a CUDA device, in MiB, that one session takes for its tensors; no limit by default.
    pub gpu_limit_mb: Option<NonZeroU32>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            arena: true,
            gpu_limit_mb: None,
        }
    }
}

/// A path through a document as a key.
fn dotted(path: &Path) -> String {
    let mut key = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => key.extend(format!("[{index}]").chars()),
            Segment::Map { key: name } | Segment::Enum { variant: name } => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(&LoadError::key_part(name));
            }
            Segment::Unknown => {}
        }
    }
    key
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
            let key = dotted(error.path());
            LoadError::new(file, error.inner().message()).with_key(key)
        })?;
        settings.check(file)?;
        Ok(settings)
    }

    /// Whose the model is.
    #[must_use]
    pub fn tenants(&self) -> Tenants {
        // They were checked when the settings were read.
        Tenants::of_setting(self.tenants.as_deref()).unwrap_or_else(|_| Tenants::only([]))
    }

    /// The rule that picks the versions.
    #[must_use]
    pub fn policy(&self) -> VersionPolicy {
        match self.versions.policy {
            Policy::Latest => VersionPolicy::Latest(self.versions.count.map_or(1, NonZeroU32::get)),
            Policy::All => VersionPolicy::All,
            Policy::Listed => VersionPolicy::Listed(self.versions.list.clone().unwrap_or_default()),
        }
    }

    /// How requests are queued, for who asks.
    #[must_use]
    pub fn queueing(&self) -> Queueing {
        let Batching {
            preferred_rows,
            delay_ms,
            queue_capacity,
            queue_timeout_ms,
            priority_levels,
            ..
        } = &self.batching;
        Queueing {
            preferred_rows: preferred_rows.clone(),
            delay: delay_ms.duration(),
            capacity: queue_capacity.map_or(0, NonZeroU32::get),
            timeout: queue_timeout_ms.map(Duration::from_millis),
            priority_levels: *priority_levels,
            default_priority: self.batching.default_priority(),
            sequence_idle: self
                .sequences
                .as_ref()
                .map(|sequences| Duration::from_millis(sequences.idle_ms)),
            response_cache: self.cache.enabled,
        }
    }

    /// The devices that instances run on: at least one.
    #[must_use]
    pub fn devices(&self) -> Vec<Device> {
        let one = || vec![self.instances.device.unwrap_or_default()];
        self.instances.devices.clone().unwrap_or_else(one)
    }

    /// The key that names the devices.
    pub(crate) fn device_key(&self) -> &'static str {
        match self.instances.devices {
            Some(_) => "instances.devices",
            None => "instances.device",
        }
    }

    /// The files in the model's folder that the settings name, each once.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        let classes = self
            .outputs
            .values()
            .filter_map(|output| output.classes.as_deref());
        let samples = self.warmup.samples.iter();
        let data = samples
            .flat_map(|sample| sample.inputs.values())
            .map(|input| input.data.as_str())
            .filter(|data| !matches!(*data, "zeros" | "random"));
        classes.chain(data).collect()
    }
}

impl Batching {
    /// The level of a request that names none; 0 where there are no levels.
    #[must_use]
    pub fn default_priority(&self) -> u32 {
        self.default_priority
            .map_or(self.priority_levels.div_ceil(2), NonZeroU32::get)
    }
}

#[cfg(test)]
mod tests;
