//! The files of a model's versions: uploaded in parts or at once, and downloaded in ranges.

use http::StatusCode;
use serde_json::{Value, json};

use super::{OPEN_TO, TAG, idempotency_key, if_match, if_none_match, unless_known, version};
use crate::management::{
    ArtifactDocument, ArtifactList, NewUploadDocument, UploadDocument, UploadList,
};
use crate::openapi::inference::{BINARY, binary};
use crate::openapi::native::DIGEST;
use crate::openapi::operation::{Operation, delete, get, patch, post, put};
use crate::openapi::refusals::REPR_DIGEST;

const ARTIFACTS: &str = "/v1/models/{model}/artifacts";
const UPLOADS: &str = "/v1/models/{model}/artifacts/uploads";
const UPLOAD: &str = "/v1/models/{model}/artifacts/uploads/{upload}";
const FILE: &str = "/v1/models/{model}/artifacts/{version}/{file}";
/// What a part of an upload is, by the drafts of the standard.
const PART: &str = "application/partial-upload";
/// Where an upload stands.
const STANDING: [&str; 3] = ["Upload-Offset", "Upload-Length", "Upload-Complete"];
/// A server may have no store of artifacts.
const NO_STORE: u16 = 501;

pub(super) fn operations() -> Vec<Operation> {
    vec![
        list(),
        begin(),
        uploads(),
        state(),
        append(),
        abandon(),
        download(),
        store(),
        remove(),
    ]
}

fn list() -> Operation {
    get(ARTIFACTS, "listArtifacts")
        .under(TAG)
        .about(
            "The artifacts of a model",
            "Weights, configuration, labels and feature maps of its versions.",
        )
        .answers::<ArtifactList>("The artifacts.", &json!({"artifacts": [artifact()]}))
        .refuses(&[NO_STORE])
}

fn begin() -> Operation {
    let operation = post(ARTIFACTS, "beginUpload")
        .under(TAG)
        .about(
            "Begins an upload",
            &format!("It says what the whole will be. Its parts follow by PATCH to its `Location`. What is there is replaced only with `If-Match`, which holds to the end. {OPEN_TO}"),
        )
        .takes::<NewUploadDocument>(&json!({
            "version": 1, "file": "model.onnx", "kind": "weights", "size": 10_240, "digest": DIGEST,
        }))
        .answers_with::<UploadDocument>(StatusCode::CREATED, "The upload has begun.", &upload())
        .sends(StatusCode::CREATED, &STANDING)
        .sends(StatusCode::CREATED, &["Location", "Idempotency-Replayed"]);
    if_none_match(if_match(idempotency_key(operation)))
        .refuses(&[409, 412, 422, 428, NO_STORE, 507])
}

fn uploads() -> Operation {
    get(UPLOADS, "listUploads")
        .under(TAG)
        .about(
            "The uploads of a model",
            "Those that are under way. They go with their model.",
        )
        .answers::<UploadList>("The uploads.", &json!({"uploads": [upload()]}))
        .refuses(&[NO_STORE])
}

fn state() -> Operation {
    get(UPLOAD, "readUpload")
        .under(TAG)
        .about(
            "Where an upload stands",
            "After a broken connection, or a restart of the server, the next part begins at `Upload-Offset`. HEAD gives the fields alone.",
        )
        .answers::<UploadDocument>("The upload.", &upload())
        .sends(StatusCode::OK, &STANDING)
        .refuses(&[NO_STORE])
}

fn append() -> Operation {
    let offset = json!({
        "required": true,
        "description": "Where the part begins, in bytes. Where the upload stands elsewhere, the answer is 409 with the right one.",
        "schema": {"type": "integer", "minimum": 0, "maximum": u64::MAX},
        "example": 4096,
    });
    patch(UPLOAD, "appendToUpload")
        .under(TAG)
        .about(
            "Uploads a part",
            &format!(
                "Of any length. With the last byte the whole is compared with its digest, and where it is another, the upload is gone: 422. So it is where what must be so of what is there \
                 is not so any more: 412, or 428. Once the \
                 weights are there the version is loaded: `operation` says how far that is. {OPEN_TO}"
            ),
        )
        .parameter("header", "Upload-Offset", &offset)
        .body(PART, &binary(), &Value::Null)
        .body(BINARY, &binary(), &Value::Null)
        .needs_body()
        .answers_empty(StatusCode::NO_CONTENT, "The part is stored.")
        .sends(StatusCode::NO_CONTENT, &STANDING)
        .answers_with::<ArtifactDocument>(StatusCode::CREATED, "The whole is stored.", &stored())
        .sends(StatusCode::CREATED, &["ETag", "Location"])
        .refuses(&[409, 412, 422, 428, NO_STORE, 507])
}

