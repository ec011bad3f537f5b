//! What is another tenant's does not exist.

use serde_json::{Value, json};
use tonic::Code;

use wharf_testkit::eventually;

use super::{OIP_ROW, ROW, start};
use crate::support::Running;
use crate::support::http::Client;

const DOCUMENT: &str = r#"{"description": "prices"}"#;

/// The answer without what differs between any two.
async fn refusal(server: &Running, method: &str, path: &str, body: &str) -> (u16, Value) {
    let answer = server.by("eve", method, path, body).await;
    let mut problem = answer.problem();
    problem["request_id"].take();
    (answer.status, problem)
}

#[tokio::test]
async fn another_tenants_model_is_as_if_it_were_not_there() {
    let server = start().await;
    for path in ["/v1/infer/own", "/v1/infer/path", "/v1/infer/echo"] {
        assert_eq!(
            server.by("ada", "POST", path, ROW).await.status,
            200,
            "{path}"
        );
    }
    for (method, path, body) in [
        ("POST", "/v1/infer/NAME", ROW),
        ("POST", "/v2/models/NAME/infer", OIP_ROW),
        ("POST", "/v2/models/NAME/versions/1/infer", OIP_ROW),
        ("POST", "/v2/models/NAME/versions/7/infer", OIP_ROW),
        ("GET", "/v2/models/NAME", ""),
        ("GET", "/v2/models/NAME/versions/1", ""),
        ("GET", "/v2/models/NAME/versions/7", ""),
        ("GET", "/v2/models/NAME/ready", ""),
        ("GET", "/v2/models/NAME/config", ""),
        ("GET", "/v2/models/NAME/stats", ""),
        ("POST", "/v2/repository/models/NAME/unload", "{}"),
    ] {
        for name in ["own", "path"] {
            let (status, theirs) =
                refusal(&server, method, &path.replace("NAME", name), body).await;
            let none = refusal(&server, method, &path.replace("NAME", "none"), body).await;
            let none = none.1.to_string().replace("none", name);
            assert_eq!((status, theirs.to_string()), (404, none), "{path}");
        }
    }
    for name in ["own", "path"] {
        let status = server.calls("eve", name).await.unwrap_err();
        let none = server.calls("eve", "none").await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.message(), none.message().replace("none", name));
    }
    server.stop().await;
}

