//! Write a Wharf plugin in Rust.
//!
//! A plugin is a WebAssembly component that exports **stages**: preprocess, postprocess, router, token filter. Here each
//! is a trait. A plugin is a value made from its settings, and [`export!`] makes the component:
//!
//! ```
//! use serde::Deserialize;
//! use wharf_plugin_sdk::{Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, Tensor};
//!
//! /// Multiplies every element of an `FP32` tensor.
//! struct Scale {
//!     settings: Settings,
//! }
//!
//! /// `[settings]` in `plugins/scale.toml`.
//! #[derive(Deserialize)]
//! #[serde(deny_unknown_fields)]
//! struct Settings {
//!     input: String,
//!     factor: f32,
//! }
//!
//! impl Plugin for Scale {
//!     type Settings = Settings;
//!
//!     fn new(settings: Settings) -> Result<Self> {
//!         if !settings.factor.is_finite() {
//!             return Err(Error::invalid_field("factor", "give a finite number"));
//!         }
//!         Ok(Self { settings })
//!     }
//! }
//!
//! impl Preprocess for Scale {
//!     fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
//!         let tensor = input.tensor(&self.settings.input)?;
//!         let mut values = tensor.fp32()?;
//!         values.iter_mut().for_each(|value| *value *= self.settings.factor);
//!         Ok(Tensor::new(&tensor.name(), &tensor.shape(), &values)?.into())
//!     }
//! }
//!
//! impl Lifecycle for Scale {}
//!
//! wharf_plugin_sdk::export!(Scale: preprocess, lifecycle);
//!
//! // A native test needs no host.
//! let scale: Scale = wharf_plugin_sdk::testing::plugin(r#"{"input": "x", "factor": 2.0}"#)?;
//! let input = Tensor::new("x", &[1, 2], &[1.0f32, 2.0])?;
//! let output = scale.preprocess(&Request::new("demo"), input.into())?;
//! assert_eq!(output.tensor("x")?.fp32()?, [2.0, 4.0]);
//! # Ok::<(), Error>(())
//! ```
//!
//! The crate of a plugin is a `cdylib`. The component has the target `wasm32-unknown-unknown` or `wasm32-wasip2`; on every
//! other target this crate is plain Rust in memory, so `cargo test` runs a plugin's unit tests natively.
//!
//! # Errors, panics, logs
//! `?` does it: [`Error`] is the contract's error variant, and each case has its own status for the client. A panic is a
//! fault of the plugin: its text goes to the host's log, the client gets none of it, and the instance is thrown away.
//! [`log`] writes lines and [`Metric`] reports numbers.
#![deny(missing_docs)]

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod bindings;
pub mod codec;
mod datatype;
mod error;
mod export;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue;
#[cfg(doctest)]
mod guide;
#[cfg(all(target_arch = "wasm32", feature = "heap"))]
mod heap;
#[cfg(target_arch = "wasm32")]
mod host;
pub mod http;
pub mod log;
#[cfg(not(target_arch = "wasm32"))]
mod memory;
pub mod metrics;
pub mod model;
mod payload;
mod request;
pub mod secret;
mod settings;
mod stage;
pub mod state;
pub mod sticky;
mod tensor;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use datatype::Datatype;
pub use error::{Error, InvalidInput, Result};
pub use metrics::{Metric, MetricKind};
pub use payload::{Body, Payload};
pub use request::{HeaderName, Request};
pub use settings::NoSettings;
pub use stage::{
    Candidate, ChunkFilter, Filter, Lifecycle, Plugin, Postprocess, Preprocess, Router, Token,
    TokenFilter, Verdict,
};
pub use tensor::{Element, Tensor};

#[cfg(target_arch = "wasm32")]
use host as raw;
#[cfg(not(target_arch = "wasm32"))]
use memory as raw;
