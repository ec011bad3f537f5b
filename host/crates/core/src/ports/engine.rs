//! The port of model runtimes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{BoxFuture, Service};
use crate::{Datatype, Digest, LoadError, Name, RequestContext, Result, Tenants, Tensor};

/// A runtime that loads models. Its methods read files and compile: they block, and are never called on a thread that
/// serves requests.
pub trait Engine: Send + Sync + 'static {
    /// Says which versions of a model folder are to serve, by its `model.toml`, without loading them.
    ///
    /// # Errors
    /// Where `model.toml` is wrong, or no version is there.
    fn versions(&self, folder: &ModelFolder) -> Result<ModelVersions, LoadError>;

    /// Names the version that serves where no version from this one on can be loaded: the highest below it. None where the
    /// policy gives no choice, or there is none.
    ///
    /// # Errors
    /// As [`Engine::versions`].
    fn version_below(
        &self,
        folder: &ModelFolder,
        version: u64,
    ) -> Result<Option<ModelVersion>, LoadError>;

    /// Loads a version, warms it up and makes its instances. It ends early where it is cancelled: between the runs of the warm-up
    /// and within them, but not while a session is built.
    ///
    /// # Errors
    /// Where the model is refused, does not fit in memory, or has changed since its digest was taken; where it is cancelled.
    fn load(&self, version: &ModelVersion, cancel: &Cancel) -> Result<Arc<dyn Model>, LoadError>;
}

/// Says that a load is not wanted any more. Every clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Cancelling>);

#[derive(Debug, Default)]
struct Cancelling {
    is_cancelled: AtomicBool,
    outer: Option<Cancel>,
}

impl Cancel {
    /// One that is cancelled by itself, and with this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self(Arc::new(Cancelling {
            is_cancelled: AtomicBool::new(false),
            outer: Some(self.clone()),
        }))
    }

    /// Cancels, for good.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        let outer = self.0.outer.as_ref();
        self.0.is_cancelled.load(Ordering::Relaxed) || outer.is_some_and(Self::is_cancelled)
    }

    /// The error of a load that was cancelled.
    #[must_use]
    pub fn error(file: impl Into<String>) -> LoadError {
        LoadError::new(
            file,
            "the load was cancelled: the model was unloaded or deleted meanwhile, or the server ends",
        )
    }
}

/// The folder of a model: `models/NAME` in the site.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the model.
    pub name: Name,
}

/// The versions that a model folder has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelVersions {
    /// Those that are to serve, in ascending order: by the version policy, and those that have a label.
    pub serve: Vec<ModelVersion>,
    /// The numbers of those that are there and not to serve, in ascending order.
    pub idle: Vec<u64>,
    /// The numbers of those among `serve` that the version policy does not pick: they serve for their label alone. A request
    /// that names no version goes to none of them while another serves.
    pub only_labelled: BTreeSet<u64>,
    /// The labels that requests may name instead of a number: `stable`, `canary`. Each version of them is among `serve`.
    pub labels: BTreeMap<Arc<str>, u64>,
    /// Whose the model is.
    pub tenants: Tenants,
}

/// A version of a model that is to serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelVersion {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the model.
    pub name: Name,
    /// The number of the version; its folder is `models/NAME/VERSION`.
    pub version: u64,
    /// What it is made of: its files, and the settings that it is loaded with. An equal digest is no reason to reload.
    pub digest: Digest,
}

/// A loaded version of a model. Dropping the last reference gives its memory back.
pub trait Model: Send + Sync + 'static {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// Says early that a request would be refused for want of room, before its body is read. It takes no place.
    ///
    /// # Errors
    /// `Unavailable` with the time to wait, where [`Model::infer`] would refuse now.
    fn check_room(&self) -> Result<()>;

    /// Runs the model: inputs by name in any order, outputs in the model's order. Dropping the future cancels the run.
    ///
    /// # Errors
    /// `InvalidArgument` with the input's name as the field; `Unavailable` where the queue is full; `Deadline`.
    fn infer<'a>(
        &'a self,
        request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>>;

    /// How the model does at this moment.
    fn load(&self) -> ModelLoad;

    /// Whether its inputs and outputs are known. Where not, its info has none, and what a route takes is what its other candidates
    /// take.
    fn is_described(&self) -> bool {
        true
    }

    /// What takes and gives bodies in the place of tensors. A model that has it has no inputs and outputs, and is not asked
    /// to infer.
    fn service(&self) -> Option<&dyn Service> {
        None
    }
}

