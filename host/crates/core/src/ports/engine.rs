//! The port of model runtimes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::BoxFuture;
use crate::{Datatype, Digest, LoadError, Name, RequestContext, Result, Tensor};

/// A runtime that loads models. Its methods read files and compile: they block, and are never called on a thread that
/// serves requests.
pub trait Engine: Send + Sync + 'static {
    /// Says which versions of a model folder are to serve, by the version policy of its `model.toml`, in ascending order,
    /// without loading them.
    ///
    /// # Errors
    /// Where `model.toml` is wrong, or no version is there.
    fn versions(&self, folder: &ModelFolder) -> Result<Vec<ModelVersion>, LoadError>;

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

    /// Loads a version, warms it up and makes its instances.
    ///
    /// # Errors
    /// Where the model is refused, does not fit in memory, or has changed since its digest was taken.
    fn load(&self, version: &ModelVersion) -> Result<Arc<dyn Model>, LoadError>;
}

/// The folder of a model: `models/NAME` in the site.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the model.
    pub name: Name,
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

    /// Runs the model: inputs by name in any order, outputs in the model's order. Dropping the future cancels the run.
    ///
    /// # Errors
    /// `InvalidArgument` with the input's name as the field; `Unavailable` where the queue is full; `Deadline`.
    fn infer<'a>(
        &'a self,
        request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Vec<Tensor>>>;

    /// How the model does at this moment.
    fn load(&self) -> ModelLoad;
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
}
