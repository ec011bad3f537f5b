//! The index of the repository, loads and unloads.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{ROW, start};
use crate::support::Running;
use crate::support::http::{Answer, post};

async fn load(server: &Running, model: &str, parameters: &Value) -> Answer {
    let path = format!("/v2/repository/models/{model}/load");
    server
        .post(&path, json!({"parameters": parameters}).to_string())
        .await
}

async fn index(server: &Running, body: &str) -> Vec<Value> {
    let answer = server.post("/v2/repository/index", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json().as_array().unwrap().clone()
}

fn state(index: &[Value], name: &str) -> Option<String> {
    let entry = index.iter().find(|entry| entry["name"] == name)?;
    Some(entry["state"].as_str()?.to_owned())
}

/// A script of the fake engine as a file of a load.
fn script(lines: &str) -> String {
    STANDARD.encode(format!("{lines}\nend\n"))
}

#[tokio::test]
async fn models_come_and_go() {
    let server = start().await;
    assert_eq!(
        state(&index(&server, "").await, "labelled").as_deref(),
        Some("READY")
    );
    let answer = server
        .post("/v2/repository/models/labelled/unload", "")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    assert_eq!(
        state(&index(&server, "{}").await, "labelled").as_deref(),
        Some("UNAVAILABLE")
    );
    assert_eq!(
        state(&index(&server, r#"{"ready": true}"#).await, "labelled"),
        None
    );
    let answer = load(&server, "labelled", &json!({})).await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, ""),
        "{answer:?}"
    );
    assert_eq!(
        state(&index(&server, r#"{"ready": true}"#).await, "labelled").as_deref(),
        Some("READY")
    );
    assert_eq!(load(&server, "nobody", &json!({})).await.status, 404);
    assert_eq!(
        server
            .post("/v2/repository/models/nobody/unload", "")
            .await
            .status,
        404
    );
    server.end().await;
}

#[tokio::test]
async fn a_configuration_lands_in_the_site() {
    let server = start().await;
    let config = json!({"name": "echo", "max_batch_size": 4, "backend": "fake",
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [2]}]});
    let answer = load(&server, "echo", &json!({"config": config.to_string()})).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let file = server.site.path().join("models/echo/model.toml");
    let settings = std::fs::read_to_string(&file).unwrap();
    assert!(settings.contains("max_rows = 4"), "{settings}");
    // What is not so changes nothing.
    for (config, field) in [
        (
            json!({"max_batch_size": 9, "input": [{"name": "z"}]}),
            "input[0].name",
        ),
        (
            json!({"max_batch_size": 9, "input": [{"name": "x", "data_type": "TYPE_INT8"}]}),
            "input[0].data_type",
        ),
        (
            json!({"max_batch_size": 9, "output": [{"name": "x_out", "dims": [3]}]}),
            "output[0].dims",
        ),
        (
            json!({"max_batch_size": 9, "platform": "tensorrt_plan"}),
            "platform",
        ),
        (json!({"max_batch_size": 9, "nonsense": 1}), "nonsense"),
    ] {
        let answer = load(&server, "echo", &json!({"config": config.to_string()})).await;
        let field = format!("parameters.config.{field}");
        assert_eq!(answer.refused_field(), (400, field), "{answer:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), settings);
    }
    server.end().await;
}

#[tokio::test]
async fn files_land_in_the_site_and_exactly_they_serve() {
    let server = start().await;
    let lines = "input x FP32 * 2\noutput sum FP32 * 2";
    let answer = load(
        &server,
        "added",
        &json!({"file:3/model.onnx": script(lines)}),
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(post(server.address, "added", ROW).await.status, 200);
    let metadata = server.json("/v2/models/added").await;
    assert_eq!(metadata["versions"], json!(["3"]));
    assert_eq!(metadata["outputs"][0]["name"], "sum");
    let settings = server.site.path().join("models/added/model.toml");
    let settings = std::fs::read_to_string(settings).unwrap();
    assert!(
        settings.contains("policy = \"listed\"") && settings.contains("list = [3]"),
        "{settings}"
    );
    server.end().await;
}

#[tokio::test]
async fn files_that_cannot_be_leave_everything_as_it_was() {
    let server = start().await;
    for (key, value) in [
        ("file:../model.onnx", json!("AA==")),
        ("file:1/../../x", json!("AA==")),
        ("file:1/%2e%2e/x\u{0}", json!("AA==")),
        ("file:x/model.onnx", json!("AA==")),
        ("file:0/model.onnx", json!("AA==")),
        ("file:1/model.onnx", json!("not base64")),
        ("file:1/model.onnx", json!("AA")),
        ("file:1/model.onnx", json!(7)),
        ("file:1/model.onnx", json!({"a": [1]})),
        ("made_up", json!("x")),
        ("config", json!({"name": "echo"})),
    ] {
        let answer = load(&server, "echo", &json!({key: value})).await;
        let field = format!("parameters.{key}");
        assert_eq!(answer.refused_field(), (400, field), "{answer:?}");
    }
    let answer = load(
        &server,
        "echo",
        &json!({"file:1/model.onnx": script("broken")}),
    )
    .await;
    assert_eq!(answer.status, 422, "{answer:?}");
    server.end().await;
}

#[tokio::test]
async fn bodies_that_are_none_are_refused() {
    let server = start().await;
    let many: serde_json::Map<_, _> = (0..1100)
        .map(|number| (format!("file:{}/m", number + 1), json!("")))
        .collect();
    let deep = "[".repeat(10_000);
    let long = format!(r#"{{"ready": true, "x": "{}"}}"#, "x".repeat(300_000));
    for (path, body, status) in [
        ("/v2/repository/models/echo/load", "{".to_owned(), 400),
        ("/v2/repository/models/echo/load", deep.clone(), 400),
        (
            "/v2/repository/models/echo/load",
            format!(r#"{{"parameters": {{"config": {deep}"#),
            400,
        ),
        (
            "/v2/repository/models/echo/load",
            r#"{"parameters": []}"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/models/echo/load",
            json!({"parameters": many}).to_string(),
            400,
        ),
        (
            "/v2/repository/models/echo/load",
            r#"{"parameters": {"config": "{"}}"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/models/echo/unload",
            r#"{"parameters": {"x": 1}}"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/models/echo/unload",
            r#"{"parameters": {"unload_dependents": 1}}"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/index",
            r#"{"ready": "yes"}"#.to_owned(),
            400,
        ),
        // The elements of an array are no members.
        ("/v2/repository/index", "[true]".to_owned(), 400),
        (
            "/v2/repository/models/echo/unload",
            r#"{"parameters": [true]}"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/models/echo/unload",
            r#"[{"unload_dependents": true}]"#.to_owned(),
            400,
        ),
        (
            "/v2/repository/models/echo/load",
            r#"[{"config": "{}"}]"#.to_owned(),
            400,
        ),
        ("/v2/repository/index", long, 413),
        (
            "/v2/repository/models/echo/load",
            "x".repeat((1 << 20) + 1),
            413,
        ),
    ] {
        let answer = server.post(path, &body).await;
        assert_eq!(answer.status, status, "{path} {:.60} {answer:?}", body);
    }
    server.end().await;
}

#[tokio::test]
async fn a_refusal_repeats_little_and_names_nothing_of_the_server() {
    let server = start().await;
    let long = "x".repeat(100_000);
    for body in [
        json!({ long.clone(): 1 }),
        json!({"parameters": {long.clone(): 1}}),
        json!({"parameters": {format!("file:{long}"): ""}}),
        json!({"parameters": {format!("file:1/{long}"): ""}}),
        json!("text"),
    ] {
        let path = "/v2/repository/models/echo/load";
        let answer = server.post(path, body.to_string()).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        assert!(answer.body.len() < 2000, "{} bytes", answer.body.len());
        assert!(!answer.body.contains("struct"), "{answer:?}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_route_goes_with_its_file_and_its_models_when_asked() {
    let server = start().await;
    let path = "/v2/repository/models/picture/unload";
    let answer = server.post(path, "").await;
    assert_eq!(answer.refused_field(), (400, "model".to_owned()));
    assert!(answer.json()["detail"].as_str().unwrap().contains("echo"));
    let answer = server
        .post(path, r#"{"parameters": {"unload_dependents": true}}"#)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        state(&index(&server, "").await, "echo").as_deref(),
        Some("UNAVAILABLE")
    );
    assert_eq!(load(&server, "echo", &json!({})).await.status, 200);
    server.end().await;
}
