//! TLS on the listeners.

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use rustls::ProtocolVersion;
use tonic::transport::Endpoint;
use tower::service_fn;
use wharf_server::{Config, TlsConfig};
use wharf_testkit::eventually;

use super::certificates::{Authority, Files, Secure, TLS12, TLS13};
use super::metrics::Measured;
use super::{GOOD, config, setup};
use crate::support::grpc::{self, bytes_of, floats};
use crate::support::http::{Client, get, request};
use crate::support::{Running, Setup};

fn with(tls: TlsConfig) -> Setup {
    setup(Config {
        tls: Some(tls),
        ..config()
    })
}

async fn start(authority: &Authority) -> Running {
    let files = Files::of(&authority.sign(1, 2100));
    with(files.config()).start().await
}

#[tokio::test]
async fn both_versions_are_spoken() {
    let authority = Authority::new();
    let server = start(&authority).await;
    for (versions, spoken) in [
        (TLS12, ProtocolVersion::TLSv1_2),
        (TLS13, ProtocolVersion::TLSv1_3),
    ] {
        let mut caller = authority.client();
        caller.versions = versions;
        let socket = caller.connect(server.address).await.unwrap();
        assert_eq!(socket.get_ref().1.protocol_version(), Some(spoken));
        let mut client = Secure::over(socket);
        // One connection, and more than TLS puts into a record.
        for rows in [1, 20_000, 1] {
            client.send(request("echo", "", &pairs(rows))).await;
            let answer = client.answer().await;
            assert_eq!(answer.status, 200, "{spoken:?} {rows}");
            assert!(answer.body.len() > rows * 8, "{spoken:?} {rows}");
        }
    }
}

