//! TLS towards servers that the operator names: whom this server believes to be them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

use crate::auth::read_file;

/// The side of the client. It trusts the machine's authorities, and those of a file in PEM.
///
/// # Errors
/// Where the file cannot be used, or nobody is trusted; in words that follow the name of the setting `ca_file`.
pub(crate) fn client(ca_file: Option<&str>, site: &Path) -> Result<ClientConfig, String> {
    Ok(client_that_trusts(roots(ca_file, site)?))
}

/// The side of a client that trusts these authorities.
pub(crate) fn client_that_trusts(roots: RootCertStore) -> ClientConfig {
    // Explicit: where two providers are compiled in, rustls has no default.
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the cipher suites of TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn roots(ca_file: Option<&str>, site: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let of_machine = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(of_machine.certs);
    if let Some(file) = ca_file {
        let pem = read_file(site, file)?;
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let damaged = |error: &dyn std::fmt::Display| format!("{file} is damaged: {error}");
            let certificate = certificate.map_err(|error| damaged(&error))?;
            roots.add(certificate).map_err(|error| damaged(&error))?;
            count += 1;
        }
        if count == 0 {
            return Err(format!("{file} has no certificate in PEM"));
        }
    }
    if roots.is_empty() {
        let message = "is missing, and this machine trusts no certificate authority: set it, or install the package ca-certificates";
        return Err(message.to_owned());
    }
    Ok(roots)
}
