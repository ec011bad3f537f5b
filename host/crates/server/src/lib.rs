//! HTTP: the listeners, the way of a request from its bytes to a route and back, and problem details.
//!
//! The only crate that knows status codes. What is served is `wharf-serving`'s business: this crate decodes what a client
//! sent, runs a route, and encodes what came of it. The reading order is the order of the modules.
//!
//! Public listener: `POST /v1/infer/{route}`, `GET /v1/routes`, `/v1/models`, `/v1/plugins`, `/v2/health/live` and
//! `/v2/health/ready`. Admin listener: `GET /metrics`, `GET /admin/snapshot`, `POST /admin/reload`.

mod config;
mod server;

mod connection;

mod app;
mod endpoint;
mod request_id;
mod trace;

mod body;
mod budget;
mod infer;
mod json;

mod oip;

mod admin;
mod catalog;

mod metrics;
mod problem;

pub use config::{Config, ConfigError};
pub use problem::{Status, status};
pub use server::{BindError, Observability, Server};
