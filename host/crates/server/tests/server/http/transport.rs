//! Clients that are slow, wrong or hostile below HTTP.

use std::time::{Duration, Instant};

use wharf_server::Config;

use super::{config, start};
use crate::support::http::{Client, post, request};

const GOOD: &str = r#"{"input": [1, 2]}"#;

#[tokio::test]
async fn a_trickling_header_is_cut_off() {
    let server = start(config()).await;
    let start = Instant::now();
    for bytes in [
        "",
        "P",
        "PRI * HT",
        "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\nX",
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(bytes).await;
        client.closed().await;
    }
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
    server.is_well().await;
}

#[tokio::test]
async fn a_header_that_keeps_trickling_is_cut_off() {
    let server = start(config()).await;
    let client = Client::connect(server.address).await;
    let (mut read, mut write) = client.socket.into_split();
    let start = Instant::now();
    let trickle = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        let mut pause = tokio::time::interval(Duration::from_millis(50));
        while write.write_all(b"x").await.is_ok() {
            pause.tick().await;
        }
    });
    let mut bytes = Vec::new();
    let _ = tokio::io::AsyncReadExt::read_to_end(&mut read, &mut bytes).await;
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
    trickle.await.unwrap();
}

#[tokio::test]
async fn a_trickling_body_is_408() {
    let server = start(config()).await;
    for fields in [
        "Content-Length: 100\r\n\r\n{",
        "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ] {
        let mut client = Client::connect(server.address).await;
        client
            .send(format!(
                "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\n{fields}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 408);
        assert_eq!(answer.problem()["field"], "body");
        assert_eq!(answer.field("connection"), Some("close"));
        client.closed().await;
    }
    server.is_well().await;
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let server = start(Config {
        idle_timeout_ms: 400,
        ..config()
    })
    .await;
    let mut client = Client::connect(server.address).await;
    client.send(request("echo", "", GOOD)).await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.closed().await, b"");
}

#[tokio::test]
async fn too_many_chunks_are_refused() {
    let server = start(Config {
        body_timeout_ms: 20_000,
        ..config()
    })
    .await;
    let head = "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = Client::connect(server.address).await;
    client
        .send(format!("{head}{}0\r\n\r\n", "1\r\n \r\n".repeat(65_537)))
        .await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("65536 chunks")
    );
    let mut client = Client::connect(server.address).await;
    let spaces = "1\r\n \r\n".repeat(65_536 - GOOD.len());
    let good: String = GOOD
        .chars()
        .map(|byte| format!("1\r\n{byte}\r\n"))
        .collect();
    client.send(format!("{head}{spaces}{good}0\r\n\r\n")).await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn large_headers_are_431() {
    let server = start(config()).await;
    let large = format!("X: {}\r\n", "x".repeat(17 << 10));
    let many: String = (0..99).map(|index| format!("X-{index}: y\r\n")).collect();
    for fields in [large, format!("{many}X: y\r\n")] {
        let mut client = Client::connect(server.address).await;
        client
            .send(format!(
                "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n{fields}\r\n"
            ))
            .await;
        assert_eq!(client.answer().await.status, 431);
        client.closed().await;
    }
    // Just below.
    let mut client = Client::connect(server.address).await;
    client
        .send(format!(
            "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n{many}\r\n"
        ))
        .await;
    assert_eq!(client.answer().await.status, 200);
}

#[tokio::test]
async fn two_lengths_are_refused_and_the_connection_closed() {
    let server = start(config()).await;
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: gzip\r\n",
    ] {
        // A request smuggled in what one of the two lengths leaves must not be answered.
        let smuggled = "0\r\n\r\nGET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n";
        let mut client = Client::connect(server.address).await;
        client
            .send(format!(
                "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\n{fields}\r\n{smuggled}"
            ))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{fields}");
        assert_eq!(answer.field("connection"), Some("close"), "{fields}");
        assert_eq!(client.closed().await, b"", "{fields}");
    }
    server.is_well().await;
}

#[tokio::test]
async fn codings_that_nobody_knows_and_missing_hosts_are_refused() {
    let server = start(config()).await;
    let chunked = "2\r\n{}\r\n0\r\n\r\n";
    for (fields, status, field) in [
        (
            "Host: x\r\nTransfer-Encoding: gzip, chunked\r\n",
            501,
            "transfer-encoding",
        ),
        (
            "Host: x\r\nTransfer-Encoding: chunked, chunked\r\n",
            400,
            "content-length",
        ),
        ("Transfer-Encoding: chunked\r\n", 400, "host"),
        (
            "Host: x\r\nhost: y\r\nTransfer-Encoding: chunked\r\n",
            400,
            "host",
        ),
    ] {
        let mut client = Client::connect(server.address).await;
        let head = format!("POST /v1/infer/echo HTTP/1.1\r\n{fields}\r\n");
        client.send(format!("{head}{chunked}")).await;
        let answer = client.answer().await;
        assert_eq!(answer.field("connection"), Some("close"), "{fields}");
        let refused = answer.refused_field();
        assert_eq!(refused, (status, field.to_owned()), "{fields}");
        assert_eq!(client.closed().await, b"", "{fields}");
    }
    // HTTP/1.0 does not ask for a host.
    let mut client = Client::connect(server.address).await;
    client.send("GET /v2/health/live HTTP/1.0\r\n\r\n").await;
    assert_eq!(client.answer().await.status, 200);
    server.is_well().await;
}

