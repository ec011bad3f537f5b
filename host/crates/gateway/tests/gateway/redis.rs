//! Quotas in a Redis that is reached by TLS.

use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio_rustls::TlsAcceptor;
use wharf_core::{ErrorKind, Gatekeeper as _, Principal};
use wharf_testkit::RedisServer;

use crate::support::{Place, acceptor_and_authority, issuer, key_set, rsa};

/// Speaks TLS before a server. Gives the port.
async fn behind_tls(redis: &RedisServer, acceptor: TlsAcceptor) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let url = redis.url();
    let socket = PathBuf::from(url.strip_prefix("redis+unix://").unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                // A client that believes somebody else leaves here.
                let mut stream = acceptor.accept(stream).await?;
                let mut server = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut stream, &mut server).await
            });
        }
    });
    port
}

/// A gateway that counts there. Each burst of three is given once in a test.
fn place(port: u16, authority: &str) -> Place {
    let settings = format!(
        "{}[plans.free]\nrequests_per_s = 0.001\nburst = 3\n[quota]\nstore = 'redis'\n\
         redis_url = 'rediss://localhost:{port}'\nca_file = 'ca.pem'\ntimeout_ms = 5000\n",
        issuer("jwks = 'keys.json'")
    );
    let keys = key_set(&[rsa()]).to_string();
    Place::new(&settings, &[("keys.json", &keys), ("ca.pem", authority)])
}

async fn admit(place: &Place) -> Result<(), ErrorKind> {
    let acme = Principal {
        tenant: Some(Arc::from("acme")),
        subject: "ada".into(),
        roles: Vec::new(),
        scopes: Vec::new(),
        context: HeaderValue::from_static("{}"),
    };
    let admission = place.gateway.admit(&acme, "digits").get().await;
    admission.outcome.map(drop).map_err(|error| error.kind())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_is_reached_by_tls_where_an_authority_vouches_for_it() {
    let redis = RedisServer::start().await;
    let (acceptor, authority) = acceptor_and_authority();
    let port = behind_tls(&redis, acceptor).await;
    let trusting = place(port, &authority);
    for _ in 0..3 {
        admit(&trusting).await.unwrap();
    }
    assert_eq!(admit(&trusting).await, Err(ErrorKind::QuotaExceeded));
    trusting.gateway.shutdown().await;

    let (_, stranger) = acceptor_and_authority();
    let wary = place(port, &stranger);
    assert_eq!(admit(&wary).await, Err(ErrorKind::Unavailable));
    wary.gateway.shutdown().await;
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_used_is_named() {
    let settings = "[api_keys]\nfile = 'api-keys.toml'\n[quota]\nstore = 'redis'\nredis_url = 'rediss://localhost'\nca_file = 'ca.pem'";
    for files in [
        &[("api-keys.toml", "")][..],
        &[("api-keys.toml", ""), ("ca.pem", "nothing")],
    ] {
        let error = Place::open(settings, files).err().unwrap();
        assert_eq!(error.key.as_deref(), Some("gateway.quota.ca_file"));
    }
}
