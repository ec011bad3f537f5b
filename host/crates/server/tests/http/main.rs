//! The server through real sockets, on fakes of the model runtime and the plugin host.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod admin;
mod drain;
mod http2;
mod infer;
mod oip;
mod oip_binary;
mod transport;
