//! The sandbox through its public ports, with real guests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod calls;
mod isolation;
mod limits;
mod loading;
mod site;
mod wat;
