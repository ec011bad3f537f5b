//! Pages of other sites.

use wharf_server::{Config, CorsConfig};

use super::{GOOD, config, setup};
use crate::support::Running;
use crate::support::http::{Answer, Client};

const APP: &str = "https://app.example";
/// A change that does no harm.
const CHANGE: &str = "/v2/systemsharedmemory/unregister";

async fn start(origins: &[&str], credentials: bool) -> Running {
    let cors = CorsConfig {
        origins: origins.iter().map(ToString::to_string).collect(),
        credentials,
        ..CorsConfig::default()
    };
    setup(Config { cors, ..config() }).start().await
}

/// What a browser asks before it sends a request.
async fn preflight(server: &Running, path: &str, origin: &str) -> Answer {
    let mut client = Client::connect(server.address).await;
    client
        .send(format!(
            "OPTIONS {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {origin}\r\n\
             Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n"
        ))
        .await;
    client.answer().await
}

async fn infer(server: &Running, origin: &str) -> Answer {
    let fields = format!("Origin: {origin}\r\nContent-Type: application/json\r\n");
    let (path, body) = ("/v1/infer/echo", GOOD.as_bytes());
    server.send("POST", path, &fields, body).await
}

#[tokio::test]
async fn a_preflight_is_answered_wherever_it_goes() {
    let server = start(&[APP, "http://localhost:3000"], true).await;
    for path in [
        "/v1/infer/echo",
        "/v1/infer/unknown",
        "/v2/models/echo/infer",
        "/v1/routes",
        "/v2/logging",
        "/made/up",
    ] {
        let answer = preflight(&server, path, APP).await;
        assert_eq!(answer.status, 204, "{path}");
        for (field, value) in [
            ("access-control-allow-origin", APP),
            ("access-control-allow-credentials", "true"),
            ("access-control-max-age", "600"),
            ("vary", "origin"),
        ] {
            assert_eq!(answer.field(field), Some(value), "{path}");
        }
        let lists = |field, word| answer.field(field).unwrap().contains(word);
        assert!(lists("access-control-allow-methods", "post"), "{path}");
        for field in ["content-type", "upload-offset", "repr-digest", "prefer"] {
            assert!(lists("access-control-allow-headers", field), "{path}");
        }
        let answer = preflight(&server, path, "https://evil.example").await;
        assert_eq!(answer.refused_field(), (403, "origin".to_owned()), "{path}");
        assert_eq!(answer.field("access-control-allow-origin"), None);
    }
    server.end().await;
}

#[tokio::test]
async fn an_answer_says_who_may_read_it() {
    let server = start(&[APP], false).await;
    let answer = infer(&server, APP).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("access-control-allow-origin"), Some(APP));
    assert_eq!(answer.field("access-control-allow-credentials"), None);
    assert_eq!(answer.field("vary"), Some("origin"));
    let exposed = answer.field("access-control-expose-headers").unwrap();
    for field in ["x-request-id", "upload-offset", "repr-digest", "etag"] {
        assert!(exposed.contains(field), "{field}: {exposed}");
    }
    // A refusal is for the page to read, too.
    let fields = format!("Origin: {APP}\r\n");
    let answer = server.send("POST", "/v1/infer/none", &fields, b"{}").await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.field("access-control-allow-origin"), Some(APP));
    // Who is not named gets the answer, and the browser keeps it from the page.
    let answer = infer(&server, "https://evil.example").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.field("access-control-allow-origin"), None);
    assert_eq!(answer.field("vary"), Some("origin"));
    server.end().await;
}

#[tokio::test]
async fn a_page_of_a_named_site_may_change_the_server() {
    let server = start(&[APP], false).await;
    for (origin, status) in [
        (APP, 200),
        ("http://localhost", 200),
        ("https://evil.example", 403),
    ] {
        let fields = format!("Origin: {origin}\r\n");
        let answer = server.send("POST", CHANGE, &fields, b"").await;
        assert_eq!(answer.status, status, "{origin}");
    }
    server.end().await;
    // Whom everybody may read from, not everybody may change.
    let server = start(&["*"], false).await;
    let answer = infer(&server, APP).await;
    assert_eq!(answer.field("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.field("vary"), None);
    let fields = format!("Origin: {APP}\r\n");
    let answer = server.send("POST", CHANGE, &fields, b"").await;
    assert_eq!(answer.refused_field(), (403, "origin".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn without_the_setting_nothing_is_said() {
    let server = start(&[], false).await;
    assert_eq!(preflight(&server, "/v1/infer/echo", APP).await.status, 405);
    let answer = infer(&server, APP).await;
    assert!(!answer.head.contains("access-control"), "{}", answer.head);
    assert_eq!(answer.field("vary"), None);
    server.end().await;
}
