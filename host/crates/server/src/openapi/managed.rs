//! The management of a site: models with their artifacts and versions, the operations that it takes, plugins and routes.

mod models;

mod artifacts;
mod versions;

mod parts;
mod schemas;

use serde_json::{Value, json};

use super::operation::Operation;

/// The heading of management.
const TAG: &str = "management";
/// Who may change a site.
const OPEN_TO: &str = "Open to clients of the server's own machine, unless `server.management` says otherwise, and where clients say who they \
    are to those with the scope for it.";

pub(super) fn operations() -> Vec<Operation> {
    let mut operations = models::operations();
    operations.extend(artifacts::operations());
    operations.extend(versions::operations());
    operations.extend(parts::operations());
    operations
}

/// What a change takes that replaces or removes: the tag of what the client knows.
fn if_match(operation: Operation) -> Operation {
    let content = json!({
        "description": "The `ETag` of what is to be changed, or `*` for whatever is there. Where it is another by now, the answer is 412.",
        "schema": {"type": "string", "pattern": "^(\\*|\"[^\"]*\")$"},
    });
    operation.parameter("header", "If-Match", &content)
}

/// What a change takes that may make something new.
fn if_none_match(operation: Operation) -> Operation {
    let content = json!({
        "description": "`*` where nothing may be there yet. It cannot stand beside `If-Match`.",
        "schema": {"type": "string", "enum": ["*"]},
    });
    operation.parameter("header", "If-None-Match", &content)
}

/// What reading takes where the client has something already.
fn unless_known(operation: Operation) -> Operation {
    let content = json!({
        "description": "`ETag`s of what the client has, or `*`. Where it has what is there, the answer is 304.",
        "schema": {"type": "string"},
        "example": "\"0000000000000000000000000000000000000000000000000000000000000000\"",
    });
    operation
        .parameter("header", "If-None-Match", &content)
        .answers_empty(http::StatusCode::NOT_MODIFIED, "The client has it.")
        .sends(http::StatusCode::NOT_MODIFIED, &["ETag"])
}

/// What every POST of management takes.
fn idempotency_key(operation: Operation) -> Operation {
    let content = json!({
        "description": "What the client calls the request, such as a UUID. Sent again with the same key, it is answered again and not done \
            again; with another request, the key is refused with 422, and while the first is under way with 409.",
        "schema": {"type": "string", "pattern": "^([!#-~]{1,255}|\"[!#-~]{1,255}\")$"},
    });
    operation.parameter("header", "Idempotency-Key", &content)
}

/// What waits for an operation.
fn prefer(operation: Operation) -> Operation {
    let content = json!({
        "description": "`wait=30` waits so many seconds for the end of the operation, 60 at most (RFC 7240).",
        "schema": {"type": "string"},
        "example": "wait=5",
    });
    operation.parameter("header", "Prefer", &content)
}

/// The version of a model that a path names.
fn version(operation: Operation) -> Operation {
    let content = json!({
        "required": true,
        "description": "The number of a version.",
        "schema": {"type": "integer", "minimum": 1, "maximum": i64::MAX},
        "example": 1,
    });
    operation.parameter("path", "version", &content)
}

/// The members of two objects.
fn joined(one: &Value, other: &Value) -> Value {
    let members = [one, other].into_iter().filter_map(Value::as_object);
    Value::Object(
        members
            .flatten()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect(),
    )
}
