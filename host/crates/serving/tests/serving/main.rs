//! Serving on the fakes of the testkit, with real folders.
#![expect(clippy::unwrap_used, reason = "tests")]

mod failure;
mod harness;
mod pipeline;
mod refusal;
mod reload;
mod watching;
