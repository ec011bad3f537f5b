//! Models, in both versions of the documents.

use http::StatusCode;
use serde_json::{Value, json};

use super::{OPEN_TO, TAG, idempotency_key, if_match, if_none_match, joined, schemas};
use crate::management::{
    FlatModel, MAX_LIMIT, ModelList, ProtocolModel, ProtocolModelList, Version,
};
use crate::oip::documents::ModelMetadata;
use crate::openapi::management::{MODELS, described};
use crate::openapi::native::DIGEST;
use crate::openapi::operation::{JSON, Operation, delete, get, patch, post, put, reference};

/// What names a version of the documents, whatever the path.
const BY_ACCEPT: &str = "`Accept: application/vnd.wharf.v1+json` and `application/vnd.wharf.v2+json` choose the version of the document, \
    whatever the path.";

/// The paths of a version, and what clients made of the document call its operations.
struct Names {
    version: Version,
    list: &'static str,
    model: &'static str,
    ids: [&'static str; 5],
}

const ONE: Names = Names {
    version: Version::One,
    list: "/v1/models",
    model: "/v1/models/{model}",
    ids: [
        "listModels",
        "registerModel",
        "replaceModel",
        "changeModel",
        "deleteModel",
    ],
};
const TWO: Names = Names {
    version: Version::Two,
    list: "/v2/models",
    model: "/v2/models/{model}",
    ids: [
        "listModelsV2",
        "registerModelV2",
        "replaceModelV2",
        "changeModelV2",
        "deleteModelV2",
    ],
};

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = vec![read(), metadata()];
    for names in [ONE, TWO] {
        operations.extend([
            list(&names),
            register(&names),
            replace(&names),
            change(&names),
            remove(&names),
        ]);
    }
    operations
}

