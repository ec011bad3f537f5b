//! The schema of `upstreams/NAME.toml`.

use std::time::Duration;

use http::HeaderName;
use serde::Deserialize;
use wharf_core::{InvalidName, LoadError, Name, Tenants};

use super::{Address, Breaking, Ejection, Protocol, Settings, file_of};

/// The longest time that a setting may have: a day.
const MAX_MS: u64 = 86_400_000;

/// The fields that are never sent on: credentials, what belongs to one connection or one message, and what this server says
/// itself.
const OWN_FIELDS: [&str; 27] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "set-cookie",
    "x-api-key",
    "connection",
    "keep-alive",
    "proxy-connection",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "accept-encoding",
    "inference-header-content-length",
    "traceparent",
    "tracestate",
    "baggage",
    "via",
    "x-envoy-expected-rq-timeout-ms",
    "x-request-id",
    "x-tenant-id",
    "x-request-context",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct UpstreamFile {
    protocol: ProtocolEntry,
    endpoints: Vec<String>,
    model: Option<String>,
    version: Option<u64>,
    tenants: Option<Vec<String>>,
    #[serde(default)]
    request_headers: Vec<String>,
    #[serde(default)]
    answer_headers: Vec<String>,
    #[serde(default = "defaults::connect_timeout_ms")]
    connect_timeout_ms: u64,
    #[serde(default = "defaults::timeout_ms")]
    timeout_ms: u64,
    #[serde(default = "defaults::refresh_ms")]
    refresh_ms: u64,
    #[serde(default = "defaults::max_body_bytes")]
    max_body_bytes: u64,
    #[serde(default = "defaults::max_in_flight")]
    max_in_flight: u64,
    #[serde(default = "defaults::max_connections")]
    max_connections: u64,
    #[serde(default = "defaults::idle_timeout_ms")]
    idle_timeout_ms: u64,
    #[serde(default = "defaults::retries")]
    retries: u64,
    #[serde(default = "defaults::retry_budget")]
    retry_budget: f64,
    #[serde(default)]
    tls: Tls,
    #[serde(default)]
    ejection: EjectionEntry,
    #[serde(default)]
    breaker: BreakerEntry,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum ProtocolEntry {
    OipHttp,
    OipGrpc,
    Http,
}

/// `[tls]`: paths in the site, or absolute ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Tls {
    /// Certificate authorities in PEM that are trusted in the place of the machine's.
    pub(crate) ca_file: Option<String>,
    /// The certificate that this server shows, with its chain, in PEM.
    pub(crate) cert_file: Option<String>,
    /// The key of the certificate.
    pub(crate) key_file: Option<String>,
    /// The name that the peers' certificates must have, where it is not the host's.
    pub(crate) server_name: Option<String>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct EjectionEntry {
    consecutive_failures: u64,
    interval_ms: u64,
    max_interval_ms: u64,
    max_fraction: f64,
    count_unavailable: bool,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct BreakerEntry {
    consecutive_failures: u64,
    open_ms: u64,
    max_open_ms: u64,
}

mod defaults {
    pub(super) const fn connect_timeout_ms() -> u64 {
        1_000
    }
    pub(super) const fn timeout_ms() -> u64 {
        10_000
    }
    pub(super) const fn refresh_ms() -> u64 {
        30_000
    }
    pub(super) const fn max_body_bytes() -> u64 {
        64 << 20
    }
    pub(super) const fn max_in_flight() -> u64 {
        1_024
    }
    pub(super) const fn max_connections() -> u64 {
        256
    }
    pub(super) const fn idle_timeout_ms() -> u64 {
        4_000
    }
    pub(super) const fn retries() -> u64 {
        2
    }
    pub(super) const fn retry_budget() -> f64 {
        0.2
    }
}

impl Default for EjectionEntry {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            interval_ms: 1_000,
            max_interval_ms: 60_000,
            max_fraction: 0.5,
            count_unavailable: false,
        }
    }
}

