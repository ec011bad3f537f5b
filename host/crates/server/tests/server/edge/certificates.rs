//! Authorities, those whom they vouch for, and clients that speak TLS.

use std::net::SocketAddr;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SerialNumber,
    date_time_ymd,
};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use wharf_server::{ClientAuth, TlsConfig};

use super::GOOD;
use crate::support::http::{Client, PATIENCE, request};

/// The versions of the protocol, each alone and both.
pub(super) type Versions = &'static [&'static SupportedProtocolVersion];
pub(super) static TLS12: Versions = &[&rustls::version::TLS12];
pub(super) static TLS13: Versions = &[&rustls::version::TLS13];
static BOTH: Versions = &[&rustls::version::TLS13, &rustls::version::TLS12];

pub(super) type Secure = Client<TlsStream<TcpStream>>;

pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Vouches for somebody named `localhost` up to the beginning of a year.
    pub(super) fn sign(&self, serial: u64, until: i32) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.serial_number = Some(SerialNumber::from(serial));
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        Identity {
            certificate: params.signed_by(&key, &self.0).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A client that believes this authority. A test changes what it wants to be otherwise.
    pub(super) fn client(&self) -> Caller {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        Caller {
            roots,
            versions: BOTH,
            protocols: &[],
            identity: None,
        }
    }

    /// A connection of such a client.
    pub(super) async fn connect(&self, address: SocketAddr) -> Secure {
        Secure::over(self.client().connect(address).await.unwrap())
    }
}

/// How a client speaks.
#[derive(Clone)]
pub(super) struct Caller {
    roots: RootCertStore,
    pub(super) versions: Versions,
    pub(super) protocols: &'static [&'static str],
    identity: Option<(String, String)>,
}

impl Caller {
    pub(super) fn with(self, identity: &Identity) -> Self {
        let identity = Some((identity.certificate.clone(), identity.key.clone()));
        Self { identity, ..self }
    }

    /// Shakes hands.
    pub(super) async fn connect(
        &self,
        address: SocketAddr,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots.clone());
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = self
            .protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let socket = TcpStream::connect(address).await?;
        let connecting = TlsConnector::from(Arc::new(config))
            .connect(ServerName::try_from("localhost").unwrap(), socket);
        tokio::time::timeout(PATIENCE, connecting)
            .await
            .expect("the handshake hangs")
    }

    /// Asks for an inference; none where the server does not let it.
    pub(super) async fn infer(&self, address: SocketAddr) -> Option<u16> {
        let mut client = Secure::over(self.connect(address).await.ok()?);
        if !client
            .send(request("echo", "Connection: close\r\n", GOOD))
            .await
        {
            return None;
        }
        // In TLS 1.3 a client hears only now that it is refused.
        let said = client.closed().await;
        let said = String::from_utf8(said).unwrap();
        said.split(' ').nth(1)?.parse().ok()
    }
}

/// The files of a listener.
pub(super) struct Files(TempDir);

impl Files {
    pub(super) fn of(identity: &Identity) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write(identity);
        files
    }

    /// Puts a pair there, one file after the other.
    pub(super) fn write(&self, identity: &Identity) {
        self.put("key.pem", &identity.key);
        self.put("certificate.pem", &identity.certificate);
    }

    pub(super) fn put(&self, name: &str, content: &str) {
        std::fs::write(self.0.path().join(name), content).unwrap();
    }

    pub(super) fn config(&self) -> TlsConfig {
        TlsConfig {
            certificate: self.0.path().join("certificate.pem"),
            key: self.0.path().join("key.pem"),
            client_ca: None,
            client_auth: ClientAuth::None,
        }
    }

    /// The same, and clients are asked whether this authority vouches for them.
    pub(super) fn asking(&self, authority: &Authority, client_auth: ClientAuth) -> TlsConfig {
        self.put("clients.pem", &authority.pem());
        TlsConfig {
            client_ca: Some(self.0.path().join("clients.pem")),
            client_auth,
            ..self.config()
        }
    }
}
