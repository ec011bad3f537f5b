//! Bodies that go through a route to a plain service as they come.

use wharf_server::Config;
use wharf_testkit::{Site, eventually};

use super::{ECHO, config, start_with};
use crate::support::Running;
use crate::support::http::{Client, post, post_with};

/// A server with a route `mirror` to a service that gives back what it gets.
async fn start(config: Config) -> Running {
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.upstream("mirror", "service");
    site.upstream("created", "service\nstatus 201");
    site.upstream("silent", "service\nstatus 204");
    start_with(config, site).await
}

const HEAD: &str = "POST /v1/infer/mirror HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn the_answer_begins_before_the_body_has_ended() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address).await;
    client.send(HEAD).await;
    client.send("5\r\nfirst\r\n").await;
    let head = client.until("first").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(head.contains("content-type: text/plain"), "{head}");
    assert!(head.contains("x-request-id: "), "{head}");
    assert_eq!(server.in_flight(), 1);
    client.send("4\r\nlast\r\n0\r\n\r\n").await;
    client.until("last").await;
    server.idle().await;
    // The connection is at its next request.
    let answer = post_with(
        server.address,
        "mirror",
        "Content-Type: text/plain\r\n",
        "whole",
    )
    .await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "whole"));
    // It comes from the origin of the API, and must not become a page there.
    assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
    server.end().await;
}

#[tokio::test]
async fn a_service_says_how_it_succeeded() {
    let server = start(config()).await;
    let fields = "Content-Type: text/plain\r\n";
    let answer = post_with(server.address, "created", fields, "x").await;
    assert_eq!((answer.status, answer.body.as_str()), (201, "x"));
    let answer = post_with(server.address, "silent", fields, "").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.field("content-type"), None);
    server.end().await;
}

#[tokio::test]
async fn a_body_that_is_too_large_or_cut_off_ends_the_exchange() {
    let server = start(Config {
        max_body_bytes: 100,
        ..config()
    })
    .await;
    let answer = post(server.address, "mirror", &"x".repeat(101)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(answer.problem()["field"], "body");
    // What does not say its length is found out on the way, and the answer, begun already, does not come to its end.
    let mut client = Client::connect(server.address).await;
    client.send(HEAD).await;
    client.send("5\r\nfirst\r\n").await;
    client.until("first").await;
    let second = "x".repeat(96);
    client.send(format!("60\r\n{second}\r\n")).await;
    let rest = client.closed().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{rest:?}");

    let mut client = Client::connect(server.address).await;
    client.send(HEAD).await;
    client.send("5\r\nfirst\r\n").await;
    client.until("first").await;
    drop(client);
    eventually("its place is free", || server.in_flight() == 0).await;
    server.end().await;
}

#[tokio::test]
async fn what_is_compressed_is_collected_and_sent_on_as_what_it_is() {
    let server = start(config()).await;
    let fields = "Content-Type: text/plain\r\nContent-Encoding: gzip\r\n";
    let answer = post_with(server.address, "mirror", fields, "no gzip").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problem()["field"], "body");
    server.end().await;
}
