//! Fakes for every port of core, for the tests of the other crates. Never a dependency of the program.
//!
//! The fakes read real folders: `models/NAME/VERSION/model.onnx` and `plugins/NAME.wasm` hold a script, a line of text for
//! each thing that the model or plugin is to do. So the tests of watching and reloading work on real files, and a test says
//! in one place what happens. Nothing here sleeps to make something likely: what takes time waits at a named [`Gate`] until
//! the test opens it.
//!
//! Helpers panic where a test is wrong.

mod artifacts;
mod calls;
mod engine;
mod gate;
mod gatekeeper;
mod generator;
mod memory;
mod plugins;
mod port;
mod redis;
mod reference;
mod request;
mod script;
mod site;
mod upstreams;
mod wait;

pub use artifacts::FakeArtifacts;
pub use calls::{FakeModelCalls, MadeCall};
pub use engine::{FakeEngine, FakeModel};
pub use gate::{Gate, Gates};
pub use gatekeeper::FakeGatekeeper;
pub use generator::{FakeFilter, FakeGenerator, FakePiece, token};
pub use memory::resident_mb;
pub use plugins::{FakePlugin, FakePluginHost};
pub use port::closed_port;
pub use redis::RedisServer;
pub use reference::{Reference, known_keys};
pub use request::{body, request, request_with, tensor, text, values};
pub use site::Site;
pub use upstreams::FakeUpstreams;
pub use wait::{eventually, within};
