//! Runs plugins: WebAssembly components behind the contract of `wit/v1`, each call under limits.
//!
//! The way of a plugin: `loader` reads its files, `inspect` refuses what is no component of a bearable size,
//! `cache` compiles it or finds it compiled, `contract` compares it with the contract, and `plugin` serves calls from
//! instances that `pool` keeps. What is new serves from a draft until `optimiser` has compiled it again. A guest reaches the host only through `bindings`; it never sees a file, a socket or the
//! environment, and what one call may take is in `limits`.
//! What went wrong can be kept by `recording`.

mod abilities;
mod bindings;
mod cache;
mod calls;
mod clock;
mod config;
mod contract;
mod engine;
mod fault;
mod filter;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod guest;
mod handles;
mod held;
mod host_work;
mod inspect;
mod instance;
mod limits;
mod loader;
mod logging;
mod manifest;
mod metrics;
mod optimiser;
mod plugin;
mod pool;
mod recording;
mod signature;
mod site_file;
mod summary;
mod wasi;

pub use abilities::secret::SecretSource;
pub use config::Config;
pub use engine::SandboxError;
pub use limits::Limits;
pub use loader::Sandbox;
pub use signature::TrustedKey;
pub use summary::{Import, Summary};
