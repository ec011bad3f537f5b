//! The server through real sockets, on fakes of the model runtime and the plugin host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod clients;

mod edge;
mod grpc;
mod http;
mod management;
mod traced;
