//! Who may do what, and how much: on a fake of the gateway that knows each caller by a key.

mod quotas;
mod tenants;

use std::sync::Arc;

use tonic::Code;
use tonic::metadata::MetadataValue;
use wharf_testkit::{FakeGatekeeper, Site};

use crate::support::http::Answer;
use crate::support::{Running, Setup, grpc, local};

const ROW: &str = r#"{"input": [1, 2]}"#;
const OIP_ROW: &str =
    r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#;
const ECHO: &str = "input x FP32 * 2\noutput x_out FP32 * 2";

/// A server with models that are everybody's (`echo`), one tenant's (`own`, with a route `path` to it) and another's (`other`).
/// Its callers are an operator and tenants with more and fewer scopes.
fn setup() -> (Setup, Arc<FakeGatekeeper>) {
    let site = Site::new();
    for (model, settings) in [
        ("echo", ""),
        ("own", "tenants = [\"acme\"]"),
        ("other", "tenants = [\"rival\"]"),
    ] {
        site.put(&format!("models/{model}/model.toml"), settings);
        site.model(model, 1, ECHO);
    }
    site.route("path", "model = \"own\"\ntenants = [\"acme\"]\n");
    let gatekeeper = FakeGatekeeper::default()
        .with("operator", None, &["*"])
        .with(
            "ada",
            Some("acme"),
            &["infer", "models:read", "models:write"],
        )
        .with("bob", Some("acme"), &["infer:own"])
        .with(
            "eve",
            Some("rival"),
            &["infer", "models:read", "models:write"],
        )
        .with("few", Some("acme"), &["infer"])
        .limited("few", 2);
    let gatekeeper = Arc::new(gatekeeper);
    let mut setup = Setup::new(local(), site);
    setup.gatekeeper = Some(gatekeeper.clone());
    (setup, gatekeeper)
}

async fn start() -> Running {
    setup().0.start().await
}

impl Running {
    async fn by(&self, key: &str, method: &str, path: &str, body: &str) -> Answer {
        let fields = format!("X-API-Key: {key}\r\nContent-Type: application/json\r\n");
        self.send(method, path, &fields, body.as_bytes()).await
    }

    /// What a call of gRPC comes to.
    async fn calls(&self, key: &str, model: &str) -> Result<(), tonic::Status> {
        let mut request = tonic::Request::new(grpc::floats(model, &[1.0, 2.0]));
        let key: MetadataValue<_> = key.parse().unwrap();
        request.metadata_mut().insert("x-api-key", key);
        self.client().await.model_infer(request).await.map(drop)
    }

    async fn stop(self) {
        self.idle().await;
        self.shutdown.cancel();
        self.serve.await.unwrap();
    }
}

#[tokio::test]
async fn whoever_does_not_say_who_they_are_learns_only_that_a_server_is_here() {
    let server = start().await;
    for path in [
        "/",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/docs/",
        "/openapi.json",
    ] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    for (method, path) in [
        ("POST", "/v1/infer/echo"),
        ("POST", "/v1/infer/nothing"),
        ("POST", "/v2/models/echo/infer"),
        ("POST", "/v2/models/echo/versions/1/infer"),
        ("GET", "/v1/infer/echo"),
        ("GET", "/v1/routes"),
        ("GET", "/v1/models"),
        ("GET", "/v1/plugins"),
        ("GET", "/v2/models/echo"),
        ("GET", "/v2/models/echo/ready"),
        ("GET", "/v2/models/stats"),
        ("POST", "/v2/repository/index"),
        ("POST", "/v2/repository/models/echo/load"),
        ("GET", "/v2/logging"),
        ("GET", "/v2/systemsharedmemory/status"),
        ("GET", "/nothing"),
    ] {
        for key in ["", "X-API-Key: mallory\r\n"] {
            let answer = server.send(method, path, key, b"").await;
            assert_eq!(
                answer.refused_field(),
                (401, "authorization".to_owned()),
                "{path}"
            );
            assert_eq!(answer.field("www-authenticate"), Some("bearer"), "{path}");
        }
    }
    let status = server.calls("mallory", "echo").await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let mut client = server.client().await;
    assert!(
        client
            .server_live(wharf_server::inference::ServerLiveRequest {})
            .await
            .is_ok()
    );
    let asked = wharf_server::inference::RepositoryIndexRequest::default();
    let status = client.repository_index(asked).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    server.stop().await;
}

