//! Who may change the server.

use serde_json::json;

use super::{setup, start};
use crate::support::http::Client;

const CHANGES: [(&str, &str); 9] = [
    ("/v2/repository/models/echo/load", "{}"),
    ("/v2/repository/models/echo/unload", "{}"),
    (
        "/v2/systemsharedmemory/region/r/register",
        r#"{"key": "k", "byte_size": 1}"#,
    ),
    ("/v2/systemsharedmemory/region/r/unregister", ""),
    ("/v2/systemsharedmemory/unregister", ""),
    ("/v2/logging", r#"{"log_info": false}"#),
    ("/v2/trace/setting", r#"{"trace_level": ["OFF"]}"#),
    ("/v2/models/echo/trace/setting", r#"{"trace_rate": "2"}"#),
    ("/v2/models/echo/trace/setting", r#"{"trace_rate": null}"#),
];

#[tokio::test]
async fn without_management_clients_look_and_change_nothing() {
    let mut setup = setup();
    setup.config.management = Some(false);
    setup.traces = true;
    let server = setup.start().await;
    for (path, body) in CHANGES {
        let answer = server.post(path, body).await;
        assert_eq!(answer.status, 403, "{path}: {answer:?}");
        let problem = answer.json();
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("server.management")
        );
    }
    for path in [
        "/v2/models/echo",
        "/v2/models/echo/config",
        "/v2/models/stats",
        "/v2/systemsharedmemory/status",
        "/v2/logging",
        "/v2/trace/setting",
    ] {
        server.json(path).await;
    }
    assert_eq!(server.post("/v2/repository/index", "").await.status, 200);
    let extensions = server.json("/v2").await["extensions"].clone();
    assert_eq!(
        extensions,
        json!([
            "classification",
            "sequence",
            "schedule_policy",
            "model_configuration",
            "binary_tensor_data",
            "parameters",
            "statistics"
        ])
    );
    server.end().await;
}

#[tokio::test]
async fn on_this_machine_alone_clients_may() {
    let server = start().await;
    let extensions = server.json("/v2").await["extensions"].clone();
    let has = |name: &str| extensions.as_array().unwrap().contains(&json!(name));
    assert!(has("model_repository") && has("system_shared_memory") && has("logging"));
    // Spans go nowhere, and the memory of GPUs is not shared.
    assert!(!has("trace") && !has("cuda_shared_memory"));
    server.end().await;
    let mut setup = setup();
    setup.traces = true;
    let server = setup.start().await;
    let extensions = server.json("/v2").await["extensions"].clone();
    assert!(extensions.as_array().unwrap().contains(&json!("trace")));
    server.end().await;
}

#[tokio::test]
async fn pages_of_other_sites_may_not() {
    let server = start().await;
    for (path, body) in CHANGES {
        for origin in [
            "https://evil.example",
            "null",
            "http://localhost.evil.example",
        ] {
            let fields = format!("Origin: {origin}\r\n");
            let answer = server.send("POST", path, &fields, body.as_bytes()).await;
            assert_eq!(answer.refused_field(), (403, "origin".to_owned()), "{path}");
        }
    }
    let own = "Origin: http://localhost\r\n";
    let answer = server.send("POST", "/v2/logging", own, b"{}").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    server.end().await;
}

/// A page of a name that its owner lets lead to this machine is of the same origin as the server.
#[tokio::test]
async fn names_that_somebody_else_lets_lead_here_may_not() {
    let server = start().await;
    let ask = async |path: &str, host: &str, body: &str| {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut client = Client::connect(server.address).await;
        client.send(format!("{head}{body}")).await;
        client.answer().await
    };
    for (path, body) in CHANGES {
        let answer = ask(path, "evil.example:8080", body).await;
        assert_eq!(answer.refused_field(), (403, "host".to_owned()), "{path}");
    }
    // What changes nothing is answered under any name.
    for path in ["/v2/logging", "/v2/repository/index"] {
        assert_eq!(ask(path, "evil.example", "{}").await.status, 200, "{path}");
    }
    for host in ["127.0.0.1:8080", "[::1]", "LOCALHOST:1"] {
        let answer = ask("/v2/systemsharedmemory/unregister", host, "").await;
        assert_eq!(answer.status, 200, "{host}");
    }
    server.end().await;

    let mut setup = setup();
    setup.config.management = Some(true);
    let server = setup.start().await;
    let head = "POST /v2/systemsharedmemory/unregister HTTP/1.1\r\nHost: wharf.example\r\nContent-Length: 0\r\n\r\n";
    let mut client = Client::connect(server.address).await;
    client.send(head).await;
    assert_eq!(client.answer().await.status, 200);
    server.end().await;
}

#[tokio::test]
async fn methods_and_made_up_paths_are_refused() {
    let server = start().await;
    for (method, path, allow) in [
        ("POST", "/v2", "get, head"),
        ("POST", "/v2/models/echo", "get, head, put, patch, delete"),
        ("PUT", "/v1/models", "get, head, post"),
        ("POST", "/v2/models/echo/config", "get, head"),
        ("GET", "/v2/repository/index", "post"),
        ("GET", "/v2/repository/models/echo/load", "post"),
        ("PUT", "/v2/logging", "get, head, post"),
        ("DELETE", "/v2/models/echo/trace/setting", "get, head, post"),
    ] {
        let answer = server.send(method, path, "", b"").await;
        assert_eq!(answer.status, 405, "{method} {path}");
        assert!(
            answer.head.contains(&format!("allow: {allow}\r\n")),
            "{answer:?}"
        );
    }
    for path in [
        "/v2/",
        "/v3/models",
        "/v2/models/echo/",
        "/v2/models/echo/x",
        "/v2/cudasharedmemory",
    ] {
        assert_eq!(server.get(path).await.status, 404, "{path}");
    }
    let index = server.json("/").await;
    let endpoints = index["endpoints"].as_array().unwrap();
    assert!(endpoints.contains(&json!("POST /v2/repository/models/{model}/load")));
    server.end().await;
}