/// A document of so many rows.
fn pairs(rows: usize) -> String {
    format!(r#"{{"input": [{}]}}"#, vec!["[1,2]"; rows].join(","))
}

#[tokio::test]
async fn clients_agree_on_http2() {
    let authority = Authority::new();
    let server = start(&authority).await;
    let mut caller = authority.client();
    for (offered, chosen) in [
        (&["h2", "http/1.1"][..], "h2"),
        (&["http/1.1", "h2"], "h2"),
        (&["http/1.1"], "http/1.1"),
    ] {
        caller.protocols = offered;
        let socket = caller.connect(server.address).await.unwrap();
        assert_eq!(socket.get_ref().1.alpn_protocol(), Some(chosen.as_bytes()));
        if chosen == "http/1.1" {
            let mut client = Secure::over(socket);
            client.send(request("echo", "", GOOD)).await;
            assert_eq!(client.answer().await.status, 200);
            continue;
        }
        let (client, connection) = h2::client::handshake(socket).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::post("https://localhost/v1/infer/echo")
            .body(())
            .unwrap();
        let mut client = client.ready().await.unwrap();
        let (answer, mut body) = client.send_request(request, false).unwrap();
        body.send_data(Bytes::from_static(GOOD.as_bytes()), true)
            .unwrap();
        assert_eq!(answer.await.unwrap().status(), 200);
    }
    caller.protocols = &["spdy/3"];
    assert!(caller.connect(server.address).await.is_err());
}

#[tokio::test]
async fn calls_go_through_tls() {
    let authority = Authority::new();
    let server = start(&authority).await;
    let mut caller = authority.client();
    caller.protocols = &["h2"];
    let address = server.address;
    let connector = service_fn(move |_| {
        let caller = caller.clone();
        async move { caller.connect(address).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap();
    let mut client = grpc::Client::new(channel);
    let answer = client.model_infer(floats("echo", &[1.0, 2.0])).await;
    let answer = answer.unwrap().into_inner();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
}

#[tokio::test]
async fn who_speaks_no_tls_is_closed() {
    let authority = Authority::new();
    let measured = Measured::new();
    let files = Files::of(&authority.sign(1, 2100));
    let mut setup = with(files.config());
    setup.meter = measured.meter();
    let server = setup.start().await;
    for bytes in [
        request("echo", "", GOOD).into_bytes(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(bytes).await;
        let said = client.closed().await;
        assert!(!said.starts_with(b"HTTP"), "{said:?}");
    }
    let plain = [("listener", "public"), ("reason", "plain")];
    assert_eq!(measured.value("tls.failed_handshakes", &plain), 2);
    assert_eq!(authority.client().infer(server.address).await, Some(200));
    // Whom the client does not believe, it leaves.
    assert_eq!(Authority::new().client().infer(server.address).await, None);
    let expires = measured.value("tls.certificate.expires", &[("listener", "public")]);
    assert_eq!(expires, 4_102_444_800);
}

#[tokio::test]
async fn a_trickling_handshake_is_cut_off() {
    let authority = Authority::new();
    let measured = Measured::new();
    let files = Files::of(&authority.sign(1, 2100));
    let mut setup = with(files.config());
    setup.meter = measured.meter();
    let server = setup.start().await;
    // Nothing, the beginning of a ClientHello, and a record that says it is longer.
    let mut held = Vec::new();
    for bytes in [
        &b""[..],
        b"\x16\x03\x01",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(bytes).await;
        held.push(client);
    }
    // Others are served meanwhile.
    assert_eq!(authority.client().infer(server.address).await, Some(200));
    for mut client in held {
        client.closed().await;
    }
    let late = [("listener", "public"), ("reason", "timeout")];
    assert_eq!(measured.value("tls.failed_handshakes", &late), 3);
    // The same where the handshake is done, and no request follows.
    let mut silent = authority.connect(server.address).await;
    silent.closed().await;
    assert_eq!(authority.client().infer(server.address).await, Some(200));
}

/// What TLS takes of an answer and cannot send is stuck as much as what the system does not take.
#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let authority = Authority::new();
    let measured = Measured::new();
    let files = Files::of(&authority.sign(1, 2100));
    let mut setup = with(files.config());
    setup.config.write_timeout_ms = 1000;
    setup.meter = measured.meter();
    let server = setup.start().await;
    let mut deaf = authority.connect(server.address).await;
    assert!(deaf.send(request("echo", "", &pairs(2_000_000))).await);
    let open = || measured.value("http.server.open_connections", &[("listener", "public")]);
    assert_eq!(open(), 1);
    eventually("the connection is cut", || open() == 0).await;
    drop(deaf);
}

#[tokio::test]
async fn a_drain_ends_sessions_as_it_ends_connections() {
    let authority = Authority::new();
    let server = start(&authority).await;
    let mut busy = authority.connect(server.address).await;
    busy.send(request("slow", "", GOOD)).await;
    let mut idle = authority.connect(server.address).await;
    idle.send(request("echo", "", GOOD)).await;
    assert_eq!(idle.answer().await.status, 200);
    server.gate().arrived(1).await;
    server.shutdown.cancel();
    assert_eq!(idle.closed().await, b"");
    server.gate().open();
    let answer = busy.answer().await;
    assert_eq!(
        (answer.status, answer.field("connection")),
        (200, Some("close"))
    );
    assert_eq!(busy.closed().await, b"");
    server.serve.await.unwrap();
}

#[tokio::test]
async fn the_admin_listener_has_tls_of_its_own() {
    let authority = Authority::new();
    let files = Files::of(&authority.sign(1, 2100));
    let server = setup(Config {
        admin_tls: Some(files.config()),
        ..config()
    })
    .start()
    .await;
    let mut client = authority.connect(server.admin).await;
    client
        .send("GET /admin/snapshot HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    assert_eq!(client.answer().await.status, 200);
    let answer = get(server.address, "GET", "/v2/health/live").await;
    assert_eq!(answer.status, 200);
}

#[test]
fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let (good, other) = (authority.sign(1, 2100), authority.sign(2, 2100));
    let files = Files::of(&good);
    let wrong = |tls: TlsConfig| {
        let config = Config {
            tls: Some(tls),
            ..config()
        };
        let error = config.check_files().unwrap_err();
        assert!(!error.message.contains("PRIVATE KEY-----\n"), "{error}");
        error.key.into_owned()
    };
    let missing = TlsConfig {
        certificate: "/no/such/file".into(),
        ..files.config()
    };
    assert_eq!(wrong(missing), "tls.certificate");
    let missing = TlsConfig {
        key: "/no/such/file".into(),
        ..files.config()
    };
    assert_eq!(wrong(missing), "tls.key");
    for (name, content, key) in [
        ("certificate.pem", "no certificate", "tls.certificate"),
        ("certificate.pem", &good.key, "tls.certificate"),
        ("key.pem", &good.certificate, "tls.key"),
        ("key.pem", &other.key, "tls.key"),
    ] {
        files.write(&good);
        files.put(name, content);
        assert_eq!(wrong(files.config()), key, "{name}: {content}");
    }
    files.write(&good);
    let mut asking = files.asking(&authority, wharf_server::ClientAuth::Required);
    files.put("clients.pem", "nobody");
    assert_eq!(wrong(asking.clone()), "tls.client_ca");
    files.put("clients.pem", &authority.pem());
    asking.client_auth = wharf_server::ClientAuth::None;
    let config = Config {
        tls: Some(asking),
        ..config()
    };
    assert_eq!(config.check().unwrap_err().key, "tls.client_auth");
    assert_eq!(config.check_files(), Ok(()));
}
