//! The engine's part of `wharf.toml`.

use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::Deserialize;

/// Settings of the engine; every one optional. What a model's own `model.toml` says goes before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The ONNX Runtime library (`libonnxruntime.so`), or the folder that it is in. Goes before `WHARF_ONNXRUNTIME`,
    /// `ORT_DYLIB_PATH` and the usual places.
    pub onnxruntime: Option<PathBuf>,
    /// Instances of a model on the CPU. By default as many as there are cores, and fewer where the copies of the weights
    /// would take more than a gigabyte.
    pub instances: Option<NonZeroU32>,
    /// Threads of one instance. By default the cores divided by the instances.
    pub intra_threads: Option<NonZeroU32>,
    /// Requests that may wait for one model; 256 by default.
    pub queue_capacity: Option<NonZeroU32>,
    /// A model whose runs are shorter than this, in microseconds, runs on the thread that asks; 200 by default, and 0 turns
    /// it off.
    pub inline_below_us: Option<u64>,
    /// The bytes of all answers that are remembered, for models with `cache.enabled`; 64 MiB by default.
    pub cache_bytes: Option<u64>,
}
