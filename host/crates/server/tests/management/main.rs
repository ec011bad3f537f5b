//! Metadata, the model repository, shared memory, and the settings of log and traces, through real sockets, on fakes of the
//! model runtime and the plugin host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod access;
mod documents;
mod observing;
mod repository;
mod shared_memory;
