//! Plugins and routes: put into the site and taken out.

use serde_json::json;

use super::models::if_match;
use super::start;

const UPPER: &str = "tag new\nend\n";

#[tokio::test]
async fn a_plugin_is_checked_before_it_lands() {
    let server = start().await;
    let made = server
        .send("PUT", "/v1/plugins/fresh", "", UPPER.as_bytes())
        .await;
    assert_eq!(
        (made.status, made.field("location")),
        (201, Some("/v1/plugins/fresh"))
    );
    let read = server.get("/v1/plugins/fresh").await;
    assert_eq!((read.status, &read.json()["name"]), (200, &json!("fresh")));
    assert_eq!(read.field("etag"), made.field("etag"));
    let file = server.site.path().join("plugins/fresh.wasm");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), UPPER);
    let component = server
        .send(
            "GET",
            "/v1/plugins/fresh",
            "Accept: application/wasm\r\n",
            b"",
        )
        .await;
    assert_eq!(component.body, UPPER);
    // What would be refused does not land, and what was there stays.
    let known = if_match(&read);
    for body in ["broken\nend\n", "half a scri"] {
        let answer = server
            .send("PUT", "/v1/plugins/fresh", &known, body.as_bytes())
            .await;
        assert_eq!(answer.status, 422, "{answer:?}");
        assert!(!answer.body.contains(".wasm"), "{answer:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), UPPER);
    }
    let blind = server
        .send("PUT", "/v1/plugins/fresh", "", UPPER.as_bytes())
        .await;
    assert_eq!(blind.refused_field(), (428, "if-match".to_owned()));
    let stale =
        "If-Match: \"0000000000000000000000000000000000000000000000000000000000000000\"\r\n";
    let answer = server
        .send("PUT", "/v1/plugins/fresh", stale, UPPER.as_bytes())
        .await;
    assert_eq!(answer.refused_field(), (412, "if-match".to_owned()));
    let empty = server.send("PUT", "/v1/plugins/fresh", &known, b"").await;
    assert_eq!(empty.refused_field(), (400, "body".to_owned()));
    let newer = server
        .send("PUT", "/v1/plugins/fresh", &known, b"tag newer\nend\n")
        .await;
    assert_eq!(newer.status, 204, "{newer:?}");
    for method in ["GET", "PUT", "DELETE"] {
        let answer = server.send(method, "/v1/plugins/..%2fx", "", b"x").await;
        assert_eq!(
            answer.refused_field(),
            (400, "plugin".to_owned()),
            "{method}"
        );
    }
    assert!(server.serving.status().errors.is_empty());
    server.end().await;
}

#[tokio::test]
async fn settings_of_a_plugin_are_checked_with_it() {
    let server = start().await;
    let path = "/v1/plugins/bytes/settings";
    assert_eq!(
        server.get(path).await.refused_field(),
        (404, "plugin".to_owned())
    );
    let made = server.send("PUT", path, "", b"level = 1\n").await;
    assert_eq!(made.status, 201, "{made:?}");
    let read = server.get(path).await;
    assert_eq!(
        (&*read.body, read.field("content-type")),
        ("level = 1\n", Some("application/toml"))
    );
    let answer = server
        .send("PUT", path, &if_match(&read), b"broken = 1\n")
        .await;
    assert_eq!(answer.refused_field(), (422, "broken".to_owned()));
    assert_eq!(server.get(path).await.body, "level = 1\n");
    // They may come before their component.
    let early = server
        .send("PUT", "/v1/plugins/later/settings", "", b"level = 2\n")
        .await;
    assert_eq!(early.status, 201, "{early:?}");
    let wrong = server
        .send("PUT", "/v1/plugins/other/settings", "", b"level = = 2\n")
        .await;
    assert_eq!(wrong.refused_field(), (422, "body".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn what_routes_need_is_neither_deleted_nor_changed_into_something_else() {
    let server = start().await;
    let answer = server.send("DELETE", "/v1/plugins/bytes", "", b"").await;
    assert_eq!(answer.refused_field(), (409, "plugin".to_owned()));
    assert!(answer.body.contains("picture"), "{answer:?}");
    let other = server
        .send(
            "PUT",
            "/v1/plugins/bytes",
            "If-Match: *\r\n",
            b"stages router\nend\n",
        )
        .await;
    assert_eq!(other.refused_field(), (409, "plugin".to_owned()));
    assert_eq!(
        server
            .send("DELETE", "/v1/routes/picture", "", b"")
            .await
            .status,
        204
    );
    assert_eq!(
        server
            .send("DELETE", "/v1/plugins/bytes", "", b"")
            .await
            .status,
        204
    );
    assert!(!server.site.path().join("plugins/bytes.wasm").exists());
    assert_eq!(
        server.get("/v1/plugins/bytes").await.refused_field(),
        (404, "plugin".to_owned())
    );
    assert!(server.serving.status().errors.is_empty());
    server.end().await;
}

#[tokio::test]
async fn a_route_is_read_and_sent_back_as_it_is() {
    let server = start().await;
    let read = server.get("/v1/routes/picture").await;
    let document = read.json();
    assert_eq!(
        document,
        json!({"model": "echo", "pre": ["bytes"], "post": ["bytes"]})
    );
    let same = server
        .write("PUT", "/v1/routes/picture", &if_match(&read), &document)
        .await;
    assert_eq!((same.status, same.json()), (200, document));
    assert_eq!(same.field("etag"), read.field("etag"));
    let made = server
        .write(
            "PUT",
            "/v1/routes/alias",
            "",
            &json!({"model": "echo", "timeout_ms": 500}),
        )
        .await;
    assert_eq!(
        (made.status, made.field("location")),
        (201, Some("/v1/routes/alias"))
    );
    assert_eq!(server.post("/v1/infer/alias", super::ROW).await.status, 200);
    for (document, field) in [
        (json!({"model": "none"}), "model"),
        (json!({"model": "echo", "pre": ["none"]}), "pre[0]"),
        (json!({"model": "echo", "timeout_ms": 0}), "timeout_ms"),
        (json!({"model": "../echo"}), "model"),
        (json!({}), "model"),
    ] {
        let answer = server.write("PUT", "/v1/routes/other", "", &document).await;
        assert_eq!(
            answer.refused_field(),
            (422, field.to_owned()),
            "{document}"
        );
        assert!(!answer.body.contains(".toml"), "{answer:?}");
    }
    let answer = server
        .write(
            "PUT",
            "/v1/routes/other",
            "",
            &json!({"model": "echo", "surprise": 1}),
        )
        .await;
    assert_eq!(answer.status, 422, "{answer:?}");
    let null = server
        .write("PUT", "/v1/routes/other", "", &json!({"model": null}))
        .await;
    assert_eq!(null.refused_field(), (400, "model".to_owned()));
    assert!(!server.site.path().join("routes/other.toml").exists());
    // The route of a model alone has no file.
    assert_eq!(
        server.get("/v1/routes/echo").await.refused_field(),
        (404, "route".to_owned())
    );
    assert_eq!(
        server
            .send("DELETE", "/v1/routes/alias", "", b"")
            .await
            .status,
        204
    );
    assert_eq!(server.post("/v1/infer/alias", super::ROW).await.status, 404);
    server.end().await;
}