impl Default for BreakerEntry {
    fn default() -> Self {
        Self {
            consecutive_failures: 20,
            open_ms: 1_000,
            max_open_ms: 30_000,
        }
    }
}

pub(super) fn parse(name: &Name, text: &str) -> Result<Settings, LoadError> {
    let at = At(file_of(name));
    let document = toml::Deserializer::parse(text).map_err(|error| at.toml(text, &error, None))?;
    let file: UpstreamFile = serde_path_to_error::deserialize(document).map_err(|error| {
        let key = Some(error.path().to_string()).filter(|path| path != ".");
        at.toml(text, error.inner(), key)
    })?;
    let protocol = match file.protocol {
        ProtocolEntry::OipHttp => Protocol::OipHttp,
        ProtocolEntry::OipGrpc => Protocol::OipGrpc,
        ProtocolEntry::Http => Protocol::Http,
    };
    let is_service = protocol == Protocol::Http;
    for (key, given) in [
        ("model", file.model.is_some()),
        ("version", file.version.is_some()),
    ] {
        if is_service && given {
            return Err(at.error(key, "a plain service has no models; take it out"));
        }
    }
    if !is_service && !file.answer_headers.is_empty() {
        let message = "an answer of tensors has no fields to pass on; take it out";
        return Err(at.error("answer_headers", message));
    }
    let model = file.model.unwrap_or_else(|| name.to_string());
    if model.is_empty() {
        return Err(at.error("model", "names the model there"));
    }
    let addresses = at.addresses(&file.endpoints, protocol)?;
    at.check_tls(&file.tls, &addresses)?;
    Ok(Settings {
        name: name.clone(),
        protocol,
        addresses,
        model: model.into(),
        version: file.version,
        tenants: Tenants::of_setting(file.tenants.as_deref())
            .map_err(|index| at.error(format!("tenants[{index}]"), InvalidName.to_string()))?,
        connect_timeout: at.time("connect_timeout_ms", file.connect_timeout_ms)?,
        timeout: at.time("timeout_ms", file.timeout_ms)?,
        refresh: at.time("refresh_ms", file.refresh_ms)?,
        max_body_bytes: at.count("max_body_bytes", file.max_body_bytes, 1, 4 << 30)? as usize,
        max_in_flight: at.count("max_in_flight", file.max_in_flight, 1, 1_000_000)? as u32,
        max_connections: at.count("max_connections", file.max_connections, 1, 65_536)? as usize,
        idle: at.time("idle_timeout_ms", file.idle_timeout_ms)?,
        retries: at.count("retries", file.retries, 0, 10)? as u32,
        retry_budget: at.fraction("retry_budget", file.retry_budget)?,
        ejection: at.ejection(&file.ejection)?,
        breaker: at.breaker(&file.breaker)?,
        request_headers: at.fields("request_headers", &file.request_headers)?,
        answer_headers: at.answer_fields(&file.answer_headers)?,
        tls: file.tls,
    })
}

/// Makes errors about one file.
struct At(String);

impl At {
    fn error(&self, key: impl Into<String>, message: impl Into<String>) -> LoadError {
        LoadError::new(&self.0, message).with_key(key)
    }

