//! Loads whose configuration says of the model what is not so: nothing changes, whatever they bring.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tonic::Code;
use wharf_server::inference::model_repository_parameter::ParameterChoice;
use wharf_server::inference::{ModelRepositoryParameter, RepositoryModelLoadRequest};

use super::{ROW, start};
use crate::support::Running;
use crate::support::http::post;

/// Another model than the one that serves: it gives `total`.
const OTHER: &str = "input x FP32 * 2\noutput total FP32 * 2\nend\n";

/// Every file below a folder.
fn files(folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else {
            found.insert(path.display().to_string(), std::fs::read(&path).unwrap());
        }
    }
}

/// What serves, and what lies in the site.
async fn state(server: &Running) -> (Value, Value, BTreeMap<String, Vec<u8>>) {
    let mut found = BTreeMap::new();
    files(server.site.path(), &mut found);
    assert!(!server.site.path().join(".staging").exists());
    let index = server.post("/v2/repository/index", "").await.json();
    (server.json("/v2/models/echo").await, index, found)
}

/// Configurations that are not true of [`OTHER`], and what is wrong in them.
fn false_claims() -> [(Value, &'static str); 8] {
    [
        (json!({"platform": "tensorrt_plan"}), "platform"),
        (json!({"backend": "python"}), "backend"),
        (json!({"input": [{"name": "z"}]}), "input[0].name"),
        (
            json!({"input": [{"name": "x", "data_type": "TYPE_INT8"}]}),
            "input[0].data_type",
        ),
        (
            json!({"max_batch_size": 9, "input": [{"name": "x", "dims": [3]}]}),
            "input[0].dims",
        ),
        (json!({"output": [{"name": "x_out"}]}), "output[0].name"),
        (
            json!({"output": [{"name": "total", "dims": [-1, 2, 1]}]}),
            "output[0].dims",
        ),
        (
            json!({"model_warmup": [{"name": "w", "inputs": {"y": {"zero_data": true, "dims": [2]}}}]}),
            "model_warmup[0].inputs.y.name",
        ),
    ]
}

#[tokio::test]
async fn a_false_claim_about_new_files_changes_nothing() {
    let server = start().await;
    let before = state(&server).await;
    for version in [1, 2] {
        let file = format!("file:{version}/model.onnx");
        for (config, field) in false_claims() {
            let parameters = json!({"config": config.to_string(), &file: STANDARD.encode(OTHER)});
            let body = json!({"parameters": parameters}).to_string();
            let path = "/v2/repository/models/echo/load";
            let answer = server.post(path, body).await;
            let field = format!("parameters.config.{field}");
            assert_eq!(answer.refused_field(), (400, field), "{config}");
            assert_eq!(state(&server).await, before, "{config}");
            assert_eq!(post(server.address, "echo", ROW).await.status, 200);
        }
    }
    // A model that was not there is not there then either.
    let config = json!({"output": [{"name": "x_out"}]}).to_string();
    let parameters = json!({"config": config, "file:1/model.onnx": STANDARD.encode(OTHER)});
    let body = json!({"parameters": parameters}).to_string();
    let answer = server.post("/v2/repository/models/new/load", body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    assert_eq!(state(&server).await, before);
    // What is true lands.
    let config = json!({"backend": "fake", "output": [{"name": "total", "dims": [2]}]}).to_string();
    let parameters = json!({"config": config, "file:1/model.onnx": STANDARD.encode(OTHER)});
    let body = json!({"parameters": parameters}).to_string();
    let answer = server.post("/v2/repository/models/echo/load", body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let metadata = server.json("/v2/models/echo").await;
    assert_eq!(metadata["outputs"][0]["name"], "total");
}

#[tokio::test]
async fn grpc_refuses_it_alike() {
    let server = start().await;
    let before = state(&server).await;
    let mut client = server.client().await;
    for (config, field) in false_claims() {
        let parameter = |choice| ModelRepositoryParameter {
            parameter_choice: Some(choice),
        };
        let load = RepositoryModelLoadRequest {
            model_name: "echo".to_owned(),
            parameters: BTreeMap::from([
                (
                    "config".to_owned(),
                    parameter(ParameterChoice::StringParam(config.to_string())),
                ),
                (
                    "file:2/model.onnx".to_owned(),
                    parameter(ParameterChoice::BytesParam(OTHER.into())),
                ),
            ]),
            ..RepositoryModelLoadRequest::default()
        };
        let status = client.repository_model_load(load).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{config}");
        let field = format!("parameters.config.{field}: ");
        assert!(status.message().starts_with(&field), "{status}");
        assert_eq!(state(&server).await, before, "{config}");
    }
    server.end().await;
}
