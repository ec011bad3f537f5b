//! The settings of the listeners, as an operator writes them and as the server works with them.

mod operators;

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use wharf_core::{Error, ErrorKind, Gatekeeper};

use crate::access::Management;
use crate::access_log::AccessLogConfig;
use crate::admin::Token;
use crate::cors::CorsConfig;
use crate::tls::{Section, TlsConfig};

/// The settings of the listeners: the table `[server]` of `wharf.toml`. Every key is optional.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where clients connect: HTTP/1.1 and HTTP/2 on one port. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where operators connect: `/metrics` and `/admin`. Keep it off public networks.
    pub admin_listen: SocketAddr,
    /// The longest time from the first byte of a request to the end of its header, and from connecting to the first byte.
    pub header_timeout_ms: u64,
    /// The longest time that a request body may take to arrive.
    pub body_timeout_ms: u64,
    /// How long a connection may stay open without a request.
    pub idle_timeout_ms: u64,
    /// How long a client may leave an answer unread.
    pub write_timeout_ms: u64,
    /// How long requests in flight have to finish when the server stops.
    pub drain_timeout_ms: u64,
    /// Connections of each listener at one time. One more is answered with 503 and closed.
    pub max_connections: usize,
    /// The largest request body, after decompression.
    pub max_body_bytes: u64,
    /// What request bodies may take together, from when they arrive to when they are answered. One more is answered with 503.
    pub max_bodies_bytes: u64,
    /// The largest request header: request line and fields together.
    pub max_header_bytes: usize,
    /// The most fields of a request header.
    pub max_headers: usize,
    /// Requests that one HTTP/2 connection may have open at one time.
    pub max_concurrent_streams: u32,
    /// Whether clients may load and unload models, register shared memory, and change the settings of log and traces. By
    /// default only where `listen` is an address that this machine alone can reach, and for requests that name it
    /// `localhost` or by a loopback address: a browser may be led here by a name of somebody else's. Where clients say who they
    /// are, by their scopes.
    pub management: Option<bool>,
    /// The smallest answer that is compressed where its client accepts that, in bytes: text, and inference over `/v2`. 0
    /// compresses none.
    pub compress_min_bytes: usize,
    /// What operators send to the admin listener as `Authorization: Bearer TOKEN`. Without, whoever reaches the listener is
    /// one; so it is needed where `admin_listen` is not a loopback address. Best set in the environment, as
    /// `WHARF_SERVER__ADMIN_TOKEN`.
    pub admin_token: Option<Token>,
    /// A file that has the token: a path, absolute or in the site.
    pub admin_token_file: Option<PathBuf>,
    /// Whether `/metrics` asks for no token, and is answered under any name.
    pub admin_open_metrics: bool,
    /// TLS of the public listener.
    pub tls: Option<TlsConfig>,
    /// TLS of the admin listener.
    pub admin_tls: Option<TlsConfig>,
    /// Which pages of other sites may use the public listener.
    pub cors: CorsConfig,
    /// A line for each request.
    pub access_log: AccessLogConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080),
            admin_listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090),
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 75_000,
            write_timeout_ms: 30_000,
            drain_timeout_ms: 30_000,
            max_connections: 4096,
            max_body_bytes: 64 << 20,
            max_bodies_bytes: 1 << 30,
            max_header_bytes: 16 << 10,
            max_headers: 100,
            max_concurrent_streams: 256,
            management: None,
            compress_min_bytes: 1024,
            admin_token: None,
            admin_token_file: None,
            admin_open_metrics: false,
            tls: None,
            admin_tls: None,
            cors: CorsConfig::default(),
            access_log: AccessLogConfig::default(),
        }
    }
}

/// Whether clients prove what they may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clients {
    Anybody,
    Known,
}

impl Clients {
    /// Those whom the gatekeeper, where there is one, gives scopes.
    pub(crate) fn of(gatekeeper: Option<&Arc<dyn Gatekeeper>>) -> Self {
        match gatekeeper {
            Some(gatekeeper) if gatekeeper.grants_scopes() => Self::Known,
            _ => Self::Anybody,
        }
    }
}

