//! Which version serves, and the operations that change it.

use http::StatusCode;
use serde_json::{Value, json};

use super::{OPEN_TO, TAG, idempotency_key, prefer, version};
use crate::management::{OperationDocument, OperationList, PromoteInput};
use crate::openapi::operation::{Operation, get, post};

pub(super) fn operations() -> Vec<Operation> {
    vec![promote(), roll_back(), list(), read()]
}

fn promote() -> Operation {
    let operation = version(post("/v1/models/{model}/versions/{version}/promote", "promoteVersion"))
        .under(TAG)
        .about(
            "Has a version serve",
            &format!(
                "It is loaded and warmed up before it comes into force, and serves from then on, whatever versions come later. With `label` it gets \
                 the label instead. {OPEN_TO}"
            ),
        )
        .may_take::<PromoteInput>(&json!({"label": "stable"}));
    accepts(operation).refuses(&[409, 422, 501])
}

fn roll_back() -> Operation {
    let operation = post("/v1/models/{model}/rollback", "rollBackModel")
        .under(TAG)
        .about(
            "Goes back to the version that was promoted before",
            &format!("Where there is none, the answer is 409. {OPEN_TO}"),
        );
    accepts(operation).refuses(&[409, 422, 501])
}

/// What begins an operation.
fn accepts(operation: Operation) -> Operation {
    let says = "The operation has begun, or where the client waited, ended.";
    idempotency_key(prefer(operation))
        .answers_with::<OperationDocument>(StatusCode::ACCEPTED, says, &operation_example())
        .sends(
            StatusCode::ACCEPTED,
            &["Location", "Preference-Applied", "Idempotency-Replayed"],
        )
}

fn list() -> Operation {
    get("/v1/operations", "listOperations")
        .under(TAG)
        .about(
            "The operations that are known",
            "They are kept in memory, for an hour after they ended: what they did is in the site.",
        )
        .answers::<OperationList>(
            "The operations, the latest first.",
            &json!({"operations": [operation_example()]}),
        )
}

fn read() -> Operation {
    prefer(get("/v1/operations/{operation}", "readOperation"))
        .under(TAG)
        .about("How far an operation is, and what came of it", "")
        .answers::<OperationDocument>("The operation.", &operation_example())
}

fn operation_example() -> Value {
    json!({
        "id": "7", "kind": "promote", "model": "flowers", "state": "succeeded", "progress": 1.0,
        "result": {"model": "flowers", "version": 1},
    })
}
