//! Serving on the fakes of the testkit, with real folders.
#![expect(clippy::unwrap_used, reason = "tests")]

mod breaker;
mod bundles;
mod calls;
mod claims;
mod failure;
mod filters;
mod harness;
mod lifecycle;
mod mirrors;
mod pipeline;
mod refusal;
mod registry;
mod reload;
mod staging;
mod statistics;
mod under_way;
mod upstreams;
mod versions;
mod watching;
