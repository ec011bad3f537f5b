//! TLS: whom an upstream trusts, and what it shows.

use std::fs;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::peer::{Peer, Speaks, good};
use crate::site::{Site, ask, settings};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for a name, and its key.
fn issued(authority: &Authority, name: &str) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    (params.signed_by(&key, authority).unwrap(), key)
}

/// A server that is `models.internal`, and wants a certificate of the authority.
fn acceptor(authority: &Authority) -> TlsAcceptor {
    let (certificate, key) = issued(authority, "models.internal");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn both_sides_show_who_they_are() {
    let ours = authority();
    let peer = Peer::start(Speaks::Tls(acceptor(&ours)), good()).await;
    let site = Site::new();
    let path = |file: &str| site.folder.path().join(file);
    let (certificate, key) = issued(&ours, "wharf");
    fs::write(path("ca.pem"), ours.pem()).unwrap();
    fs::write(path("wharf.pem"), certificate.pem()).unwrap();
    fs::write(path("wharf.key"), key.serialize_pem()).unwrap();
    let endpoints = [format!("https://{}", peer.address)];
    let trusted = "[tls]\nca_file = 'ca.pem'\nserver_name = 'models.internal'\n";
    let shown = "cert_file = 'wharf.pem'\nkey_file = 'wharf.key'\n";
    let text = settings("oip-http", &endpoints, &format!("{trusted}{shown}"));
    let model = site.model(&text).await;
    assert_eq!(ask(&model, &[1.0]).await.unwrap(), [1.0]);

    // Without a certificate, with another name, and with another authority, nobody talks.
    for (more, ca) in [
        (trusted.to_owned(), ours.pem()),
        (format!("[tls]\nca_file = 'ca.pem'\n{shown}"), ours.pem()),
        (format!("{trusted}{shown}"), authority().pem()),
    ] {
        fs::write(path("ca.pem"), ca).unwrap();
        let upstream = site
            .open(&settings("oip-http", &endpoints, &more))
            .await
            .unwrap();
        assert!(upstream.model().is_none(), "{more}");
        assert!(upstream.problem().is_some(), "{more}");
    }
}

#[tokio::test]
async fn a_file_that_changes_is_a_change_and_one_that_is_wrong_names_its_key() {
    let site = Site::new();
    let path = site.folder.path().join("ca.pem");
    let endpoints = ["https://127.0.0.1:1".to_owned()];
    let text = settings("oip-http", &endpoints, "[tls]\nca_file = 'ca.pem'");
    let missing = site.read(&text).unwrap().digest;
    assert_eq!(
        site.open(&text).await.err().unwrap().key.as_deref(),
        Some("tls.ca_file")
    );
    fs::write(&path, "no certificate").unwrap();
    assert_ne!(site.read(&text).unwrap().digest, missing);
    let error = site.open(&text).await.err().unwrap();
    assert_eq!(error.key.as_deref(), Some("tls.ca_file"));
    fs::write(&path, authority().pem()).unwrap();
    assert!(site.open(&text).await.is_ok());
    let outside = settings("oip-http", &endpoints, "[tls]\nca_file = '../ca.pem'");
    let error = site.open(&outside).await.err().unwrap();
    assert!(error.message.contains("leads out"), "{error}");
    let name = settings(
        "oip-http",
        &endpoints,
        "[tls]\nca_file = 'ca.pem'\nserver_name = 'a b'",
    );
    let error = site.open(&name).await.err().unwrap();
    assert_eq!(error.key.as_deref(), Some("tls.server_name"));
}
