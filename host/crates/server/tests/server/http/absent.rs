//! What the site has, and what does not serve all the same.

use serde_json::json;
use wharf_testkit::{Site, eventually};

use super::{ECHO, config, start_with};
use crate::support::grpc::floats;
use crate::support::http::{get, infer, post};

const OIP_ROW: &str =
    r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#;

#[tokio::test]
async fn what_could_not_be_loaded_may_be_asked_for_again() {
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.model("failed", 1, "broken");
    site.route("by-failed", "model = \"failed\"\n");
    site.put("routes/unread.toml", "model = 7\n");
    site.upstream("far", "absent");
    site.route("by-far", "upstream = \"far\"\n");
    let server = start_with(config(), site).await;
    for (name, reason) in [
        ("failed", "version 1: broken by script"),
        ("by-failed", "model: no model failed is in force"),
        ("unread", "model"),
        ("far", "nobody answers, by script"),
        ("by-far", "upstream far is not in force: nobody answers"),
    ] {
        let answer = post(server.address, name, r#"{"input": [1, 2]}"#).await;
        assert_eq!(answer.refused_field(), (503, "route".to_owned()), "{name}");
        assert_eq!(answer.field("retry-after"), Some("1"));
        let detail = answer.json()["detail"].to_string();
        let said = format!("route {name} does not serve now: ");
        assert!(
            detail.contains(&said) && detail.contains(reason),
            "{detail}"
        );
        assert!(!detail.contains(".toml"), "{detail}");

        let answer = infer(server.address, &format!("{name}/infer"), "", OIP_ROW).await;
        assert_eq!(answer.refused_field(), (503, "model".to_owned()), "{name}");
        let path = format!("/v2/models/{name}");
        assert_eq!(server.get(&path).await.status, 503, "{name}");
        // Triton's clients know 'not ready' as 400.
        let answer = server.get(&format!("{path}/ready")).await;
        assert_eq!(
            (answer.status, answer.json()),
            (400, json!({"name": name, "ready": false}))
        );
        let call = server
            .client()
            .await
            .model_infer(floats(name, &[1.0, 2.0]))
            .await;
        assert_eq!(call.unwrap_err().code(), tonic::Code::Unavailable, "{name}");
    }
    assert_eq!(post(server.address, "none", "{}").await.status, 404);

    // It serves as soon as it can, and is not there once it is taken away.
    server.site.model("failed", 1, ECHO);
    get(server.admin, "POST", "/admin/reload").await;
    for name in ["failed", "by-failed"] {
        let answer = post(server.address, name, r#"{"input": [1, 2]}"#).await;
        assert_eq!(answer.status, 200, "{name}");
    }
    server
        .post("/v2/repository/models/failed/unload", "{}")
        .await;
    for name in ["failed", "by-failed"] {
        let answer = post(server.address, name, "{}").await;
        assert_eq!(answer.status, 404, "{name}: {answer:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_being_loaded_may_be_asked_for_again() {
    let site = Site::new();
    site.model("echo", 1, ECHO);
    let server = start_with(config(), site).await;
    server
        .site
        .model("new", 1, &format!("{ECHO}\nload-gate load"));
    let admin = server.admin;
    let reload = tokio::spawn(async move { get(admin, "POST", "/admin/reload").await });
    server.gates.get("load").arrived(1).await;
    let answer = post(server.address, "new", r#"{"input": [1, 2]}"#).await;
    assert_eq!(answer.refused_field(), (503, "route".to_owned()));
    assert!(answer.body.contains("it is being loaded"), "{answer:?}");
    server.gates.get("load").open();
    reload.await.unwrap();
    let there = || server.serving.snapshot().route("new").is_some();
    eventually("it is in force", there).await;
    server.end().await;
}