#[tokio::test]
async fn only_its_tenant_learns_that_a_model_could_not_be_loaded() {
    let (setup, _) = super::setup();
    let settings = "tenants = [\"acme\"]";
    setup.site.put("models/failed/model.toml", settings);
    setup.site.model("failed", 1, "broken");
    setup
        .site
        .route("by-failed", &format!("model = \"failed\"\n{settings}\n"));
    let server = setup.start().await;
    for name in ["failed", "by-failed"] {
        for (path, body) in [
            (format!("/v1/infer/{name}"), ROW),
            (format!("/v2/models/{name}/infer"), OIP_ROW),
        ] {
            // Who may not ask it is told so, as where it serves.
            for (key, status) in [("operator", 503), ("ada", 503), ("bob", 403), ("eve", 404)] {
                let answer = server.by(key, "POST", &path, body).await;
                assert_eq!(answer.status, status, "{path} by {key}: {answer:?}");
            }
        }
        let ready = format!("/v2/models/{name}/ready");
        for (key, status) in [("ada", 400), ("eve", 404)] {
            let answer = server.by(key, "GET", &ready, "").await;
            assert_eq!(answer.status, status, "{ready} by {key}");
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn lists_leave_out_what_is_another_tenants() {
    let server = start().await;
    for (method, path) in [
        ("GET", "/v1/models"),
        ("GET", "/v1/routes"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
    ] {
        let answer = server.by("eve", method, path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        let text = answer.body;
        assert!(
            text.contains("\"other\"") && text.contains("\"echo\""),
            "{path}: {text}"
        );
        assert!(
            !text.contains("\"own\"") && !text.contains("\"path\""),
            "{path}: {text}"
        );
    }
    server.stop().await;
}

/// A model whose settings cannot be read may be anybody's, so it is the operator's.
#[tokio::test]
async fn what_cannot_be_read_is_the_operators() {
    let (setup, _) = super::setup();
    setup.site.put("routes/broken.toml", "tenants = 7\n");
    let server = setup.start().await;
    let path = "/v2/repository/index";
    assert!(
        server
            .by("operator", "POST", path, "")
            .await
            .body
            .contains("\"broken\"")
    );
    assert!(
        !server
            .by("ada", "POST", path, "")
            .await
            .body
            .contains("\"broken\"")
    );
    server.stop().await;
}

#[tokio::test]
async fn a_tenant_changes_its_own_models_alone() {
    let server = start().await;
    let load = |name: &str| format!("/v2/repository/models/{name}/load");
    assert_eq!(
        server.by("ada", "POST", &load("own"), "{}").await.status,
        200
    );
    let shared = server.by("ada", "POST", &load("echo"), "{}").await;
    assert_eq!(shared.refused_field(), (403, "model".to_owned()));
    assert_eq!(
        server.by("eve", "POST", &load("own"), "{}").await.status,
        404
    );

    // What a tenant brings is its own.
    let model = "input x FP32 * 2\noutput x_out FP32 * 2\nend\n";
    let file = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, model);
    let body = format!(r#"{{"parameters": {{"file:1/model.onnx": "{file}"}}}}"#);
    let loaded = server.by("ada", "POST", &load("brought"), &body).await;
    let settings = server.site.path().join("models/brought/model.toml");
    let settings = std::fs::read_to_string(settings).unwrap_or_default();
    assert_eq!(loaded.status, 200, "{loaded:?}");
    assert!(settings.contains("tenants = [\"acme\"]"), "{settings}");
    server.stop().await;
}

/// A change whose client takes its time is decided when it is made.
#[tokio::test]
async fn a_model_that_became_anothers_meanwhile_is_not_changed() {
    let server = start().await;
    let mut slow = Client::connect(server.address).await;
    let head = format!(
        "PUT /v1/models/prices HTTP/1.1\r\nHost: localhost\r\nX-API-Key: eve\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\nExpect: 100-continue\r\n\r\n",
        DOCUMENT.len()
    );
    slow.send(head).await;
    // Whoever is told to go on may do what they ask for, so far.
    slow.until("100 Continue").await;
    let registered = server.by("ada", "PUT", "/v1/models/prices", DOCUMENT).await;
    assert_eq!(registered.status, 201, "{registered:?}");
    slow.send(DOCUMENT).await;
    let answer = slow.answer().await;
    assert_eq!(answer.refused_field(), (404, "model".to_owned()));
    let settings = server.site.path().join("models/prices/model.toml");
    let settings = std::fs::read_to_string(settings).unwrap();
    assert!(settings.contains("tenants = [\"acme\"]"), "{settings}");
    server.stop().await;
}

/// The folder is the one truth, whether anybody looked at it or not.
#[tokio::test]
async fn what_the_operator_just_put_there_is_nobody_elses() {
    let server = start().await;
    server
        .site
        .put("models/late/model.toml", "tenants = ['acme']\n");
    server
        .site
        .put("routes/late.toml", "model = 'own'\ntenants = ['acme']\n");
    for (method, path) in [
        ("GET", "/v1/models/late"),
        ("DELETE", "/v1/models/late"),
        ("PUT", "/v1/models/late"),
        ("GET", "/v1/routes/late"),
    ] {
        let body = if method == "PUT" { DOCUMENT } else { "" };
        let answer = server.by("eve", method, path, body).await;
        assert_eq!(answer.refused_field().0, 404, "{method} {path}: {answer:?}");
    }
    assert_eq!(
        server.by("ada", "GET", "/v1/models/late", "").await.status,
        200
    );
    server.stop().await;
}

#[tokio::test]
async fn artifacts_are_there_for_the_tenant_of_their_model() {
    let (mut setup, _) = super::setup();
    setup.artifacts = Some(wharf_testkit::FakeArtifacts::default());
    // One that nobody looked at yet is no other's either.
    let server = setup.start().await;
    server
        .site
        .put("models/late/model.toml", "tenants = ['acme']\n");
    let begin = r#"{"version": 1, "file": "classes.txt", "kind": "labels", "size": 4,
        "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}"#;
    for model in ["own", "late"] {
        let artifacts = format!("/v1/models/{model}/artifacts");
        let begun = server.by("ada", "POST", &artifacts, begin).await;
        assert_eq!(begun.status, 201, "{begun:?}");
        let upload = begun.field("location").unwrap().to_owned();
        let file = format!("{artifacts}/1/classes.txt");
        for (method, path, body) in [
            ("GET", &artifacts, ""),
            ("POST", &artifacts, begin),
            ("GET", &format!("{artifacts}/uploads"), ""),
            ("GET", &upload, ""),
            ("PATCH", &upload, "test"),
            ("DELETE", &upload, ""),
            ("GET", &file, ""),
            ("PUT", &format!("{file}?kind=labels"), "evil"),
            ("DELETE", &file, ""),
        ] {
            let answer = server.by("eve", method, path, body).await;
            assert_eq!(
                answer.refused_field(),
                (404, "model".to_owned()),
                "{method} {path}"
            );
        }
        assert_eq!(server.by("ada", "GET", &upload, "").await.status, 200);
    }
    server.stop().await;
}

#[tokio::test]
async fn operations_are_seen_by_the_tenant_that_asked_for_them() {
    let server = start().await;
    let model = "input x FP32 * 2\noutput x_out FP32 * 2\nend\n";
    let file = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, model);
    let body = format!(r#"{{"parameters": {{"file:1/model.onnx": "{file}"}}}}"#);
    let load = "/v2/repository/models/brief/load";
    assert_eq!(server.by("ada", "POST", load, &body).await.status, 200);
    let promote = "/v1/models/brief/versions/1/promote";
    let promoted = server.by("ada", "POST", promote, "{}").await;
    assert_eq!(promoted.status, 202, "{promoted:?}");
    let operation = promoted.field("location").unwrap().to_owned();
    let waited = "X-API-Key: ada\r\nPrefer: wait=20\r\n";
    let done = server.send("GET", &operation, waited, b"").await;
    assert_eq!(done.json()["state"], "succeeded", "{done:?}");
    let removed = server.by("ada", "DELETE", "/v1/models/brief", "").await;
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(server.by("ada", "GET", &operation, "").await.status, 200);
    let theirs = server.by("eve", "GET", &operation, "").await;
    assert_eq!(theirs.refused_field(), (404, "operation".to_owned()));
    let list = server.by("eve", "GET", "/v1/operations", "").await;
    assert_eq!(list.json(), json!({"operations": []}));
    server.stop().await;
}

#[tokio::test]
async fn what_is_for_all_tenants_is_changed_and_read_by_none_of_them() {
    let (mut setup, _) = super::setup();
    let gatekeeper = wharf_testkit::FakeGatekeeper::default()
        .with("operator", None, &["*"])
        .with("all", Some("acme"), &["*"]);
    setup.gatekeeper = Some(std::sync::Arc::new(gatekeeper));
    setup.site.put("plugins/shift.toml", "[settings]\n");
    let server = setup.start().await;
    let region = "/v2/systemsharedmemory/region/r/register";
    let key = r#"{"key": "/none-of-this-name", "byte_size": 8}"#;
    for (method, path, body) in [
        ("POST", "/v2/logging", r#"{"log_info": true}"#),
        ("POST", "/v2/trace/setting", r#"{"trace_level": ["OFF"]}"#),
        ("POST", region, key),
        ("POST", "/v2/systemsharedmemory/unregister", ""),
        ("PUT", "/v1/routes/mine", r#"{"model": "own"}"#),
        ("DELETE", "/v1/plugins/shift", ""),
        ("GET", "/v1/plugins/shift/settings", ""),
    ] {
        let answer = server.by("all", method, path, body).await;
        assert_eq!(
            answer.refused_field(),
            (403, "authorization".to_owned()),
            "{method} {path}"
        );
        let answer = server.by("operator", method, path, body).await;
        assert_ne!(answer.status, 403, "{method} {path}: {answer:?}");
    }
    server.stop().await;
}

/// A region is shared with whoever knows its name, so that tenants share none.
#[tokio::test]
async fn tenants_share_no_memory() {
    let server = start().await;
    let object = format!("wharf-tenants-{}", std::process::id());
    let place = format!("/dev/shm/{object}");
    std::fs::write(&place, [0; 8]).unwrap();
    let key = json!({"key": format!("/{object}"), "byte_size": 8}).to_string();
    let region = "/v2/systemsharedmemory/region/secret/register";
    let registered = server.by("operator", "POST", region, &key).await;
    assert_eq!(registered.status, 200, "{registered:?}");
    let list = server
        .by("eve", "GET", "/v2/systemsharedmemory/status", "")
        .await;
    assert_eq!(list.json(), json!([]));
    let body = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2],
        "parameters": {"shared_memory_region": "secret", "shared_memory_byte_size": 8}}]}"#;
    let path = "/v2/models/echo/infer";
    let theirs = server.by("eve", "POST", path, body).await;
    assert_eq!(theirs.problem()["status"], 400, "{theirs:?}");
    assert_eq!(server.by("operator", "POST", path, body).await.status, 200);
    std::fs::remove_file(place).unwrap();
    server.stop().await;
}

#[tokio::test]
async fn a_request_with_a_key_is_done_though_its_client_leaves() {
    let server = start().await;
    let body = r#"{"name": "keyed"}"#;
    let fields = "X-API-Key: ada\r\nContent-Type: application/json\r\nIdempotency-Key: once\r\n";
    let mut leaving = Client::connect(server.address).await;
    let length = body.len();
    let request = format!(
        "POST /v1/models HTTP/1.1\r\nHost: localhost\r\n{fields}Content-Length: {length}\r\n\r\n{body}"
    );
    leaving.send(request).await;
    let settings = server.site.path().join("models/keyed");
    eventually("it is begun", || settings.exists()).await;
    drop(leaving);
    let answer = loop {
        let answer = server
            .send("POST", "/v1/models", fields, body.as_bytes())
            .await;
        // Until the first is answered, the key is taken.
        match answer.refused_field() {
            (409, field) if field == "idempotency-key" => tokio::task::yield_now().await,
            _ => break answer,
        }
    };
    assert_eq!(
        (answer.status, answer.field("idempotency-replayed")),
        (201, Some("true")),
        "{answer:?}"
    );
    server.stop().await;
}
