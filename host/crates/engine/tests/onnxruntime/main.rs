//! The engine against the real ONNX Runtime, on models that the tests make themselves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod admission;
mod attacks;
mod batching;
mod cache;
mod cancel;
mod devices;
mod fairness;
mod infer;
mod labels;
mod metrics;
mod priorities;
mod sequences;
mod sharing;
mod tenants;
mod unload;
mod versions;
mod warmup;
