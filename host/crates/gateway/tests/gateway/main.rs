//! The gateway through its port, with real keys, real tokens and real key servers.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod api_keys;
mod fetching;
mod hostile;
mod metrics;
mod redis;
mod reloading;
mod tokens;
