//! What a route lets a body be.

use bytes::Bytes;
use prost::Message as _;

use super::{GOOD, config, setup};
use crate::support::Running;
use crate::support::grpc::{Call, bytes_of, floats, frame};
use crate::support::http::{Client, infer, post};

const TOO_LARGE: i32 = 11;
const DEADLINE: i32 = 4;

/// A server with routes to `echo`: `small`, which takes some bytes, and `hasty`, which does not wait.
async fn start() -> Running {
    let setup = setup(config());
    let site = &setup.site;
    site.route("small", "model = \"echo\"\nmax_body_bytes = 200\n");
    site.route("hasty", "model = \"echo\"\nbody_timeout_ms = 100\n");
    site.route("large", "model = \"echo\"\nmax_body_bytes = 4294967296\n");
    site.upstream("service", "service\nwhole");
    site.route(
        "streaming",
        "upstream = \"service\"\nbody_timeout_ms = 100\n",
    );
    site.route("patient", "upstream = \"service\"\n");
    setup.start().await
}

#[tokio::test]
async fn a_route_refuses_large_bodies_by_its_own_limit() {
    let server = start().await;
    let padded = format!("{GOOD}{}", " ".repeat(200 - GOOD.len()));
    assert_eq!(post(server.address, "small", &padded).await.status, 200);
    let larger = format!("{padded} ");
    let answer = post(server.address, "small", &larger).await;
    assert_eq!(answer.refused_field(), (413, "body".to_owned()));
    let detail = answer.json()["detail"].to_string();
    assert!(
        detail.contains("200 bytes that the route's max_body_bytes"),
        "{detail}"
    );
    let answer = infer(server.address, "small/infer", "", &larger).await;
    assert_eq!(answer.status, 413);
    // The others are not concerned, and the server's limit is the most.
    assert_eq!(post(server.address, "echo", &larger).await.status, 200);
    assert_eq!(post(server.address, "large", &larger).await.status, 200);
    let mut client = Client::connect(server.address).await;
    client
        .send("POST /v1/infer/large HTTP/1.1\r\nHost: x\r\nContent-Length: 67108865\r\n\r\n")
        .await;
    let detail = client.answer().await.problem()["detail"].to_string();
    assert!(detail.contains("server.max_body_bytes"), "{detail}");
    server.end().await;
}

#[tokio::test]
async fn sizes_of_a_route_count_after_decompression() {
    use std::io::Write as _;
    let server = start().await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(&[b' '; 1000]).unwrap();
    let body = encoder.finish().unwrap();
    assert!(body.len() < 200);
    let fields = "Content-Encoding: gzip\r\n";
    let answer = server.send("POST", "/v1/infer/small", fields, &body).await;
    assert_eq!(answer.status, 413);
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("the route's max_body_bytes"), "{detail}");
    server.end().await;
}

#[tokio::test]
async fn a_route_waits_for_bodies_as_long_as_it_says() {
    let server = start().await;
    for path in ["/v1/infer/hasty", "/v2/models/hasty/infer"] {
        let mut client = Client::connect(server.address).await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 408, "{path}");
        let detail = answer.problem()["detail"].to_string();
        assert!(
            detail.contains("100 ms (the route's body_timeout_ms)"),
            "{detail}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn a_route_that_streams_waits_no_longer() {
    let server = start().await;
    let head = "POST /v1/infer/streaming HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
    let mut client = Client::connect(server.address).await;
    client
        .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
        .await;
    // It goes on sending, but not fast enough.
    client.send("1\r\na\r\n").await;
    client.send("1\r\nb\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 408);
    let detail = answer.problem()["detail"].to_string();
    assert!(
        detail.contains("100 ms (the route's body_timeout_ms)"),
        "{detail}"
    );
    let fields = "Content-Type: text/plain\r\n";
    let path = "/v1/infer/streaming";
    let answer = server.send("POST", path, fields, b"in time").await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "in time"));
    server.end().await;
}

#[tokio::test]
async fn a_route_that_streams_takes_so_many_chunks() {
    let server = start().await;
    let head = "POST /v1/infer/patient HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
    let mut client = Client::connect(server.address).await;
    client
        .send(format!("{head}Transfer-Encoding: chunked\r\n\r\n"))
        .await;
    client.send("1\r\na\r\n".repeat(65_537)).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    let detail = answer.problem()["detail"].to_string();
    assert!(detail.contains("65536 chunks"), "{detail}");
    server.end().await;
}

#[tokio::test]
async fn calls_are_held_to_them_as_well() {
    let server = start().await;
    let large = floats("small", &[1.0; 100]).encode_to_vec();
    assert!(large.len() > 200);
    let call = Call::infer(server.address, &[]).await;
    let ended = call.finish(frame(0, &large)).await;
    assert_eq!(ended.code, TOO_LARGE, "{}", ended.message);
    assert!(ended.message.contains("the route's max_body_bytes"));

    // As soon as it is seen what it is for, and not when all of it has come.
    let whole = frame(0, &large);
    let mut call = Call::infer(server.address, &[]).await;
    call.send(whole.slice(..20)).await;
    let ended = call.ended().await;
    assert_eq!(ended.code, TOO_LARGE, "{}", ended.message);

    let whole = frame(0, &floats("hasty", &[1.0; 100]).encode_to_vec());
    let mut call = Call::infer(server.address, &[]).await;
    call.send(whole.slice(..20)).await;
    let ended = call.ended().await;
    assert_eq!(ended.code, DEADLINE, "{}", ended.message);
    assert!(ended.message.contains("the route's body_timeout_ms"));

    // In pieces, the prefix by itself.
    let whole: Bytes = frame(0, &floats("small", &[1.0, 2.0]).encode_to_vec());
    let mut call = Call::infer(server.address, &[]).await;
    call.send(whole.slice(..5)).await;
    call.send(whole.slice(5..6)).await;
    let ended = call.finish(whole.slice(6..)).await;
    let answer: wharf_server::inference::ModelInferResponse = ended.message();
    assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
    server.end().await;
}