fn abandon() -> Operation {
    delete(UPLOAD, "abandonUpload")
        .under(TAG)
        .about("Gives an upload up", OPEN_TO)
        .answers_empty(StatusCode::NO_CONTENT, "The upload is gone.")
        .refuses(&[409, NO_STORE])
}

fn download() -> Operation {
    let ranges = [
        (
            "Range",
            "One range of bytes, such as `bytes=0-99`. Several, or what is none, are answered with the whole.",
        ),
        (
            "If-Range",
            "The `ETag` of what the client has a part of. Where another is there, the whole is answered.",
        ),
    ];
    let operation = ranges.into_iter().fold(
        version(get(FILE, "downloadArtifact")).under(TAG).about(
            "Downloads an artifact",
            "The whole or a range of it. HEAD gives the fields alone.",
        ),
        |operation, (name, says)| {
            let content = json!({"description": says, "schema": {"type": "string"}});
            operation.parameter("header", name, &content)
        },
    );
    let operation = [
        (StatusCode::OK, "The whole."),
        (StatusCode::PARTIAL_CONTENT, "The range."),
    ]
    .into_iter()
    .fold(operation, |operation, answer| {
        operation
            .answer(answer, BINARY, &binary(), &Value::Null)
            .sends(answer.0, &["ETag", "Accept-Ranges", "Repr-Digest"])
    });
    unless_known(operation.sends(StatusCode::PARTIAL_CONTENT, &["Content-Range"]))
        .refuses(&[416, NO_STORE])
}

fn store() -> Operation {
    let kind = json!({
        "description": "What the file is. `model.onnx` is weights where nothing is said; of other files it must be said.",
        "schema": {"type": "string", "enum": ["weights", "configuration", "labels", "feature-maps"]},
        "example": "weights",
    });
    let digest = |says: &str| {
        json!({
            "description": says,
            "schema": {"type": "string"},
            "example": REPR_DIGEST,
        })
    };
    let operation = version(put(FILE, "uploadArtifact"))
        .under(TAG)
        .about(
            "Uploads an artifact at once",
            &format!(
                "With its length and its digest. What is there is replaced only with `If-Match`. Once the weights are there the version is loaded: \
                 `operation` says how far that is. {OPEN_TO}"
            ),
        )
        .parameter("query", "kind", &kind)
        .parameter("header", "Repr-Digest", &digest("The SHA-256 of the file (RFC 9530). It or `Content-Digest` must be there."))
        .parameter("header", "Content-Digest", &digest("The same: an artifact is sent without a coding."))
        .body(BINARY, &binary(), &Value::Null)
        .needs_body()
        .answers::<ArtifactDocument>("The artifact is replaced.", &stored())
        .sends(StatusCode::OK, &["ETag", "Location"])
        .answers_with::<ArtifactDocument>(StatusCode::CREATED, "The artifact is stored.", &stored())
        .sends(StatusCode::CREATED, &["ETag", "Location"]);
    if_none_match(if_match(operation)).refuses(&[409, 411, 412, 422, 428, NO_STORE, 507])
}

fn remove() -> Operation {
    let operation = version(delete(FILE, "deleteArtifact"))
        .under(TAG)
        .about(
            "Deletes an artifact",
            &format!("A version that is in the site already goes on to serve. {OPEN_TO}"),
        )
        .answers_empty(StatusCode::NO_CONTENT, "The artifact is gone.");
    if_match(operation).refuses(&[409, 412, NO_STORE])
}

fn artifact() -> Value {
    json!({
        "version": 1, "file": "model.onnx", "kind": "weights", "size": 10_240, "digest": DIGEST, "stored_at": 1_795_000_000,
    })
}

/// An artifact with which its version is whole.
fn stored() -> Value {
    super::joined(&artifact(), &json!({"operation": "/v1/operations/7"}))
}

fn upload() -> Value {
    json!({
        "id": "b7d9a2c4e1f03865", "version": 1, "file": "model.onnx", "kind": "weights", "size": 10_240, "digest": DIGEST,
        "offset": 4096, "expires_at": 1_795_086_400,
    })
}