    fn toml(&self, text: &str, error: &toml::de::Error, key: Option<String>) -> LoadError {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| 1 + before.matches('\n').count());
        let message = match line {
            Some(line) => format!("line {line}: {}", error.message().trim()),
            None => error.message().trim().to_owned(),
        };
        let refused = LoadError::new(&self.0, message);
        match key {
            Some(key) => refused.with_key(key),
            None => refused,
        }
    }

    fn addresses(&self, texts: &[String], protocol: Protocol) -> Result<Vec<Address>, LoadError> {
        if texts.is_empty() || texts.len() > 256 {
            let message = "name 1 to 256 servers, such as [\"http://10.0.0.5:8080\"]";
            return Err(self.error("endpoints", message));
        }
        let mut addresses: Vec<Address> = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            let key = format!("endpoints[{index}]");
            let address = Address::parse(text, protocol)
                .map_err(|what| self.error(&key, format!("the address {what}")))?;
            if addresses.contains(&address) {
                return Err(self.error(key, "the address is there twice; take one out"));
            }
            addresses.push(address);
        }
        Ok(addresses)
    }

    fn check_tls(&self, tls: &Tls, addresses: &[Address]) -> Result<(), LoadError> {
        if tls.cert_file.is_some() != tls.key_file.is_some() {
            let message = "a certificate and its key go together; set both, or none";
            return Err(self.error("tls.cert_file", message));
        }
        if *tls != Tls::default() && !addresses.iter().any(Address::is_secure) {
            let message = "no endpoint begins with https://, so it would say nothing; take it out";
            return Err(self.error("tls", message));
        }
        Ok(())
    }

    fn ejection(&self, entry: &EjectionEntry) -> Result<Ejection, LoadError> {
        let failures = entry.consecutive_failures;
        let first = self.time("ejection.interval_ms", entry.interval_ms)?;
        let longest = self.time("ejection.max_interval_ms", entry.max_interval_ms)?;
        Ok(Ejection {
            after: self.count("ejection.consecutive_failures", failures, 0, 1_000)? as u32,
            first,
            longest: longest.max(first),
            max_fraction: self.fraction("ejection.max_fraction", entry.max_fraction)?,
            counts_unavailable: entry.count_unavailable,
        })
    }

    fn breaker(&self, entry: &BreakerEntry) -> Result<Breaking, LoadError> {
        let failures = entry.consecutive_failures;
        let first = self.time("breaker.open_ms", entry.open_ms)?;
        let longest = self.time("breaker.max_open_ms", entry.max_open_ms)?;
        Ok(Breaking {
            after: self.count("breaker.consecutive_failures", failures, 0, 100_000)? as u32,
            first,
            longest: longest.max(first),
        })
    }

    fn fields(&self, key: &str, names: &[String]) -> Result<Vec<HeaderName>, LoadError> {
        let field = |(index, name): (usize, &String)| {
            let key = format!("{key}[{index}]");
            let name = HeaderName::try_from(name.as_str())
                .map_err(|_| self.error(&key, "is no name of a header field"))?;
            if OWN_FIELDS.contains(&name.as_str()) {
                let message = format!("{name} is never passed on as it came; take it out");
                return Err(self.error(key, message));
            }
            Ok(name)
        };
        names.iter().enumerate().map(field).collect()
    }

    /// Fields of answers. Which pages may read an answer is `[server.cors]`'s to say.
    fn answer_fields(&self, names: &[String]) -> Result<Vec<HeaderName>, LoadError> {
        const KEY: &str = "answer_headers";
        let fields = self.fields(KEY, names)?;
        let of_cors = |name: &HeaderName| name.as_str().starts_with("access-control-");
        match fields.iter().position(of_cors) {
            Some(index) => {
                let message = "[server.cors] says which pages may read an answer; take it out";
                Err(self.error(format!("{KEY}[{index}]"), message))
            }
            None => Ok(fields),
        }
    }

    fn time(&self, key: &str, value: u64) -> Result<Duration, LoadError> {
        self.count(key, value, 1, MAX_MS).map(Duration::from_millis)
    }

    fn count(&self, key: &str, value: u64, least: u64, most: u64) -> Result<u64, LoadError> {
        if (least..=most).contains(&value) {
            return Ok(value);
        }
        let message = format!("{value} is out of range: use {least} to {most}");
        Err(self.error(key, message))
    }

    fn fraction(&self, key: &str, value: f64) -> Result<f64, LoadError> {
        if (0.0..=1.0).contains(&value) {
            return Ok(value);
        }
        Err(self.error(key, format!("{value} is out of range: use 0.0 to 1.0")))
    }
}
