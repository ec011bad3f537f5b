//! What `upstreams/NAME.toml` says, checked once into what the rest is made of.

mod address;
mod file;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use wharf_core::{LoadError, Name, Tenants};

pub(crate) use address::Address;
pub(crate) use file::Tls;

/// The settings of an upstream.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The upstream's own name.
    pub(crate) name: Name,
    pub(crate) protocol: Protocol,
    /// At least one.
    pub(crate) addresses: Vec<Address>,
    /// The name of the model there.
    pub(crate) model: Arc<str>,
    /// The version there; none for the one that the peer takes by itself.
    pub(crate) version: Option<u64>,
    /// Whose the upstream is.
    pub(crate) tenants: Tenants,
    pub(crate) tls: Tls,
    /// How long a connection may take to be made.
    pub(crate) connect_timeout: Duration,
    /// How long one attempt may take.
    pub(crate) timeout: Duration,
    /// How often the peer is asked what its model is.
    pub(crate) refresh: Duration,
    /// The largest answer.
    pub(crate) max_body_bytes: usize,
    /// Requests at one time, over all endpoints.
    pub(crate) max_in_flight: u32,
    /// Connections to one endpoint.
    pub(crate) max_connections: usize,
    /// How long an idle connection is kept.
    pub(crate) idle: Duration,
    /// The most attempts after the first.
    pub(crate) retries: u32,
    /// The part of the requests that may be sent again.
    pub(crate) retry_budget: f64,
    pub(crate) ejection: Ejection,
    pub(crate) breaker: Breaking,
    /// The client's fields that are sent on.
    pub(crate) request_headers: Vec<HeaderName>,
    /// The fields of a service's answer that the client gets.
    pub(crate) answer_headers: Vec<HeaderName>,
}

/// What is spoken with the peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// The Open Inference Protocol over REST.
    OipHttp,
    /// The Open Inference Protocol over gRPC.
    OipGrpc,
    /// Bodies, each a POST.
    Http,
}

/// When an endpoint is taken out, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ejection {
    /// After so many failures in a row; 0 never.
    pub(crate) after: u32,
    /// For so long at first; twice as long each time.
    pub(crate) first: Duration,
    /// And at most so long.
    pub(crate) longest: Duration,
    /// The part of the endpoints that may be out at one time.
    pub(crate) max_fraction: f64,
    /// Whether an answer that the peer is overloaded is a failure.
    pub(crate) counts_unavailable: bool,
}

/// When the whole upstream is asked nothing for a while.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Breaking {
    /// After so many requests in a row that failed; 0 never.
    pub(crate) after: u32,
    /// For so long at first; twice as long each time that the request after it fails as well.
    pub(crate) first: Duration,
    /// And at most so long.
    pub(crate) longest: Duration,
}

impl Settings {
    /// Reads the text of `upstreams/NAME.toml`.
    ///
    /// # Errors
    /// Where it is no TOML of the schema, or a value is out of its range.
    pub(crate) fn parse(name: &Name, text: &str) -> Result<Self, LoadError> {
        file::parse(name, text)
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        let tls = &self.tls;
        [&tls.ca_file, &tls.cert_file, &tls.key_file]
            .into_iter()
            .filter_map(Option::as_deref)
    }
}

/// The place of an upstream's settings in the site.
pub(crate) fn file_of(name: &Name) -> String {
    format!("upstreams/{name}.toml")
}

#[cfg(test)]
mod tests;