/// What an inference gave.
#[derive(Clone, Debug)]
pub struct Inference {
    /// The outputs, in the model's order.
    pub outputs: Vec<Tensor>,
    /// Where its time went.
    pub timings: Timings,
}

/// Where the time of an inference went. What was joined into one run shares the times of that run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timings {
    /// In the model's queue.
    pub queue: Duration,
    /// Making the inputs of the run: joining, copying to the device.
    pub compute_input: Duration,
    /// In the runtime.
    pub compute_infer: Duration,
    /// Making the outputs of the run: splitting, copying from the device.
    pub compute_output: Duration,
    /// The rows of the run, on one request of each run: so runs are counted once. None where another request of the same
    /// run has it, or nothing was run.
    pub run_rows: Option<u64>,
    /// What the response cache came to; none where the model has none.
    pub cache: Option<CacheLookup>,
}

/// What a look into the response cache came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheLookup {
    /// The answer was there; with the time of looking.
    Hit(Duration),
    /// It was not; with the time of looking and of storing it.
    Miss(Duration),
}

/// What a loaded model is.
#[derive(Clone, Debug)]
pub struct ModelInfo {
    /// The name.
    pub name: Name,
    /// The version.
    pub version: u64,
    /// What it is made of.
    pub digest: Digest,
    /// The runtime, as OIP names platforms: `onnxruntime_onnx`.
    pub platform: &'static str,
    /// The device that it runs on: `cpu`, `cuda:0`.
    pub device: String,
    /// The inputs, in the model's order.
    pub inputs: Vec<TensorSpec>,
    /// The outputs, in the model's order.
    pub outputs: Vec<TensorSpec>,
    /// The most rows of one batch; 1 where requests are not joined.
    pub max_batch_rows: u64,
    /// The sessions that run side by side, on all devices together.
    pub instances: u32,
    /// The rule that picked the version.
    pub policy: VersionPolicy,
    /// How its requests are queued.
    pub queueing: Queueing,
}

/// The rule that picks the versions that serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionPolicy {
    /// The highest so many.
    Latest(u32),
    /// Every version.
    All,
    /// These.
    Listed(Vec<u64>),
}

/// How the requests of a model are queued, joined and remembered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Queueing {
    /// Batches of these rows are closed at once, ascending; none where any number is as good.
    pub preferred_rows: Vec<u64>,
    /// How long an idle instance waits for a batch to fill.
    pub delay: Duration,
    /// The most requests that wait.
    pub capacity: u32,
    /// The longest that a request may wait where it does not say itself.
    pub timeout: Option<Duration>,
    /// The levels of priority, 1 the highest; 0 where requests have none.
    pub priority_levels: u32,
    /// The level of a request that names none.
    pub default_priority: u32,
    /// How long a sequence may rest before it is forgotten; none where the model has no sequences.
    pub sequence_idle: Option<Duration>,
    /// Whether answers are remembered.
    pub response_cache: bool,
}

/// What a model says of one of its inputs or outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name.
    pub name: Arc<str>,
    /// The element type.
    pub datatype: Datatype,
    /// The dimensions; none for one that each request chooses, such as the batch.
    pub shape: Vec<Option<u64>>,
    /// Whether a request may leave this input out.
    pub optional: bool,
    /// What the elements of this output mean, by their index in a row; none where nobody says.
    pub classes: Option<Arc<[Arc<str>]>>,
}

impl TensorSpec {
    /// What is asked for always, and has no classes.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, datatype: Datatype, shape: Vec<Option<u64>>) -> Self {
        Self {
            name: name.into(),
            datatype,
            shape,
            optional: false,
            classes: None,
        }
    }
}

/// How a model does at this moment: what a router sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ModelLoad {
    /// Requests that wait in the batch queue.
    pub queue_depth: u32,
    /// Requests that run.
    pub in_flight: u32,
    /// The moving average of a run's time; zero before the first.
    pub latency: Duration,
    /// The bytes free on the device, where known.
    pub free_memory: Option<u64>,
    /// Whether it is asked nothing for a while, since it kept failing: then no router is offered it beside others.
    pub rests: bool,
}
