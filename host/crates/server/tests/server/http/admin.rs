//! What the listeners say of the server.

use super::{config, start};
use crate::support::http::get;

#[tokio::test]
async fn health_has_no_body() {
    let server = start(config()).await;
    for path in ["/v2/health/live", "/v2/health/ready"] {
        for method in ["GET", "HEAD"] {
            let answer = get(server.address, method, path).await;
            assert_eq!((answer.status, answer.body.as_str()), (200, ""));
            assert!(answer.field("x-request-id").is_some());
        }
    }
}

#[tokio::test]
async fn the_catalog_lists_what_is_in_force() {
    let server = start(config()).await;
    let routes = get(server.address, "GET", "/v1/routes").await.json();
    let names: Vec<_> = routes["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|route| &route["name"])
        .collect();
    assert_eq!(
        names,
        ["echo", "narrow", "pair", "picture", "slow", "words"]
    );
    let picture = &routes["routes"][3];
    assert_eq!(picture["input"], "body");
    assert_eq!(picture["implicit"], false);
    assert_eq!(picture["pre"][0]["plugin"], "bytes");
    assert_eq!(picture["candidates"][0]["version"], 1);
    let echo = &routes["routes"][0];
    assert_eq!(
        echo["input"]["tensors"][0]["shape"],
        serde_json::json!([-1, 2])
    );
    let models = get(server.address, "GET", "/v1/models").await.json();
    assert_eq!(models["models"][0]["name"], "echo");
    assert_eq!(models["models"][0]["inputs"][0]["datatype"], "FP32");
    let plugins = get(server.address, "GET", "/v1/plugins").await.json();
    assert_eq!(
        plugins["plugins"][0]["stages"],
        serde_json::json!(["preprocess", "postprocess"])
    );
    let index = get(server.address, "GET", "/").await.json();
    assert_eq!(
        (&index["name"], &index["ready"]),
        (&"wharf".into(), &true.into())
    );
}

#[tokio::test]
async fn operators_see_what_is_loaded() {
    let server = start(config()).await;
    let answer = get(server.admin, "GET", "/metrics").await;
    assert_eq!(answer.body, "a_metric 1\n");
    assert!(
        answer
            .field("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4")
    );
    let snapshot = get(server.admin, "GET", "/admin/snapshot").await.json();
    assert_eq!(snapshot["ready"], true);
    assert_eq!(snapshot["plugins"][0]["name"], "bytes");
    let digest = snapshot["models"][0]["digest"].as_str().unwrap();
    assert_eq!((&digest[..7], digest.len()), ("sha256:", 7 + 64));
    assert_eq!(snapshot["errors"], serde_json::json!([]));
}

#[tokio::test]
async fn a_reload_says_what_it_found() {
    let server = start(config()).await;
    let route = server.site.path().join("routes/more.toml");
    std::fs::write(&route, "model = \"echo\"\n").unwrap();
    let report = get(server.admin, "POST", "/admin/reload").await.json();
    assert_eq!(report["errors"], serde_json::json!([]));
    let routes = get(server.address, "GET", "/v1/routes").await;
    assert!(routes.body.contains("\"more\""), "{routes:?}");
    std::fs::write(&route, "model = \"nothing\"\n").unwrap();
    let report = get(server.admin, "POST", "/admin/reload").await.json();
    assert_eq!(report["errors"][0]["file"], "routes/more.toml");
    let snapshot = get(server.admin, "GET", "/admin/snapshot").await.json();
    assert_eq!(snapshot["errors"][0]["file"], "routes/more.toml");
}
