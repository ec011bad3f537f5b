//! New certificates while the server runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use wharf_server::Config;

use super::certificates::{Authority, Caller, Files, Identity, Secure};
use super::metrics::Measured;
use super::{GOOD, config, setup};
use crate::support::Running;
use crate::support::http::{PATIENCE, request};

async fn start(files: &Files, measured: &Measured) -> Running {
    let mut setup = setup(Config {
        tls: Some(files.config()),
        ..config()
    });
    setup.meter = measured.meter();
    setup.start().await
}

/// The certificate that the server shows.
async fn shown(caller: &Caller, address: SocketAddr) -> Vec<u8> {
    let socket = caller.connect(address).await.unwrap();
    socket.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

fn der(identity: &Identity) -> Vec<u8> {
    CertificateDer::from_pem_slice(identity.certificate.as_bytes())
        .unwrap()
        .to_vec()
}

/// Connects until the server shows this certificate.
async fn shows(caller: &Caller, address: SocketAddr, identity: &Identity) {
    let (latest, wanted) = (Instant::now() + PATIENCE, der(identity));
    while shown(caller, address).await != wanted {
        assert!(Instant::now() < latest, "the new certificate is not shown");
    }
}

#[tokio::test]
async fn a_new_pair_is_shown_and_no_request_fails() {
    let authority = Authority::new();
    let measured = Measured::new();
    let files = Files::of(&authority.sign(1, 2100));
    let server = start(&files, &measured).await;
    let (address, stop) = (server.address, Arc::new(AtomicBool::new(false)));
    let count = Arc::new(AtomicU64::new(0));
    let load = tokio::spawn({
        let (caller, stop, count) = (authority.client(), Arc::clone(&stop), Arc::clone(&count));
        async move {
            while !stop.load(Relaxed) {
                assert_eq!(caller.infer(address).await, Some(200));
                count.fetch_add(1, Relaxed);
            }
        }
    });
    let caller = authority.client();
    // A session that is open goes on.
    let mut open = Secure::over(caller.connect(address).await.unwrap());
    open.send(request("echo", "", GOOD)).await;
    assert_eq!(open.answer().await.status, 200);
    for serial in 2..5 {
        let pair = authority.sign(serial, 2100 + serial as i32);
        files.write(&pair);
        shows(&caller, address, &pair).await;
    }
    stop.store(true, Relaxed);
    load.await.unwrap();
    assert!(count.load(Relaxed) > 0);
    let outcome = |outcome| [("listener", "public"), ("outcome", outcome)];
    let reloads = |wanted| measured.value("tls.certificate.reloads", &outcome(wanted));
    assert_eq!(reloads("loaded"), 3);
    let expires = measured.value("tls.certificate.expires", &[("listener", "public")]);
    assert_eq!(expires, 4_228_588_800);
    open.send(request("echo", "", GOOD)).await;
    assert_eq!(open.answer().await.status, 200);
}

#[tokio::test]
async fn a_broken_pair_leaves_the_old_one_in_force() {
    let authority = Authority::new();
    let measured = Measured::new();
    let first = authority.sign(1, 2100);
    let files = Files::of(&first);
    let server = start(&files, &measured).await;
    let (caller, address) = (authority.client(), server.address);
    let refused = [("listener", "public"), ("outcome", "refused")];
    let other = authority.sign(2, 2100);
    let expired = authority.sign(3, 2001);
    let breaks: [&dyn Fn(); 4] = [
        &|| files.put("certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA"),
        &|| files.put("certificate.pem", &other.certificate),
        &|| files.put("key.pem", ""),
        &|| files.write(&expired),
    ];
    for (index, breaking) in breaks.iter().enumerate() {
        files.write(&first);
        breaking();
        let latest = Instant::now() + PATIENCE;
        while measured.value("tls.certificate.reloads", &refused) <= index as i64 {
            assert!(Instant::now() < latest, "the pair is not refused");
            assert_eq!(caller.infer(address).await, Some(200));
        }
        assert_eq!(shown(&caller, address).await, der(&first));
    }
    files.write(&other);
    shows(&caller, address, &other).await;
    // Each was said once.
    assert_eq!(measured.value("tls.certificate.reloads", &refused), 4);
}
