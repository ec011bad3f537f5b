//! What is another tenant's does not exist.

use serde_json::Value;
use tonic::Code;

use super::{OIP_ROW, ROW, start};
use crate::support::Running;

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
