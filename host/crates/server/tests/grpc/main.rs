//! The Open Inference Protocol over gRPC through real sockets, on fakes of the model runtime and the plugin host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod frames;
mod health;
mod infer;
mod management;
mod stream;