#[tokio::test]
async fn a_scope_is_for_what_it_names() {
    let server = start().await;
    assert_eq!(
        server.by("bob", "POST", "/v1/infer/own", ROW).await.status,
        200
    );
    assert_eq!(
        server
            .by("bob", "POST", "/v2/models/own/infer", OIP_ROW)
            .await
            .status,
        200
    );
    assert_eq!(
        server.by("bob", "GET", "/v2/models/own", "").await.status,
        200
    );
    assert!(server.calls("bob", "own").await.is_ok());
    for (method, path, body) in [
        ("POST", "/v1/infer/echo", ROW),
        ("POST", "/v2/models/echo/infer", OIP_ROW),
        ("GET", "/v2/models/echo", ""),
        ("GET", "/v2/models/echo/config", ""),
        ("POST", "/v2/repository/models/own/load", "{}"),
        ("POST", "/v2/repository/models/own/unload", "{}"),
        ("GET", "/v2/logging", ""),
        ("POST", "/v2/logging", r#"{"log_info": false}"#),
        ("GET", "/v2/systemsharedmemory/status", ""),
        ("POST", "/v2/systemsharedmemory/unregister", ""),
    ] {
        let answer = server.by("bob", method, path, body).await;
        assert_eq!(
            answer.refused_field(),
            (403, "authorization".to_owned()),
            "{path}"
        );
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.starts_with("needs the scope "), "{detail}");
    }
    let status = server.calls("bob", "echo").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("infer:echo"), "{status:?}");

    // Lists show what may be seen, and say nothing of the rest.
    let names = |document: &serde_json::Value, list: &str| -> Vec<String> {
        let list = document[list].as_array().unwrap().iter();
        list.map(|one| one["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let models = server.by("bob", "GET", "/v1/models", "").await.json();
    assert_eq!(names(&models, "models"), ["own"]);
    let routes = server.by("bob", "GET", "/v1/routes", "").await.json();
    assert_eq!(names(&routes, "routes"), ["own"]);
    let stats = server.by("bob", "GET", "/v2/models/stats", "").await.json();
    assert_eq!(names(&stats, "model_stats"), ["own"]);
    server.stop().await;
}

#[tokio::test]
async fn the_description_of_the_api_has_the_routes_that_a_client_may_see() {
    let server = start().await;
    let routes = async |key: &str| -> Vec<String> {
        let document = server.by(key, "GET", "/openapi.json", "").await.json();
        let paths = document["paths"].as_object().unwrap().keys();
        let routes = paths.filter_map(|path| path.strip_prefix("/v1/infer/"));
        let mut routes: Vec<String> = routes.map(str::to_owned).collect();
        routes.sort_unstable();
        routes
    };
    assert_eq!(routes("mallory").await, ["{route}"]);
    assert_eq!(routes("bob").await, ["own", "{route}"]);
    assert_eq!(routes("eve").await, ["echo", "other", "{route}"]);
    assert_eq!(
        routes("operator").await,
        ["echo", "other", "own", "path", "{route}"]
    );
    server.stop().await;
}

#[tokio::test]
async fn an_operator_does_everything() {
    let server = start().await;
    for model in ["echo", "own", "other", "path"] {
        let path = format!("/v1/infer/{model}");
        assert_eq!(
            server.by("operator", "POST", &path, ROW).await.status,
            200,
            "{model}"
        );
    }
    let models = server.by("operator", "GET", "/v1/models", "").await.json();
    assert_eq!(models["models"].as_array().unwrap().len(), 3);
    for (path, body) in [
        ("/v2/repository/models/other/load", "{}"),
        ("/v2/logging", "{}"),
        ("/v2/systemsharedmemory/unregister", ""),
    ] {
        let answer = server.by("operator", "POST", path, body).await;
        assert_ne!(answer.status, 403, "{path}: {answer:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn without_management_no_scope_lets_a_client_change_the_server() {
    let (mut setup, _) = setup();
    setup.config.management = Some(false);
    let server = setup.start().await;
    let path = "/v2/repository/models/echo/load";
    let answer = server.by("operator", "POST", path, "{}").await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("server.management"), "{answer:?}");
    server.stop().await;
}
