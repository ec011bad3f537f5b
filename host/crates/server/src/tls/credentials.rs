//! What a listener proves itself with, as it stands in files.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use wharf_core::Digest;

use super::{ClientAuth, TlsConfig, expiry};
use crate::files;

/// In the order of preference. What is spoken in the end is told by the first bytes, as without TLS.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Files that were read and are good.
pub(super) struct Loaded {
    pub(super) server: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970.
    pub(super) expires: i64,
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) key: &'static str,
    /// In words that follow the key.
    pub(super) message: String,
}

/// The content of the files.
struct Contents {
    certificate: Result<Vec<u8>, String>,
    key: Result<Vec<u8>, String>,
    client_ca: Option<Result<Vec<u8>, String>>,
}

/// Reads the files; with the digest of all that they hold. Blocks.
pub(super) fn load(config: &TlsConfig) -> (Digest, Result<Loaded, Wrong>) {
    let contents = Contents::read(config);
    let digest = contents.digest();
    (digest, contents.loaded(config.client_auth))
}

/// As [`load`], where the files do not hold what has this digest.
pub(super) fn load_other(
    config: &TlsConfig,
    than: Digest,
) -> Option<(Digest, Result<Loaded, Wrong>)> {
    let contents = Contents::read(config);
    let digest = contents.digest();
    (digest != than).then(|| (digest, contents.loaded(config.client_auth)))
}

impl Contents {
    fn read(config: &TlsConfig) -> Self {
        let read = |path: &Path| files::read(path);
        Self {
            certificate: read(&config.certificate),
            key: read(&config.key),
            client_ca: config.client_ca.as_deref().map(read),
        }
    }

    fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let all = [
            Some(&self.certificate),
            Some(&self.key),
            self.client_ca.as_ref(),
        ];
        for content in all.into_iter().flatten() {
            let (kind, bytes) = match content {
                Ok(bytes) => (1_u8, &bytes[..]),
                Err(reason) => (0, reason.as_bytes()),
            };
            hasher.update([kind]);
            hasher.update((bytes.len() as u64).to_le_bytes());
            hasher.update(bytes);
        }
        Digest::new(hasher.finalize().into())
    }

    fn loaded(self, client_auth: ClientAuth) -> Result<Loaded, Wrong> {
        // Explicit: where two providers are compiled in, rustls has no default.
        let provider = Arc::new(ring::default_provider());
        let chain = certificates("certificate", self.certificate)?;
        let expires = chain
            .first()
            .and_then(|own| expiry::expires(own).ok())
            .ok_or_else(|| wrong("certificate", "is no X.509 certificate"))?;
        let key = self.key.map_err(|reason| wrong("key", reason))?;
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| {
            let message =
                "has no private key in PEM: it begins with -----BEGIN PRIVATE KEY-----, and is not encrypted";
            wrong("key", message)
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| wrong("certificate", format!("cannot be used: {error}")))?;
        let builder = match self.client_ca {
            Some(authorities) if client_auth != ClientAuth::None => {
                builder.with_client_cert_verifier(verifier(authorities, client_auth, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut server = builder.with_single_cert(chain, key).map_err(|error| {
            wrong("key", format!("is not that of the certificate, or cannot be used ({error}); renew both together"))
        })?;
        server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
        Ok(Loaded {
            server: Arc::new(server),
            expires,
        })
    }
}

fn verifier(
    authorities: Result<Vec<u8>, String>,
    client_auth: ClientAuth,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, Wrong> {
    const KEY: &str = "client_ca";
    let mut roots = RootCertStore::empty();
    for authority in certificates(KEY, authorities)? {
        roots
            .add(authority)
            .map_err(|error| wrong(KEY, format!("has a certificate of no authority: {error}")))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match client_auth {
        ClientAuth::Optional => builder.allow_unauthenticated(),
        ClientAuth::Required | ClientAuth::None => builder,
    };
    builder
        .build()
        .map_err(|error| wrong(KEY, format!("cannot be used: {error}")))
}

/// The certificates of a file, at least one.
fn certificates(
    key: &'static str,
    content: Result<Vec<u8>, String>,
) -> Result<Vec<CertificateDer<'static>>, Wrong> {
    let content = content.map_err(|reason| wrong(key, reason))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        Ok(_) => Err(wrong(
            key,
            "has no certificate in PEM: it begins with -----BEGIN CERTIFICATE-----",
        )),
        Err(error) => Err(wrong(key, format!("is no PEM: {error}"))),
    }
}

fn wrong(key: &'static str, message: impl Into<String>) -> Wrong {
    let message = message.into();
    Wrong { key, message }
}
