//! Whom an upstream's connections trust, and what they show.

use std::sync::{Arc, OnceLock};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use wharf_core::SiteFile;

use crate::settings::Tls;

/// The largest file of certificates or a key, in bytes.
pub(crate) const MAX_FILE_BYTES: usize = 1 << 20;

/// The certificate authorities that the machine trusts, read once.
#[derive(Default)]
pub(crate) struct Roots(OnceLock<Arc<RootCertStore>>);

impl Roots {
    fn of_machine(&self) -> Arc<RootCertStore> {
        let read = || {
            let found = rustls_native_certs::load_native_certs();
            if !found.errors.is_empty() {
                tracing::warn!(errors = ?found.errors, "some certificate authorities of this machine cannot be read");
            }
            let mut roots = RootCertStore::empty();
            let _ignored = roots.add_parsable_certificates(found.certs);
            Arc::new(roots)
        };
        Arc::clone(self.0.get_or_init(read))
    }
}

impl Tls {
    /// What connections are made with. Blocks where the machine's authorities were not read yet.
    ///
    /// # Errors
    /// The key below `tls` and what is wrong with it.
    pub(crate) fn config(
        &self,
        roots: &Roots,
        files: &[SiteFile],
    ) -> Result<ClientConfig, (&'static str, String)> {
        let trusted = match &self.ca_file {
            Some(path) => Arc::new(read_roots(path, files).map_err(|what| ("tls.ca_file", what))?),
            None => roots.of_machine(),
        };
        // Explicit: where two providers are compiled in, rustls has no default.
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| ("tls", error.to_string()))?
            .with_root_certificates(trusted);
        let (Some(cert), Some(key)) = (&self.cert_file, &self.key_file) else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = certificates(cert, files).map_err(|what| ("tls.cert_file", what))?;
        let key = content(key, files)
            .and_then(|pem| PrivateKeyDer::from_pem_slice(pem).map_err(|error| error.to_string()))
            .map_err(|what| ("tls.key_file", what))?;
        builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| ("tls.cert_file", format!("does not fit the key: {error}")))
    }

    /// The name that certificates must have, where it is not the host's.
    ///
    /// # Errors
    /// Where it is no name of a server.
    pub(crate) fn name(&self) -> Result<Option<ServerName<'static>>, (&'static str, String)> {
        let Some(name) = &self.server_name else {
            return Ok(None);
        };
        ServerName::try_from(name.clone())
            .map(Some)
            .map_err(|error| ("tls.server_name", error.to_string()))
    }
}

fn read_roots(path: &str, files: &[SiteFile]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, files)? {
        roots
            .add(certificate)
            .map_err(|error| format!("has a certificate that cannot be trusted: {error}"))?;
    }
    Ok(roots)
}

fn certificates(path: &str, files: &[SiteFile]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(content(path, files)?).collect();
    let found = found.map_err(|error| format!("is no PEM: {error}"))?;
    match found.is_empty() {
        true => Err("has no certificate in PEM".to_owned()),
        false => Ok(found),
    }
}

fn content<'a>(path: &str, files: &'a [SiteFile]) -> Result<&'a [u8], String> {
    SiteFile::named(path, files).and_then(SiteFile::content)
}
