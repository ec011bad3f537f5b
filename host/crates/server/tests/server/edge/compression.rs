//! Answers that are compressed.

use std::io::Read as _;
use std::net::SocketAddr;

use flate2::read::{GzDecoder, ZlibDecoder};
use wharf_server::Config;

use super::{config, setup};
use crate::support::http::{Answer, Client};

/// A document of so many rows.
fn rows(count: usize) -> String {
    format!(r#"{{"input": [{}]}}"#, vec!["[1,2]"; count].join(","))
}

async fn ask(address: SocketAddr, head: &str, fields: &str, body: &str) -> Answer<Vec<u8>> {
    let mut client = Client::connect(address).await;
    let length = body.len();
    client
        .send(format!(
            "{head} HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    client.whole().await
}

fn unpacked(answer: &Answer<Vec<u8>>) -> String {
    let mut text = String::new();
    match answer.field("content-encoding") {
        Some("gzip") => GzDecoder::new(&answer.body[..]).read_to_string(&mut text),
        Some("deflate") => ZlibDecoder::new(&answer.body[..]).read_to_string(&mut text),
        _ => (&answer.body[..]).read_to_string(&mut text),
    }
    .unwrap();
    text
}

const INFER: &str = "POST /v1/infer/echo";

#[tokio::test]
async fn inferences_are_compressed_as_asked() {
    let server = setup(config()).start().await;
    // What is compressed at once, and what on another thread.
    for count in [500, 20_000] {
        let body = rows(count);
        let plain = ask(server.address, INFER, "", &body).await;
        assert_eq!(plain.field("content-encoding"), None);
        assert_eq!(plain.field("vary"), Some("accept-encoding"));
        for coding in ["gzip", "deflate"] {
            let fields = format!("Accept-Encoding: br, {coding};q=0.9\r\n");
            let answer = ask(server.address, INFER, &fields, &body).await;
            assert_eq!(answer.status, 200);
            assert_eq!(answer.field("content-encoding"), Some(coding));
            assert_eq!(answer.field("vary"), Some("accept-encoding"));
            assert!(answer.body.len() < plain.body.len() / 4);
            assert_eq!(unpacked(&answer), unpacked(&plain));
        }
    }
    let small = ask(server.address, INFER, "Accept-Encoding: gzip\r\n", &rows(1)).await;
    assert_eq!(small.field("content-encoding"), None);
    server.end().await;
}

#[tokio::test]
async fn documents_are_compressed_and_heads_are_not() {
    let server = setup(Config {
        compress_min_bytes: 10,
        ..config()
    })
    .start()
    .await;
    let accept = "Accept-Encoding: gzip\r\n";
    for (address, path) in [
        (server.address, "/v1/models"),
        (server.address, "/v2/models/echo/config"),
        (server.admin, "/admin/snapshot"),
        (server.admin, "/metrics"),
    ] {
        let head = format!("GET {path}");
        let plain = ask(address, &head, "", "").await;
        let answer = ask(address, &head, accept, "").await;
        assert_eq!(answer.field("content-encoding"), Some("gzip"), "{path}");
        let (text, wanted) = (unpacked(&answer), unpacked(&plain));
        // Beginnings: the rest may have changed meanwhile.
        assert_eq!(text[..10], wanted[..10], "{path}");
    }
    let mut client = Client::connect(server.address).await;
    client
        .send(format!(
            "HEAD /v1/models HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{accept}\r\n"
        ))
        .await;
    let said = String::from_utf8(client.closed().await).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    assert!(said.ends_with("\r\n\r\n"), "{said}");
    // It says of the answer to a GET what is known before it is compressed.
    for (field, is_there) in [
        ("\r\nvary: accept-encoding\r\n", true),
        ("\r\ncontent-encoding: gzip\r\n", true),
        ("\r\ncontent-length:", false),
    ] {
        assert_eq!(said.contains(field), is_there, "{field}: {said}");
    }
    // A refusal is a document as well.
    let answer = ask(server.address, "POST /v1/infer/none", accept, "{}").await;
    assert_eq!(answer.status, 404);
    assert!(unpacked(&answer).contains("urn:wharf:problem:not-found"));
    server.end().await;
}

/// Not even where its size is known: it would have to be there whole, and wait until it is.
#[tokio::test]
async fn what_comes_piece_by_piece_goes_so() {
    let setup = setup(config());
    setup.site.upstream("mirror", "service");
    let server = setup.start().await;
    let mut client = Client::connect(server.address).await;
    let fields = "Host: x\r\nContent-Type: text/plain\r\nAccept-Encoding: gzip\r\nContent-Length: 5000\r\n\r\n";
    client
        .send(format!("POST /v1/infer/mirror HTTP/1.1\r\n{fields}first"))
        .await;
    let head = client.until("first").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(!head.contains("content-encoding"), "{head}");
    client.send(vec![b'x'; 4995]).await;
    server.end().await;
}

#[tokio::test]
async fn it_can_be_switched_off() {
    let server = setup(Config {
        compress_min_bytes: 0,
        ..config()
    })
    .start()
    .await;
    let accept = "Accept-Encoding: gzip\r\n";
    let answer = ask(server.address, INFER, accept, &rows(500)).await;
    assert_eq!(answer.field("content-encoding"), None);
    assert_eq!(answer.field("vary"), None);
    let body =
        r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [500, 2], "data": DATA}]}"#;
    let body = body.replace("DATA", &format!("[{}]", vec!["1"; 1000].join(",")));
    let answer = ask(server.address, "POST /v2/models/echo/infer", accept, &body).await;
    assert_eq!(
        (answer.status, answer.field("content-encoding")),
        (200, None)
    );
    server.end().await;
}
