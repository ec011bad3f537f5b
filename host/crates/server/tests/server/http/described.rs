//! `/openapi.json`, and the page that shows it.

use bytes::Bytes;
use serde_json::Value;
use wharf_testkit::eventually;

use super::http2::{connect, fetch};
use super::{ECHO, config, start};
use crate::support::http::get;

#[tokio::test]
async fn each_listener_has_its_document() {
    let server = start(config()).await;
    for (address, path) in [
        (server.address, "/v1/infer/echo"),
        (server.admin, "/admin/snapshot"),
    ] {
        let answer = get(address, "GET", "/openapi.json").await;
        assert_eq!(answer.field("content-type"), Some("application/json"));
        let document = answer.json();
        assert_eq!(document["openapi"], "3.1.0");
        assert!(document["paths"][path].is_object(), "{path}");
    }
    let answer = get(server.address, "POST", "/openapi.json").await;
    assert_eq!(
        (answer.status, answer.field("allow")),
        (405, Some("get, head"))
    );
    server.end().await;
}

#[tokio::test]
async fn the_document_follows_the_site() {
    let server = start(config()).await;
    let has = async |route: &str| {
        let document = get(server.address, "GET", "/openapi.json").await.json();
        document["paths"][format!("/v1/infer/{route}")].is_object()
    };
    assert!(has("picture").await && !has("later").await);
    server.site.model("later", 1, ECHO);
    get(server.admin, "POST", "/admin/reload").await;
    let listed = || server.serving.snapshot().route("later").is_some();
    eventually("the model is in force", listed).await;
    assert!(has("later").await);
    server.end().await;
}

#[tokio::test]
async fn the_page_asks_nobody_else_for_anything() {
    let server = start(config()).await;
    let answer = get(server.address, "GET", "/docs").await;
    assert_eq!(
        (answer.status, answer.field("location")),
        (307, Some("docs/"))
    );
    for address in [server.address, server.admin] {
        let page = get(address, "GET", "/docs/").await;
        assert_eq!(page.status, 200);
        let policy = page.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none';"), "{policy}");
        assert!(
            !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        for (part, media_type) in [
            ("swagger-ui.css", "text/css"),
            ("swagger-initializer.js", "text/javascript"),
            ("swagger-ui-bundle.js", "text/javascript"),
        ] {
            assert!(page.body.contains(part), "{part}");
            let answer = get(address, "GET", &format!("/docs/{part}")).await;
            let found = (answer.status, answer.field("content-type"));
            assert_eq!(found, (200, Some(media_type)), "{part}");
            assert_eq!(answer.field("x-content-type-options"), Some("nosniff"));
        }
        let setup = get(address, "GET", "/docs/swagger-initializer.js").await;
        assert!(setup.body.contains("../openapi.json"), "{}", setup.body);
    }
    server.end().await;
}

#[tokio::test]
async fn parts_that_there_are_not_are_refused_like_all_else() {
    let server = start(config()).await;
    for part in ["nothing.js", "..%2fserver.rs", "%2e%2e", "a/b"] {
        let answer = get(server.address, "GET", &format!("/docs/{part}")).await;
        assert_eq!(answer.status, 404, "{part}");
        answer.problem();
    }
    server.end().await;
}

#[tokio::test]
async fn the_page_comes_over_http2_too() {
    let server = start(config()).await;
    let mut client = connect(server.address).await;
    let (status, body) = fetch(&mut client, "/docs/").await.unwrap();
    assert!(
        status == 200 && body.starts_with(b"<!--"),
        "{status}: {body:?}"
    );
    let (_, document): (u16, Bytes) = fetch(&mut client, "/openapi.json").await.unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    assert!(document["paths"]["/v1/infer/echo"].is_object());
    server.end().await;
}
