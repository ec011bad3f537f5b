//! The ability `http`: requests to other servers, to the origins that `[grants.http]` names and to no others.
//!
//! An origin is granted by its name. Whoever answers for the name in the DNS decides which machine that is, so a grant to a
//! name is trust in its owner: grant an address where that is too much. Every redirect is compared with the grant again.

mod connection;
mod exchange;
mod message;
mod origin;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::Meter;
use serde::Deserialize;
use tokio::sync::Semaphore;
use wharf_core::{Name, SiteFile};

use self::connection::{AllLookups, HttpClient, Roots};
use self::origin::GrantedOrigin;
use super::Granted;
use crate::metrics::{HttpInstruments, HttpMetrics};

pub(crate) use exchange::{Call, Refusal};
pub(crate) use message::{Answer, Outgoing};

/// The most that a header block may have, whatever a grant says: so much a client buffers.
const HEADERS_KB: u32 = 64;

/// `[grants.http]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Grant {
    /// The servers that may be asked: scheme, host and port, such as `https://api.example.com`. `https://*.example.com` is
    /// every subdomain.
    origins: Vec<String>,
    /// The longest time of a request, redirects included, in milliseconds.
    timeout_ms: u32,
    /// The largest body that is sent, in KiB.
    request_kb: u32,
    /// The largest body of an answer, in KiB.
    response_kb: u32,
    /// The largest block of header fields either way, in KiB.
    headers_kb: u32,
    /// The most requests of the plugin at one time.
    calls: u32,
    /// The most redirects that are followed; with 0 the guest gets them as answers.
    redirects: u32,
    /// Certificate authorities in PEM that are trusted beside the machine's. A path in the site, or an absolute one.
    ca_file: Option<String>,
}

impl Default for Grant {
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            timeout_ms: 5000,
            request_kb: 1024,
            response_kb: 8192,
            headers_kb: 32,
            calls: 32,
            redirects: 5,
            ca_file: None,
        }
    }
}

impl Granted for Grant {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.origins.is_empty() {
            let message =
                r#"name the servers that may be asked, such as ["https://api.example.com"]"#;
            return Err(("origins", message.to_owned()));
        }
        for origin in &self.origins {
            GrantedOrigin::parse(origin).map_err(|message| ("origins", message))?;
        }
        for (key, value, min, max) in [
            ("timeout_ms", self.timeout_ms, 1, 600_000),
            ("request_kb", self.request_kb, 0, 1 << 20),
            ("response_kb", self.response_kb, 1, 1 << 20),
            ("headers_kb", self.headers_kb, 1, HEADERS_KB),
            ("calls", self.calls, 1, 10_000),
            ("redirects", self.redirects, 0, 20),
        ] {
            if !(min..=max).contains(&value) {
                return Err((key, format!("must be a whole number from {min} to {max}")));
            }
        }
        Ok(())
    }
}

impl Grant {
    /// The files that the grant names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &str> {
        self.ca_file.as_deref().into_iter()
    }
}

/// What all plugins share: the machine's authorities, and the places of lookups. Connections they do not: a plugin that ties its own up
/// leaves those of others alone.
pub(crate) struct Clients {
    roots: Roots,
    lookups: AllLookups,
    instruments: HttpInstruments,
}

/// What a plugin was granted.
#[derive(Clone)]
pub(crate) struct Http(Arc<Opened>);

struct Opened {
    origins: Vec<GrantedOrigin>,
    grant: Grant,
    client: HttpClient,
    slots: Semaphore,
    metrics: HttpMetrics,
}

impl Clients {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            roots: Roots::default(),
            lookups: AllLookups::default(),
            instruments: HttpInstruments::new(meter),
        }
    }

    /// Opens the grant of a plugin, whose files were read. The machine's certificates may be read, so it never runs on a thread that
    /// serves requests.
    ///
    /// # Errors
    /// The key and what is wrong with it: where the file of authorities cannot be used, or `https` is granted on a machine
    /// without any.
    pub(crate) fn open(
        &self,
        grant: Grant,
        plugin: &Name,
        files: &[SiteFile],
    ) -> Result<Http, (String, String)> {
        let origins: Vec<_> = grant
            .origins
            .iter()
            .map(|origin| GrantedOrigin::parse(origin))
            .collect::<Result<_, _>>()
            .map_err(|message| ("origins".to_owned(), message))?;
        let roots = match &grant.ca_file {
            Some(file) => self
                .roots
                .and_file(file, files)
                .map_err(|message| ("ca_file".to_owned(), message))?,
            None => self.roots.of_machine(),
        };
        if roots.is_empty() && origins.iter().any(GrantedOrigin::is_secure) {
            let message = "this machine trusts no certificate authority, so no https can be asked: install the package \
                ca-certificates, or set ca_file";
            return Err(("origins".to_owned(), message.to_owned()));
        }
        Ok(Http(Arc::new(Opened {
            slots: Semaphore::new(grant.calls as usize),
            metrics: self.instruments.bind(plugin),
            origins,
            grant,
            client: connection::client(roots, self.lookups.for_plugin()),
        })))
    }
}

impl Http {
    /// The most requests at one time.
    pub(crate) fn calls(&self) -> usize {
        self.0.grant.calls as usize
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(self.0.grant.timeout_ms.into())
    }
}

#[cfg(test)]
mod tests;
