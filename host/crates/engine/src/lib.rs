//! Runs models: finds their versions in the site, checks what they are made of, and runs them on ONNX Runtime in batches,
//! on instances.
//!
//! A request enters at [`OnnxEngine`]'s models: it is checked against the model's inputs, and runs at once on the caller's
//! thread where the model is short and an instance idle; otherwise it waits in the model's one bounded queue for an
//! instance's thread. ONNX Runtime opens no file: it gets bytes that this crate resolved inside the site.

mod batching;
mod cache;
mod config;
mod devices;
mod engine;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod memory;
mod metrics;
mod model;
mod onnx;
mod ort;
#[cfg(test)]
#[path = "../tests/onnxruntime/support/onnx.rs"]
#[expect(dead_code, reason = "only some of the models are needed here")]
mod sample;
mod sequences;
mod settings;
mod site;
mod validate;

pub use config::Config;
pub use devices::{CudaProbe, DeviceMemory, DeviceProbe};
pub use engine::{MockEngine, OnnxEngine, OpenError};
pub use settings::{
    Batching, Device, Instances, Memory, Millis, Policy, Registry, Settings, Threads, Versions,
    Warmup,
};
