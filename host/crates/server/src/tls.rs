//! TLS on a listener: how the server proves who it is, and whom it asks to prove who they are.
//!
//! What a listener proves is a certificate and its key, in files that are followed by their content: a new pair is in force
//! for the next connection, and one that is broken leaves the old one in force.

mod credentials;
mod expiry;
mod follow;

use std::io;
use std::path::{Path, PathBuf};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use wharf_core::Digest;

use crate::config::ConfigError;
use crate::metrics::{HandshakeFailure, TlsMetrics};
use credentials::Loaded;

/// How a listener speaks TLS: the table `[server.tls]`, and `[server.admin_tls]` of the admin listener. It speaks TLS 1.2 and
/// 1.3, and HTTP/1.1 and HTTP/2 in it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate and those between it and the root, in PEM: a path, absolute or in the site.
    pub certificate: PathBuf,
    /// Its private key, in PEM.
    pub key: PathBuf,
    /// The authorities that clients' certificates are checked by, in PEM.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
    /// Whether clients must have a certificate.
    #[serde(default)]
    pub client_auth: ClientAuth,
}

/// Whether clients must have a certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    /// They are not asked for one.
    #[default]
    None,
    /// Those that have one must have a good one.
    Optional,
    /// Without one there is no connection.
    Required,
}

impl TlsConfig {
    /// Takes relative paths for ones in the site.
    pub(crate) fn in_site(&mut self, site: &Path) {
        for path in [&mut self.certificate, &mut self.key]
            .into_iter()
            .chain(&mut self.client_ca)
        {
            *path = site.join(&*path);
        }
    }

    /// Checks what the types do not, without opening anything.
    pub(crate) fn check(&self, section: Section) -> Result<(), ConfigError> {
        match (&self.client_ca, self.client_auth) {
            (None, ClientAuth::Optional | ClientAuth::Required) => Err(section.error(
                "client_ca",
                "is missing: name the file of the authorities that client_auth asks for",
            )),
            (Some(_), ClientAuth::None) => Err(section.error(
                "client_auth",
                "is \"none\" although client_ca names authorities: set it to \"required\" or \"optional\"",
            )),
            _ => Ok(()),
        }
    }

    /// Reads the files as the listener would, and forgets them.
    pub(crate) fn check_files(&self, section: Section) -> Result<(), ConfigError> {
        let (_, loaded) = credentials::load(self);
        let load = |wrong: credentials::Wrong| section.error(wrong.key, wrong.message);
        loaded.map(drop).map_err(load)
    }
}

/// The table that settings stand in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Public,
    Admin,
}

impl Section {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Public => "tls",
            Self::Admin => "admin_tls",
        }
    }

    fn error(self, key: &str, message: impl Into<String>) -> ConfigError {
        ConfigError::new(format!("{}.{key}", self.name()), message)
    }
}

/// What a listener proves itself with.
pub(crate) struct Tls {
    section: Section,
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
    /// The content that was in force when the listener was opened.
    opened: Digest,
    metrics: TlsMetrics,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// With the key of the file that is wrong.
    pub(crate) fn open(
        section: Section,
        config: &TlsConfig,
        metrics: TlsMetrics,
    ) -> Result<Self, ConfigError> {
        let (opened, loaded) = credentials::load(config);
        let Loaded { server, expires } =
            loaded.map_err(|wrong| section.error(wrong.key, wrong.message))?;
        if expiry::is_past(expires) {
            tracing::warn!(
                section = section.name(),
                "the certificate has expired; clients will refuse it"
            );
        }
        metrics.in_force(expires);
        Ok(Self {
            section,
            config: config.clone(),
            current: ArcSwap::from(server),
            opened,
            metrics,
        })
    }

    /// Shakes hands with a client that has connected.
    ///
    /// # Errors
    /// Where it does not come to a connection in time.
    pub(crate) async fn accept(
        &self,
        socket: TcpStream,
        latest: Instant,
    ) -> io::Result<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.current.load_full());
        let accepted = tokio::time::timeout_at(latest, acceptor.accept(socket)).await;
        let accepted = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        accepted.inspect_err(|error| self.metrics.failed(failure(error)))
    }
}

/// Why a handshake failed.
fn failure(error: &io::Error) -> HandshakeFailure {
    use rustls::Error;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
    match cause {
        None if error.kind() == io::ErrorKind::TimedOut => HandshakeFailure::Timeout,
        None => HandshakeFailure::Left,
        Some(Error::InvalidMessage(_)) => HandshakeFailure::Plain,
        Some(Error::InvalidCertificate(_) | Error::NoCertificatesPresented) => {
            HandshakeFailure::ClientCertificate
        }
        Some(Error::AlertReceived(_)) => HandshakeFailure::Refused,
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => {
            HandshakeFailure::Incompatible
        }
        Some(_) => HandshakeFailure::Protocol,
    }
}
