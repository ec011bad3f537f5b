//! Everything of the Open Inference Protocol but inference, with the extensions of Triton.

mod settings;
mod shared_memory;

use http::StatusCode;
use serde_json::{Value, json};

use super::operation::{JSON, Operation, get, post, reference};
use crate::oip::documents::{ModelConfig, ModelMetadata, ServerMetadata};
use crate::oip::repository::IndexDocument;
use crate::oip::rest::management::ModelReady;
use crate::oip::rest::management::body;
use crate::oip::statistics::StatisticsDocument;

pub(super) const MODELS: &str = "models";
const REPOSITORY: &str = "repository";

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![server()];
    let named = [
        (
            "/v2/models/{model}",
            "/v2/models/{model}/ready",
            "/v2/models/{model}/config",
            "/v2/models/{model}/stats",
        ),
        (
            "/v2/models/{model}/versions/{version}",
            "/v2/models/{model}/versions/{version}/ready",
            "/v2/models/{model}/versions/{version}/config",
            "/v2/models/{model}/versions/{version}/stats",
        ),
    ];
    let ids = [
        ("modelMetadata", "modelReady", "modelConfig", "modelStats"),
        (
            "modelVersionMetadata",
            "modelVersionReady",
            "modelVersionConfig",
            "modelVersionStats",
        ),
    ];
    // Without a version, it is one of the documents of management.
    operations.push(metadata(named[1].0, ids[1].0));
    for (paths, ids) in named.into_iter().zip(ids) {
        operations.extend([
            ready(paths.1, ids.1),
            config(paths.2, ids.2),
            stats(paths.3, ids.3),
        ]);
    }
    operations.push(stats("/v2/models/stats", "allStats"));
    operations.extend(repository());
    operations.extend(shared_memory::operations());
    operations.extend(settings::operations());
    operations
}

fn server() -> Operation {
    get("/v2", "serverMetadata")
        .under(MODELS)
        .about(
            "What the server is, and which extensions it has",
            "What nobody may use as the server is set up is not listed.",
        )
        .answers::<ServerMetadata>(
            "Name, version and extensions.",
            &json!({
                "name": "wharf", "version": env!("CARGO_PKG_VERSION"),
                "extensions": ["classification", "sequence", "binary_tensor_data", "statistics"],
            }),
        )
}

fn metadata(path: &'static str, id: &'static str) -> Operation {
    get(path, id)
        .under(MODELS)
        .about(
            "What a model takes and gives",
            "-1 stands for a size that each request chooses.",
        )
        .answers::<ModelMetadata>("Inputs and outputs.", &described())
}

pub(super) fn described() -> Value {
    json!({
        "name": "iris", "versions": ["1"], "platform": "onnxruntime_onnx",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
    })
}

fn ready(path: &'static str, id: &'static str) -> Operation {
    get(path, id)
        .under(MODELS)
        .about("Whether a model takes requests", "")
        .answers::<ModelReady<'_>>("It does.", &json!({"name": "iris", "ready": true}))
        .answers_with::<ModelReady<'_>>(
            StatusCode::BAD_REQUEST,
            "It does not, as clients of Triton know it; or the request is malformed.",
            &json!({"name": "iris", "ready": false}),
        )
}

fn config(path: &'static str, id: &'static str) -> Operation {
    get(path, id)
        .under(MODELS)
        .about(
            "How a model is set up",
            "In the words of Triton. Where requests are joined into batches, the sizes are those of one row.",
        )
        .answers::<ModelConfig>(
            "The configuration.",
            &json!({
                "name": "iris", "platform": "onnxruntime_onnx", "backend": "onnxruntime",
                "version_policy": {"latest": {"num_versions": 1}}, "max_batch_size": 0,
                "input": [{"name": "input", "data_type": "TYPE_FP32", "dims": [-1, 4], "optional": false}],
                "output": [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": [-1, 3], "label_filename": ""}],
                "instance_group": [{"kind": "KIND_CPU", "count": 2, "gpus": []}],
                "default_model_filename": "model.onnx",
                "response_cache": {"enable": false},
            }),
        )
}

fn stats(path: &'static str, id: &'static str) -> Operation {
    let tally = json!({"count": 12, "ns": 480_000});
    let none = json!({"count": 0, "ns": 0});
    get(path, id)
        .under(MODELS)
        .about(
            "What requests came to",
            "Counts, and times in nanoseconds, since the version came into force; `last_inference` in milliseconds since 1970.",
        )
        .answers::<StatisticsDocument>(
            "The statistics of each version.",
            &json!({"model_stats": [{
                "name": "iris", "version": "1", "last_inference": 1_795_000_000_000_u64,
                "inference_count": 12, "execution_count": 12,
                "inference_stats": {
                    "success": tally, "fail": none, "queue": tally, "compute_input": tally, "compute_infer": tally,
                    "compute_output": tally, "cache_hit": none, "cache_miss": none,
                },
                "batch_stats": [{
                    "batch_size": 1, "compute_input": tally, "compute_infer": tally, "compute_output": tally,
                }],
            }]}),
        )
}

fn repository() -> [Operation; 3] {
    [
        post("/v2/repository/index", "repositoryIndex")
            .under(REPOSITORY)
            .about("Every version of every model, and how it is", "")
            .may_take::<body::Index>(&json!({"ready": true}))
            .lists::<IndexDocument>(
                "The versions, sorted.",
                &json!([{"name": "iris", "version": "1", "state": "READY", "reason": ""}]),
            ),
        post("/v2/repository/models/{model}/load", "loadModel")
            .under(REPOSITORY)
            .about(
                "Loads a model, or loads it anew",
                "With a configuration in the words of Triton, which is laid over `model.toml`, and files of versions. What it brings \
                 stays in the site. Open to clients of the server's own machine, unless `server.management` says otherwise.",
            )
            .body(JSON, &reference("LoadRequest"), &load())
            .answers_nothing("The model is loaded, and in force.")
            .refuses(&[409, 422, 507])
            .with_schema("LoadRequest", load_schema()),
        post("/v2/repository/models/{model}/unload", "unloadModel")
            .under(REPOSITORY)
            .about(
                "Takes a model out of force",
                "Its files stay. A route goes with its file; `unload_dependents` unloads the models that it leads to.",
            )
            .may_take::<body::Unload>(&json!({"parameters": {"unload_dependents": false}}))
            .answers_nothing("The model takes no requests any more.")
            .refuses(&[409]),
    ]
}

fn load() -> Value {
    json!({"parameters": {"config": "{\"max_batch_size\": 8}"}})
}

fn load_schema() -> Value {
    json!({
        "type": "object",
        "description": "What a load may bring.",
        "properties": {"parameters": {
            "type": "object",
            "properties": {"config": {
                "type": "string",
                "description": "A model configuration of Triton, as JSON in a text.",
            }},
            "patternProperties": {"^file:[1-9][0-9]*/.+$": {
                "type": "string", "contentEncoding": "base64",
                "description": "A file of a version, such as `file:1/model.onnx`.",
            }},
            "additionalProperties": false,
        }},
        "additionalProperties": false,
    })
}
