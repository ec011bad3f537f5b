//! Metadata, configuration, readiness and statistics.

use serde_json::json;

use super::{ROW, start};
use crate::support::http::post;

#[tokio::test]
async fn a_model_says_what_it_takes_and_gives() {
    let server = start().await;
    let metadata = json!({
        "name": "echo", "versions": ["1"], "platform": "fake",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
        "outputs": [{"name": "x_out", "datatype": "FP32", "shape": [-1, 2]}],
    });
    // Beside what management says of the model, all that the protocol has.
    let managed = server.json("/v2/models/echo").await;
    for (member, value) in metadata.as_object().unwrap() {
        assert_eq!(&managed[member], value, "{member}");
    }
    assert_eq!(server.json("/v2/models/echo/versions/1").await, metadata);
    let name = server.json("/v2").await["name"].clone();
    assert_eq!(name, "wharf");
    server.end().await;
}

#[tokio::test]
async fn a_route_with_stages_takes_and_gives_a_body() {
    let server = start().await;
    let body = json!([{"name": "body", "datatype": "BYTES", "shape": [1]}]);
    let metadata = server.json("/v2/models/picture").await;
    assert_eq!((&metadata["inputs"], &metadata["outputs"]), (&body, &body));
    let config = server.json("/v2/models/picture/config").await;
    assert_eq!(config["max_batch_size"], 0);
    assert_eq!(config["input"][0]["data_type"], "TYPE_STRING");
    assert_eq!(config["input"][0]["dims"], json!([1]));
    server.end().await;
}

#[tokio::test]
async fn the_configuration_has_no_batch_dimension_where_rows_are_joined() {
    let server = start().await;
    let config = server.json("/v2/models/labelled/config").await;
    assert_eq!(config["name"], "labelled");
    assert_eq!(config["max_batch_size"], 8);
    assert_eq!(
        config["version_policy"],
        json!({"latest": {"num_versions": 1}})
    );
    assert_eq!(
        config["input"],
        json!([
            {"name": "x", "data_type": "TYPE_FP32", "dims": [3], "optional": false},
            {"name": "mask", "data_type": "TYPE_BOOL", "dims": [3], "optional": true},
        ])
    );
    assert_ne!(config["output"][0]["label_filename"], "");
    assert!(config["dynamic_batching"]["preferred_batch_size"].is_array());
    assert_eq!(config["instance_group"][0]["kind"], "KIND_CPU");
    assert_eq!(config["response_cache"], json!({"enable": false}));
    let config = server.json("/v2/models/echo/versions/1/config").await;
    assert_eq!(config["max_batch_size"], 0);
    assert_eq!(config["input"][0]["dims"], json!([-1, 2]));
    assert!(config.get("dynamic_batching").is_none());
    server.end().await;
}

#[tokio::test]
async fn readiness_is_told_by_status_and_body() {
    let server = start().await;
    for (path, name) in [
        ("/v2/models/echo/ready", "echo"),
        ("/v2/models/echo/versions/1/ready", "echo"),
        ("/v2/models/%65cho/ready", "echo"),
        ("/v2/models/picture/ready", "picture"),
    ] {
        let ready = json!({"name": name, "ready": true});
        assert_eq!(server.json(path).await, ready, "{path}");
    }
    server
        .post("/v2/repository/models/labelled/unload", "")
        .await;
    let answer = server.get("/v2/models/labelled/ready").await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json(), json!({"name": "labelled", "ready": false}));
    assert_eq!(server.get("/v2/models/nobody/ready").await.status, 404);
    let answer = server.get("/v2/models/echo/versions/7/ready").await;
    assert_eq!(answer.refused_field(), (404, "version".to_owned()));
    server.end().await;
}

#[tokio::test]
async fn names_that_are_none_are_refused_before_anything_is_made_of_them() {
    let server = start().await;
    let long = "x".repeat(300);
    for name in ["..", "%2e%2e", "..%2f..%2fetc", "a%00b", "%20", "-x", &long] {
        for rest in ["", "/config", "/stats", "/ready", "/trace/setting"] {
            let answer = server.get(&format!("/v2/models/{name}{rest}")).await;
            assert_eq!(
                answer.refused_field(),
                (400, "model".to_owned()),
                "{name}{rest}"
            );
        }
        for action in ["load", "unload"] {
            let path = format!("/v2/repository/models/{name}/{action}");
            let answer = server.post(&path, "").await;
            assert_eq!(answer.refused_field(), (400, "model".to_owned()), "{path}");
        }
    }
    let answer = server.get("/v2/models/%ff/config").await;
    assert_eq!(answer.refused_field(), (400, "path".to_owned()));
    for (version, status) in [
        ("0", 404),
        ("x", 404),
        ("99999999999999999999999", 404),
        ("-1", 400),
        ("..", 400),
        ("1%2f..", 400),
    ] {
        let path = format!("/v2/models/echo/versions/{version}");
        let answer = server.get(&path).await;
        assert_eq!(
            answer.refused_field(),
            (status, "version".to_owned()),
            "{path}"
        );
    }
    server.end().await;
}

#[tokio::test]
async fn statistics_count_what_was_asked() {
    let server = start().await;
    for _ in 0..3 {
        assert_eq!(post(server.address, "echo", ROW).await.status, 200);
    }
    let stats = server.json("/v2/models/echo/stats").await;
    let [model] = stats["model_stats"].as_array().unwrap().as_slice() else {
        panic!("one version has statistics: {stats}");
    };
    assert_eq!(
        (&model["name"], &model["version"]),
        (&json!("echo"), &json!("1"))
    );
    assert_eq!(model["inference_count"], 3);
    assert_eq!(model["execution_count"], 3);
    assert_eq!(model["inference_stats"]["success"]["count"], 3);
    assert!(model["inference_stats"]["success"]["ns"].as_u64().unwrap() > 0);
    assert!(model["last_inference"].as_u64().unwrap() > 0);
    for counter in [
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    ] {
        let counter = &model["inference_stats"][counter];
        assert!(
            counter["count"].is_u64() && counter["ns"].is_u64(),
            "{model}"
        );
    }
    let all = server.json("/v2/models/stats").await;
    let names: Vec<_> = all["model_stats"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| &model["name"])
        .collect();
    assert!(
        names.contains(&&json!("labelled")) && names.contains(&&json!("picture")),
        "{names:?}"
    );
    let answer = server.get("/v2/models/nobody/stats").await;
    assert_eq!(answer.refused_field(), (404, "model".to_owned()));
    server.end().await;
}
