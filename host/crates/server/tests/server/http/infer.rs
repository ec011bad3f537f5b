//! `POST /v1/infer/{route}` and what is around it.

use wharf_server::Config;

use super::{config, start};
use crate::support::http::{Client, get, post, post_with, request};

#[tokio::test]
async fn tensors_go_in_and_out_as_json() {
    let server = start(config()).await;
    for (route, input, output) in [
        (
            "echo",
            r#"{"input": [[1, 2], [3, 4.5]]}"#,
            r#"{"output":[[1.0,2.0],[3.0,4.5]]}"#,
        ),
        ("echo", r#"{"input": [1, 2]}"#, r#"{"output":[1.0,2.0]}"#),
        (
            "echo",
            r#"{"input": {"x": [1, 2]}}"#,
            r#"{"output":[1.0,2.0]}"#,
        ),
        (
            "words",
            r#"{"input": ["a", "ü"]}"#,
            r#"{"output":["a","ü"]}"#,
        ),
        (
            "pair",
            r#"{"inputs": {"b": [true], "a": [-7]}}"#,
            r#"{"output":{"a_out":[-7],"b_out":[true]}}"#,
        ),
    ] {
        let answer = post(server.address, route, input).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, output));
        assert_eq!(answer.field("content-type"), Some("application/json"));
    }
}

#[tokio::test]
async fn large_tensors_are_read_and_written() {
    let server = start(config()).await;
    let rows = vec!["[1.5,2.5]"; 100_000].join(",");
    let answer = post(server.address, "echo", &format!(r#"{{"input":[{rows}]}}"#)).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, format!(r#"{{"output":[{rows}]}}"#));
}

#[tokio::test]
async fn a_body_goes_through_the_stages() {
    let server = start(config()).await;
    let fields = "Content-Type: image/png\r\nX-User: 7\r\nAuthorization: secret\r\n";
    let answer = post_with(server.address, "picture", fields, "12345").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, "[5.0, 9.0] for 7")
    );
    assert_eq!(answer.field("content-type"), Some("text/plain"));
    // A body without a media type is bytes.
    let answer = post_with(server.address, "picture", "", "").await;
    assert_eq!(answer.body, "[0.0, 24.0] for nobody");
}