fn list(names: &Names) -> Operation {
    let about = match names.version {
        Version::One => {
            "An entry for each version that serves, and one for each model of which none does."
        }
        Version::Two => {
            "An entry for each model, as the Open Inference Protocol describes it, and more."
        }
    };
    let mut operation = get(names.list, names.ids[0]).under(TAG).about(
        "The models of the site",
        &format!(
            "{about} Without `limit` the list is whole; with it, it has pages, and `next_cursor` asks for the next. {BY_ACCEPT}"
        ),
    );
    for (name, says, schema) in [
        (
            "limit",
            "The most entries of a page.",
            json!({"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}),
        ),
        (
            "cursor",
            "`next_cursor` of the page before.",
            json!({"type": "string", "pattern": "^[A-Za-z0-9_-]+$"}),
        ),
        ("modality", "Models that take it.", schemas::modality()),
        (
            "label",
            "Models that have all of these labels: `team`, whatever its value is, or `team:vision`.",
            json!({"type": "array", "items": {"type": "string"}}),
        ),
        (
            "name",
            "Models whose names begin so.",
            json!({"type": "string"}),
        ),
        ("state", "Models that are so.", schemas::state()),
    ] {
        let content = json!({"description": says, "schema": schema});
        operation = operation.parameter("query", name, &content);
    }
    let one = (
        operation.schema::<ModelList>(),
        json!({"models": [flat()], "next_cursor": "aXJpcy8x"}),
    );
    let two = (
        operation.schema::<ProtocolModelList>(),
        json!({"models": [protocol()]}),
    );
    answer_both(
        operation,
        names.version,
        (StatusCode::OK, "A page, sorted by name."),
        [one, two],
    )
}

fn read() -> Operation {
    let operation = get("/v1/models/{model}", "readModel").under(TAG).about(
        "A model",
        &format!(
            "With the version in force; one that has none yet is `registered`. The `ETag` is that of what clients change of it. {BY_ACCEPT}"
        ),
    );
    shows(operation, Version::One, (StatusCode::OK, "The model."))
}

/// The document of the Open Inference Protocol, and a superset of it where the name is that of a model of the site.
fn metadata() -> Operation {
    let mut operation = get("/v2/models/{model}", "modelMetadata").under(MODELS).about(
        "What a model or a route takes and gives",
        &format!(
            "-1 stands for a size that each request chooses. A model of the site has the members of management beside those of the Open \
             Inference Protocol. {BY_ACCEPT}"
        ),
    );
    let one = (operation.schema::<FlatModel>(), flat());
    let both = [
        operation.schema::<ProtocolModel>(),
        operation.schema::<ModelMetadata>(),
    ];
    let two = (json!({"anyOf": both}), protocol());
    let answer = (
        StatusCode::OK,
        "Inputs and outputs; of a model its state and settings too, with an `ETag`.",
    );
    answer_both(operation, Version::Two, answer, [one, two])
        .sends(StatusCode::OK, &["ETag"])
        .refuses(&[406])
}

fn register(names: &Names) -> Operation {
    let operation = post(names.list, names.ids[1])
        .under(TAG)
        .about(
            "Registers a model",
            &format!("It takes requests once it has a version: upload its artifacts. {OPEN_TO} {BY_ACCEPT}"),
        )
        .body(JSON, &reference("NewModel"), &joined(&json!({"name": "flowers"}), &document()))
        .needs_body()
        .with_schema("NewModel", schemas::new_model());
    idempotency_key(shows(
        operation,
        names.version,
        (StatusCode::CREATED, "The model is registered."),
    ))
    .sends(StatusCode::CREATED, &["Location", "Idempotency-Replayed"])
    .refuses(&[406, 409, 422, 507])
}

fn replace(names: &Names) -> Operation {
    let operation = put(names.model, names.ids[2])
        .under(TAG)
        .about(
            "Replaces what is said of a model, or registers it",
            &format!(
                "What the document leaves out is gone; the versions stay. What is there is replaced only with `If-Match`. {OPEN_TO} {BY_ACCEPT}"
            ),
        )
        .body(JSON, &reference("ModelDocument"), &document())
        .needs_body()
        .with_schema("ModelDocument", schemas::model());
    let operation = shows(
        operation,
        names.version,
        (StatusCode::OK, "The model is as it was said."),
    );
    let operation = shows(
        operation,
        names.version,
        (StatusCode::CREATED, "The model is registered."),
    )
    .sends(StatusCode::CREATED, &["Location"]);
    if_none_match(if_match(operation)).refuses(&[406, 409, 412, 422, 428, 507])
}

fn change(names: &Names) -> Operation {
    let operation = patch(names.model, names.ids[3])
        .under(TAG)
        .about(
            "Changes a model",
            &format!(
                "A merge patch (RFC 7396): members are set, `null` takes one out, objects are merged, and lists are replaced. Without `If-Match` \
                 it is laid over whatever is there. {OPEN_TO} {BY_ACCEPT}"
            ),
        )
        .body(
            "application/merge-patch+json",
            &reference("ModelPatch"),
            &json!({"labels": {"team": "botany", "stage": null}}),
        )
        .needs_body()
        .with_schema("ModelPatch", schemas::model_patch());
    if_match(shows(
        operation,
        names.version,
        (StatusCode::OK, "The model as it is now."),
    ))
    .refuses(&[406, 409, 412, 422, 507])
}

fn remove(names: &Names) -> Operation {
    let operation = delete(names.model, names.ids[4])
        .under(TAG)
        .about(
            "Deletes a model",
            &format!("With its versions and artifacts. One that a route leads to stays: 409 or 422 says which. {OPEN_TO}"),
        )
        .answers_empty(StatusCode::NO_CONTENT, "The model is gone.");
    if_match(operation).refuses(&[409, 412, 422, 507])
}

/// An answer with a model.
fn shows(mut operation: Operation, version: Version, answer: (StatusCode, &str)) -> Operation {
    let one = (operation.schema::<FlatModel>(), flat());
    let two = (operation.schema::<ProtocolModel>(), protocol());
    answer_both(operation, version, answer, [one, two])
        .sends(answer.0, &["ETag"])
        .refuses(&[406])
}

/// An answer in the version of the path, and in the one that the client accepts.
fn answer_both(
    operation: Operation,
    version: Version,
    (status, says): (StatusCode, &str),
    [one, two]: [(Value, Value); 2],
) -> Operation {
    let by_path = match version {
        Version::One => &one,
        Version::Two => &two,
    };
    [
        (JSON, by_path),
        (Version::One.media_type(), &one),
        (Version::Two.media_type(), &two),
    ]
    .into_iter()
    .fold(operation, |operation, (media_type, (schema, example))| {
        operation.answer((status, says), media_type, schema, example)
    })
    .sends(status, &["Vary"])
    .refuses(&[406])
}

/// What a client says of a model.
fn document() -> Value {
    json!({
        "description": "Tells three kinds of irises apart.", "modalities": ["tabular"], "labels": {"team": "botany"},
        "settings": {"batching": {"max_rows": 8}},
    })
}

fn managed() -> Value {
    joined(&json!({"state": "ready", "history": []}), &document())
}

fn flat() -> Value {
    let in_force = json!({
        "name": "iris", "version": 1, "digest": DIGEST, "platform": "onnxruntime_onnx", "device": "cpu",
        "max_batch_rows": 8,
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 4]}],
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]}],
        "versions": [{"version": 1, "state": "ready"}],
    });
    joined(&managed(), &in_force)
}

fn protocol() -> Value {
    let states = json!({"version_states": [{"version": 1, "state": "ready"}]});
    joined(&joined(&described(), &managed()), &states)
}