/// A setting that the server cannot work with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("server.{key} {message}")]
pub struct ConfigError {
    /// The key in the table, dotted: `max_headers`, `tls.certificate`.
    pub key: Cow<'static, str>,
    /// What is wrong with it and what it must be, in words that follow the key.
    pub message: String,
}

impl ConfigError {
    pub(crate) fn new(key: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}

/// The settings, checked.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) header_timeout: Duration,
    pub(crate) body_timeout: Duration,
    pub(crate) idle_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) drain_timeout: Duration,
    pub(crate) max_connections: usize,
    pub(crate) max_body_bytes: usize,
    pub(crate) max_bodies_bytes: usize,
    pub(crate) max_header_bytes: usize,
    pub(crate) max_headers: usize,
    pub(crate) max_concurrent_streams: u32,
    /// The smallest answer that is compressed.
    pub(crate) compress_min_bytes: usize,
}

impl Limits {
    /// Checks the number of fields of a header that came over HTTP/2: of one of HTTP/1, hyper has counted them.
    ///
    /// # Errors
    /// `TooLarge`.
    pub(crate) fn check_fields(&self, fields: &HeaderMap) -> Result<(), Error> {
        if fields.len() <= self.max_headers {
            return Ok(());
        }
        let message = format!(
            "has {} fields, and {} are taken (server.max_headers); send fewer",
            fields.len(),
            self.max_headers
        );
        Err(Error::new(ErrorKind::TooLarge, message).with_field("headers"))
    }
}

impl Config {
    /// Checks the settings, without opening anything.
    ///
    /// # Errors
    /// Where one is outside its range, or does not go with another.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.limits()?;
        self.cors.ready()?;
        self.access_log.check()?;
        for (section, tls) in self.tls() {
            tls.check(section)?;
        }
        self.check_admin()
    }

    /// Reads the files that the settings name, as the start does, and forgets them.
    ///
    /// # Errors
    /// Where one cannot be read, or is not what it is to be.
    pub fn check_files(&self) -> Result<(), ConfigError> {
        self.operators()?;
        let mut sections = self.tls();
        sections.try_for_each(|(section, tls)| tls.check_files(section))
    }

    /// Takes relative paths for ones in the site.
    #[must_use]
    pub fn in_site(mut self, site: &Path) -> Self {
        for tls in [&mut self.tls, &mut self.admin_tls].into_iter().flatten() {
            tls.in_site(site);
        }
        self.access_log.in_site(site);
        self.admin_token_file = self.admin_token_file.map(|path| site.join(path));
        self
    }

    fn tls(&self) -> impl Iterator<Item = (Section, &TlsConfig)> {
        let public = self.tls.as_ref().map(|tls| (Section::Public, tls));
        let admin = self.admin_tls.as_ref().map(|tls| (Section::Admin, tls));
        public.into_iter().chain(admin)
    }

    /// Which clients may change the server.
    pub(crate) fn management(&self, clients: Clients) -> Management {
        let is_local = self.listen.ip().to_canonical().is_loopback();
        match (self.management, clients) {
            (Some(false), _) => Management::Nobody,
            (_, Clients::Known) => Management::ByScope,
            (Some(true), _) => Management::Everybody,
            (None, _) if is_local => Management::ThisMachine,
            (None, _) => Management::Nobody,
        }
    }

    pub(crate) fn limits(&self) -> Result<Limits, ConfigError> {
        Ok(Limits {
            header_timeout: timeout("header_timeout_ms", self.header_timeout_ms)?,
            body_timeout: timeout("body_timeout_ms", self.body_timeout_ms)?,
            idle_timeout: timeout("idle_timeout_ms", self.idle_timeout_ms)?,
            write_timeout: timeout("write_timeout_ms", self.write_timeout_ms)?,
            drain_timeout: Duration::from_millis(within(
                "drain_timeout_ms",
                self.drain_timeout_ms,
                0..=DAY_MS,
                "use 0 to 86400000 (a day)",
            )?),
            max_connections: size("max_connections", self.max_connections as u64)?,
            max_body_bytes: size("max_body_bytes", self.max_body_bytes)?,
            max_bodies_bytes: within(
                "max_bodies_bytes",
                self.max_bodies_bytes,
                self.max_body_bytes..=MAX_BODIES_BYTES,
                "use server.max_body_bytes to 1099511627776 (a tebibyte)",
            )? as usize,
            // hyper refuses a buffer below 8 KiB, and what is not a header in the buffer counts too.
            max_header_bytes: within(
                "max_header_bytes",
                self.max_header_bytes as u64,
                1024..=MAX_HEADER_BYTES,
                "use 1024 to 262144",
            )? as usize,
            max_headers: within(
                "max_headers",
                self.max_headers as u64,
                8..=10_000,
                "use 8 to 10000",
            )? as usize,
            max_concurrent_streams: within(
                "max_concurrent_streams",
                self.max_concurrent_streams.into(),
                1..=100_000,
                "use 1 to 100000",
            )? as u32,
            compress_min_bytes: match self.compress_min_bytes {
                0 => usize::MAX,
                bytes => bytes,
            },
        })
    }
}