#[tokio::test]
async fn refusals_are_problem_documents() {
    let server = start(config()).await;
    for (route, body, status, field) in [
        ("echo", r#"{"input": [[1, "2"]]}"#, 400, Some("input[0][1]")),
        ("echo", r#"{"input": [[1, 2], [3]]}"#, 400, Some("input[1]")),
        ("echo", "{", 400, Some("body")),
        ("echo", "", 400, Some("body")),
        ("pair", r#"{"input": {"a": [1]}}"#, 400, Some("input.b")),
        ("none", "{}", 404, Some("route")),
        ("..", "{}", 400, Some("route")),
        ("..%2f..%2fetc", "{}", 400, Some("route")),
        ("a/b", "{}", 400, Some("route")),
        ("a%00", "{}", 400, Some("route")),
        ("", "{}", 400, Some("route")),
        (&"x".repeat(300), "{}", 400, Some("route")),
        ("picture", "trap", 502, None),
    ] {
        let fields = if route == "picture" {
            ""
        } else {
            "Content-Type: application/json\r\n"
        };
        let answer = post_with(server.address, route, fields, body).await;
        let problem = answer.problem();
        assert_eq!(answer.status, status, "{route} {body} {problem}");
        assert_eq!(problem["field"].as_str(), field, "{route} {body} {problem}");
        assert!(!answer.body.contains("secret"), "{problem}");
    }
    let brackets = format!(r#"{{"input": {}"#, "[".repeat(10_000));
    assert_eq!(post(server.address, "echo", &brackets).await.status, 400);
    server.is_well().await;
}

#[tokio::test]
async fn wrong_methods_and_paths_are_refused() {
    let server = start(config()).await;
    for (address, method, path, status, allow) in [
        (server.address, "GET", "/v1/infer/echo", 405, Some("post")),
        (server.address, "POST", "/v1/routes", 405, Some("get, head")),
        (
            server.address,
            "DELETE",
            "/v2/health/live",
            405,
            Some("get, head"),
        ),
        (server.admin, "GET", "/admin/reload", 405, Some("post")),
        (server.address, "GET", "/nothing", 404, None),
        (server.address, "GET", "/metrics", 404, None),
        (server.address, "GET", "/admin/snapshot", 404, None),
        (server.admin, "POST", "/v1/infer/echo", 404, None),
    ] {
        let answer = get(address, method, path).await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(answer.field("allow"), allow, "{method} {path}");
        answer.problem();
    }
}

#[tokio::test]
async fn wrong_content_is_refused() {
    let server = start(config()).await;
    let body = r#"{"input": [1, 2]}"#;
    for (route, fields, field) in [
        ("echo", "Content-Type: text/plain\r\n", "content-type"),
        ("picture", "Content-Type: png\r\n", "content-type"),
        (
            "echo",
            "Content-Encoding: gzip, gzip\r\n",
            "content-encoding",
        ),
        ("echo", "Content-Encoding: br\r\n", "content-encoding"),
    ] {
        let answer = post_with(server.address, route, fields, body).await;
        assert_eq!(answer.status, 415, "{fields}");
        assert_eq!(answer.problem()["field"], field);
    }
    let answer = post_with(server.address, "echo", "Content-Encoding: gzip\r\n", body).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.problem()["field"], "body");
}

#[tokio::test]
async fn request_ids_go_both_ways() {
    let server = start(config()).await;
    let mut client = Client::connect(server.address).await;
    client
        .send(request(
            "echo",
            "X-Request-Id: mine-1\r\n",
            r#"{"input": [1, 2]}"#,
        ))
        .await;
    assert_eq!(client.answer().await.field("x-request-id"), Some("mine-1"));
    client
        .send(request("none", "X-Request-Id: mine-2\r\n", ""))
        .await;
    assert_eq!(client.answer().await.problem()["request_id"], "mine-2");
    client
        .send(request(
            "echo",
            "X-Request-Id: not mine\r\n",
            r#"{"input": [1, 2]}"#,
        ))
        .await;
    let made = client
        .answer()
        .await
        .field("x-request-id")
        .unwrap()
        .to_owned();
    client
        .send(request("echo", "", r#"{"input": [1, 2]}"#))
        .await;
    let next = client
        .answer()
        .await
        .field("x-request-id")
        .unwrap()
        .to_owned();
    assert!(made != next && made[..16] == next[..16], "{made} {next}");
}

#[tokio::test]
async fn too_much_is_shed_at_once() {
    let server = start(config()).await;
    let body = r#"{"input": [1, 2]}"#;
    let mut first = Client::connect(server.address).await;
    first.send(request("narrow", "", body)).await;
    server.gate().arrived(1).await;
    let answer = post(server.address, "narrow", body).await;
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    answer.problem();
    server.gate().open();
    assert_eq!(first.answer().await.status, 200);
    server.is_well().await;
}

#[tokio::test]
async fn a_full_route_refuses_before_the_body_comes() {
    let server = start(config()).await;
    let body = r#"{"input": [1, 2]}"#;
    let mut first = Client::connect(server.address).await;
    first.send(request("narrow", "", body)).await;
    server.gate().arrived(1).await;
    // The header alone is sent: the answer does not wait for the rest.
    let mut second = Client::connect(server.address).await;
    let head = "POST /v1/infer/narrow HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    second.send(head).await;
    let answer = second.answer().await;
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    answer.problem();
    server.gate().open();
    assert_eq!(first.answer().await.status, 200);
    server.is_well().await;
}

#[tokio::test]
async fn bodies_share_a_budget_until_their_requests_end() {
    let server = start(Config {
        max_body_bytes: 1000,
        max_bodies_bytes: 1000,
        ..config()
    })
    .await;
    let body = |length: usize| format!("{:<length$}", r#"{"input": [1, 2]}"#);
    let mut first = Client::connect(server.address).await;
    first.send(request("slow", "", &body(900))).await;
    server.gate().arrived(1).await;
    let answer = post(server.address, "echo", &body(101)).await;
    assert_eq!(answer.status, 503);
    assert!(answer.field("retry-after").is_some());
    answer.problem();
    // One that does not say its length is refused as it arrives.
    let mut chunked = Client::connect(server.address).await;
    let head = "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    chunked.send(format!("{head}65\r\n{}\r\n", body(101))).await;
    assert_eq!(chunked.answer().await.status, 503);
    // What fits is served meanwhile.
    assert_eq!(post(server.address, "echo", &body(100)).await.status, 200);
    server.gate().open();
    assert_eq!(first.answer().await.status, 200);
    assert_eq!(post(server.address, "echo", &body(1000)).await.status, 200);
    server.is_well().await;
}
