//! The engine against the real ONNX Runtime, on models that the tests make themselves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod attacks;
mod batching;
mod cancel;
mod devices;
mod infer;
mod metrics;
mod unload;
mod versions;