const MAX_BODIES_BYTES: u64 = 1 << 40;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// Below hyper's read buffer of 400 KiB, so that this limit is met first.
const MAX_HEADER_BYTES: u64 = 256 << 10;

fn timeout(key: &'static str, value: u64) -> Result<Duration, ConfigError> {
    within(key, value, 50..=DAY_MS, "use 50 to 86400000 (a day)").map(Duration::from_millis)
}

fn size(key: &'static str, value: u64) -> Result<usize, ConfigError> {
    within(key, value, 1..=1 << 32, "use 1 to 4294967296").map(|value| value as usize)
}

fn within(
    key: &'static str,
    value: u64,
    range: std::ops::RangeInclusive<u64>,
    rule: &'static str,
) -> Result<u64, ConfigError> {
    if range.contains(&value) {
        Ok(value)
    } else {
        Err(ConfigError::new(key, format!("is {value}: {rule}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_range() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn an_error_names_the_key() {
        let config = Config {
            header_timeout_ms: 0,
            ..Config::default()
        };
        let error = config.check().unwrap_err();
        assert_eq!(error.key, "header_timeout_ms");
        assert!(error.to_string().contains("use 50"), "{error}");
    }

    #[test]
    fn all_bodies_together_hold_one() {
        let config = Config {
            max_body_bytes: 1000,
            max_bodies_bytes: 999,
            ..Config::default()
        };
        assert_eq!(config.check().unwrap_err().key, "max_bodies_bytes");
        let config = Config {
            max_bodies_bytes: 1000,
            ..config
        };
        assert_eq!(config.check(), Ok(()));
    }

    #[test]
    fn only_this_machine_may_change_the_server_by_default() {
        let allowed = |listen: &str, management| {
            let config = Config {
                listen: listen.parse().unwrap(),
                management,
                ..Config::default()
            };
            config.management(Clients::Anybody)
        };
        for listen in ["127.0.0.1:0", "[::1]:0", "[::ffff:127.0.0.1]:0"] {
            assert_eq!(allowed(listen, None), Management::ThisMachine, "{listen}");
            assert_eq!(allowed(listen, Some(true)), Management::Everybody);
            assert_eq!(allowed(listen, Some(false)), Management::Nobody);
        }
        for listen in ["0.0.0.0:0", "[::]:0"] {
            assert_eq!(allowed(listen, None), Management::Nobody, "{listen}");
            assert_eq!(allowed(listen, Some(true)), Management::Everybody);
        }
    }

    #[test]
    fn known_clients_change_what_they_have_the_scope_for() {
        for (management, expected) in [
            (None, Management::ByScope),
            (Some(true), Management::ByScope),
            (Some(false), Management::Nobody),
        ] {
            let config = Config {
                management,
                ..Config::default()
            };
            assert_eq!(config.management(Clients::Known), expected);
        }
    }

    #[test]
    fn unknown_keys_are_refused() {
        let text = serde_json::json!({"header_timeout": 5});
        let error = serde_json::from_value::<Config>(text).unwrap_err();
        assert!(error.to_string().contains("header_timeout_ms"), "{error}");
    }
}
