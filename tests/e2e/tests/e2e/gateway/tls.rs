//! TLS: to clients, and to other servers, where both sides show a certificate.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use wharf_e2e::{Client, Protocol, Site, Wharf};

use super::signer::signer;
use super::{Asking, GATEWAY, claims, site_of};

/// An authority of the test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::<String>::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        Ok(Self(issuer))
    }

    /// Puts a certificate for `localhost`, its key and the authority into a site: `tls/cert.pem`, `tls/key.pem`, `tls/ca.pem`.
    fn equip(&self, site: &Site) -> Result<()> {
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["localhost".to_owned()])?;
        let certificate = params.signed_by(&key, &self.0)?;
        site.write("tls/cert.pem", certificate.pem())?;
        site.write("tls/key.pem", key.serialize_pem())?;
        site.write("tls/ca.pem", self.0.pem())
    }

    /// What a client trusts.
    fn trust(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone())?;
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(config)
    }
}

const TLS: &str = "[server.tls]\ncertificate = \"tls/cert.pem\"\nkey = \"tls/key.pem\"\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_protocol_is_spoken_over_tls_and_nothing_without() -> Result<()> {
    let signer = signer()?;
    let authority = Authority::new()?;
    let site = site_of(signer)?;
    authority.equip(&site)?;
    site.write("wharf.toml", format!("{TLS}{GATEWAY}"))?;
    site.adder("shift", 1, 2.0)?;
    let wharf = Wharf::serve(&site).await?;
    let trust = authority.trust()?;
    let asking = Asking::of("shift").bearing(&signer.sign(&claims("acme")?)?);
    let mut http1 = wharf.client().over_tls(&trust);
    let mut http2 = Client::with_protocol(wharf.listen(), Protocol::Http2).over_tls(&trust);
    let answers = super::Answers {
        rest: http1.send(&asking.rest).await?,
        oip: http2.send(&asking.oip).await?,
        grpc: http2.send(&asking.grpc).await?,
    };
    answers.are_shifted_by(2.0)?;
    ensure!(wharf.client().send(&asking.rest).await.is_err());
    let stranger = Authority::new()?.trust()?;
    let mut client = wharf.client().over_tls(&stranger);
    ensure!(client.send(&asking.rest).await.is_err());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_server_is_asked_over_tls_in_which_both_show_who_they_are() -> Result<()> {
    let authority = Authority::new()?;
    let peer_site = Site::empty()?;
    authority.equip(&peer_site)?;
    let mutual = "client_ca = \"tls/ca.pem\"\nclient_auth = \"required\"\n";
    peer_site.write("wharf.toml", format!("{TLS}{mutual}"))?;
    peer_site.adder("shift", 1, 3.0)?;
    let peer = Wharf::serve(&peer_site).await?;

    let site = Site::empty()?;
    authority.equip(&site)?;
    let port = peer.listen().port();
    let upstream = |protocol: &str, tls: &str| {
        format!(
            "protocol = \"{protocol}\"\nendpoints = [\"https://127.0.0.1:{port}\"]\nmodel = \"shift\"\n\
             [tls]\nca_file = \"tls/ca.pem\"\nserver_name = \"localhost\"\n{tls}"
        )
    };
    let shown = "cert_file = \"tls/cert.pem\"\nkey_file = \"tls/key.pem\"\n";
    site.write("upstreams/rest.toml", upstream("oip-http", shown))?;
    site.write("upstreams/grpc.toml", upstream("oip-grpc", shown))?;
    site.write("upstreams/nobody.toml", upstream("oip-http", ""))?;
    let wharf = Wharf::serve(&site).await?;
    for name in ["rest", "grpc"] {
        let answers = Asking::of(name).send(&wharf).await?;
        answers.are_shifted_by(3.0).context(name)?;
    }
    // Without a certificate there is no connection, and so nothing is known of the model.
    let mut client = wharf.client();
    client
        .send(&crate::one_to_four("nobody"))
        .await?
        .problem(503)?;
    Ok(())
}
