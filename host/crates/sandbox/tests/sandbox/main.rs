//! The sandbox through its public ports, with real guests.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cache;
mod calls;
mod chunks;
mod codec;
mod filter;
mod first_party;
mod http;
mod isolation;
mod limits;
mod loading;
mod model;
mod recording;
mod routers;
mod safety;
mod secret;
mod shadow;
mod signatures;
mod site;
mod state;
mod tiers;
mod wat;