/// Who waits to be told to go on is refused at once, and not told so in vain.
#[tokio::test]
async fn a_client_that_asks_first_is_refused_before_it_sends() {
    let server = start(config()).await;
    for path in ["/v1/infer/unknown", "/v2/models/unknown/infer", "/made/up"] {
        let mut client = Client::connect(server.address).await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\nExpect: 100-Continue\r\n\r\n"
        );
        client.send(head).await;
        let answer = client.answer().await;
        let said = (answer.status, answer.field("connection"));
        assert_eq!(said, (404, Some("close")), "{path}");
        assert_eq!(client.closed().await, b"", "{path}");
    }
    let mut client = Client::connect(server.address).await;
    let good = request("echo", "Expect: 100-continue\r\n", GOOD);
    let (head, body) = good.split_at(good.len() - GOOD.len());
    client.send(head).await;
    assert_eq!(client.answer().await.status, 100);
    client.send(body).await;
    assert_eq!(client.answer().await.status, 200);
    server.is_well().await;
}

#[tokio::test]
async fn only_the_ambiguous_request_of_a_pipeline_is_refused() {
    let server = start(config()).await;
    let ambiguous = "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}";
    let mut client = Client::connect(server.address).await;
    client
        .send(format!("{0}{0}{ambiguous}{0}", request("echo", "", GOOD)))
        .await;
    assert_eq!(client.answer().await.status, 200);
    assert_eq!(client.answer().await.status, 200);
    let answer = client.answer().await;
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.problem()["type"],
        "urn:wharf:problem:ambiguous-length"
    );
    assert_eq!(client.closed().await, b"");
}

#[tokio::test]
async fn large_bodies_are_413() {
    let server = start(Config {
        max_body_bytes: 1000,
        ..config()
    })
    .await;
    for body in [
        "Content-Length: 1001\r\n\r\n".to_owned(),
        format!(
            "Transfer-Encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
            " ".repeat(1001)
        ),
    ] {
        let mut client = Client::connect(server.address).await;
        client
            .send(format!("POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\n{body}"))
            .await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 413);
        assert!(
            answer.problem()["detail"]
                .as_str()
                .unwrap()
                .contains("max_body_bytes")
        );
    }
    let padded = format!("{GOOD}{}", " ".repeat(1000 - GOOD.len()));
    assert_eq!(post(server.address, "echo", &padded).await.status, 200);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let server = start(Config {
        max_connections: 2,
        ..config()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut client = Client::connect(server.address).await;
        client.send(request("echo", "", GOOD)).await;
        assert_eq!(client.answer().await.status, 200);
        held.push(client);
    }
    let mut client = Client::connect(server.address).await;
    let answer = client.answer().await;
    assert_eq!(
        (answer.status, answer.field("retry-after")),
        (503, Some("1"))
    );
    client.closed().await;
    held.clear();
    // The server notices in its own time that they left.
    loop {
        let answer = post(server.address, "echo", GOOD).await;
        if answer.status == 200 {
            break;
        }
        assert_eq!(answer.status, 503);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn clients_that_leave_free_their_slots() {
    let server = start(config()).await;
    let mut started = 0;
    for _ in 0..100 {
        let mut clients = Vec::new();
        for _ in 0..20 {
            let mut client = Client::connect(server.address).await;
            client.send(request("slow", "", GOOD)).await;
            clients.push(client);
        }
        started += clients.len();
        server.gate().arrived(started).await;
        drop(clients);
        server.idle().await;
    }
    server.is_well().await;
}

#[tokio::test]
async fn garbage_is_refused() {
    let server = start(config()).await;
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\0/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nA\0: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    ] {
        let mut client = Client::connect(server.address).await;
        client.send(bytes).await;
        let said = client.closed().await;
        let refused = said.is_empty() || said.starts_with(b"HTTP/1.1 400");
        assert!(refused, "{bytes:?} {:?}", String::from_utf8_lossy(&said));
    }
    server.is_well().await;
}

/// A refusal comes before the body: the connection goes on where the rest of the body is small, and ends with a word where not.
#[tokio::test]
async fn what_is_left_of_a_refused_body_does_not_break_the_next_request() {
    let server = start(config()).await;
    for path in ["/v1/infer/unknown", "/v2/models/unknown/infer", "/made/up"] {
        let head = |length: usize| {
            format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n")
        };
        let mut client = Client::connect(server.address).await;
        client.send(head(GOOD.len())).await;
        tokio::task::yield_now().await;
        client.send(GOOD).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.field("connection")), (404, None));
        client.send(request("echo", "", GOOD)).await;
        assert_eq!(client.answer().await.status, 200, "{path}");

        // Too large to be read in vain, and never sent.
        for length in [1 << 20, 100] {
            let mut client = Client::connect(server.address).await;
            client.send(head(length)).await;
            let answer = client.answer().await;
            assert_eq!(
                (answer.status, answer.field("connection")),
                (404, Some("close")),
                "{path} {length}"
            );
            client.closed().await;
        }
    }
    server.is_well().await;
}
