//! HTTP: the listeners, the way of a request from its bytes to a route and back, and problem details.
//!
//! The only crate that knows status codes. What is served is `wharf-serving`'s business: this crate decodes what a client
//! sent, runs a route, and encodes what came of it. The reading order is the order of the modules.
//!
//! Public listener: `POST /v1/infer/{route}`, `GET /v1/routes`, `/v1/models` and `/v1/plugins`, the Open Inference Protocol
//! under `/v2` and over gRPC. Admin listener: `GET /metrics`, `GET /admin/snapshot`, `POST /admin/reload`. Both describe themselves
//! at `GET /openapi.json`, for people at `/docs`.

mod config;
mod files;
mod server;

mod connection;
mod tls;

mod access;
mod access_log;
mod app;
mod client;
mod compression;
mod cors;
mod endpoint;
mod request_id;
mod timestamp;
mod trace;
mod unread;

mod body;
mod budget;
mod call;
mod infer;
mod json;

mod oip;

mod grpc;
pub mod inference;

mod admin;
mod catalog;
mod management;
pub mod openapi;

mod metrics;
mod problem;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub use access_log::{AccessLogConfig, AccessLogFormat};
pub use admin::Token as OperatorToken;
pub use config::{Config, ConfigError};
pub use cors::CorsConfig;
pub use oip::logging::{LogControl, LogLevels};
pub use problem::{Status, status};
pub use server::{BindError, Observability, Server};
pub use tls::{ClientAuth, TlsConfig};
