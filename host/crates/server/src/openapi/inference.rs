//! Inference, natively and by the Open Inference Protocol. Its documents are read and written in place, so no type has their
//! schemas.

use http::StatusCode;
use serde_json::{Value, json};

use super::operation::{JSON, Operation, post, reference};

/// The heading of inference.
pub(super) const TAG: &str = "inference";
/// What a body is whose media type is anything.
pub(super) const BINARY: &str = "application/octet-stream";
/// How an inference may be refused, beside what every operation with a body and a name in its path has.
pub(super) const REFUSES: [u16; 6] = [404, 409, 422, 501, 502, 504];

const DATATYPES: [&str; 14] = [
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16",
    "FP32", "FP64", "BF16", "BYTES",
];

pub(super) fn operations() -> Vec<Operation> {
    let by_protocol = |path, id, summary| {
        post(path, id)
            .under(TAG)
            .about(
                summary,
                "The Open Inference Protocol: a route is a model of it. One that begins with a plugin has the input `body`, `BYTES` of \
                 shape `[1]`, and takes as well a request of another content type than JSON, whose body is that input. With the \
                 header field `Inference-Header-Content-Length` the body is a JSON document of that length and then binary data; 0 \
                 is a raw request, whose whole body is the only input.",
            )
            .body(JSON, &reference("InferenceRequest"), &request())
            .body(BINARY, &binary(), &Value::Null)
            .needs_body()
            .parameter("header", "Inference-Header-Content-Length", &length())
            .answer(
                (StatusCode::OK, "The outputs; with binary data where it was asked for."),
                JSON,
                &reference("InferenceResponse"),
                &response(),
            )
            .answer((StatusCode::OK, "The outputs; with binary data where it was asked for."), BINARY, &binary(), &Value::Null)
            .refuses(&REFUSES)
            .with_schema("InferenceRequest", request_schema())
            .with_schema("InferenceResponse", response_schema())
            .with_schema("TensorData", data_schema())
            .with_schema("InferenceParameters", parameters_schema())
    };
    vec![
        post("/v1/infer/{route}", "infer")
            .under(TAG)
            .about(
                "Runs a route",
                "A route that begins with a plugin takes a body of any media type. Others take JSON: `{\"input\": [..]}`, where \
                 several inputs are named: `{\"input\": {\"a\": [..], \"b\": [..]}}`. Elements are nested as the shape says; one row of a \
                 batch may stand for itself, and is answered by one row. Floats take `null` for what is no number. A server's own \
                 document has a path for each of its routes.\n\nA route whose target is a service of another server takes and gives bodies of any \
                 size and media type as they come, `text/event-stream` among them: the answer begins before it is whole, and where the other \
                 server breaks off, the connection is cut. What it refuses with 400, 409, 413, 422 or 429 is refused so; its faults are 502, its silence is 504.",
            )
            .body(JSON, &reference("NativeRequest"), &json!({"input": [5.1, 3.5, 1.4, 0.2]}))
            .body(BINARY, &binary(), &Value::Null)
            .needs_body()
            .answer(
                (StatusCode::OK, "What the route gives: tensors as JSON, or what its last plugin made."),
                JSON,
                &json!({}),
                &json!({"output": [0.98, 0.02, 0.0]}),
            )
            .answer(
                (StatusCode::OK, "What the route gives: tensors as JSON, or what its last plugin made."),
                "*/*",
                &json!({}),
                &Value::Null,
            )
            .refuses(&REFUSES)
            .with_schema("NativeRequest", native_schema()),
        by_protocol("/v2/models/{model}/infer", "modelInfer", "Runs a model or a route"),
        by_protocol(
            "/v2/models/{model}/versions/{version}/infer",
            "modelVersionInfer",
            "Runs a version of a model",
        ),
    ]
}

/// Bytes, as they are. OpenAPI 3.1 needs no schema for them, but what makes clients of it knows them by this one.
pub(super) fn binary() -> Value {
    json!({"type": "string", "format": "binary"})
}

fn length() -> Value {
    json!({
        "description": "The length of the JSON document in bytes, where binary data follows it.",
        "schema": {"type": "integer", "minimum": 0},
    })
}

fn native_schema() -> Value {
    json!({
        "type": "object",
        "description": "The inputs: of a route with one, its elements; else by name.",
        "required": ["input"],
        "properties": {"input": {
            "description": "The elements, nested as the shape says; or the inputs by name.",
        }},
        "additionalProperties": false,
    })
}

fn request() -> Value {
    json!({
        "id": "1",
        "inputs": [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": [5.1, 3.5, 1.4, 0.2]}],
        "outputs": [{"name": "probabilities"}],
    })
}

fn response() -> Value {
    json!({
        "model_name": "iris", "model_version": "1", "id": "1",
        "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [1, 3], "data": [0.98, 0.02, 0.0]}],
    })
}

/// `name`, `datatype` and `shape` of a tensor, with what else it has.
fn tensor(more: &Value, required: &[&str]) -> Value {
    let mut properties = json!({
        "name": {"type": "string"},
        "datatype": {"type": "string", "enum": DATATYPES},
        "shape": {"type": "array", "maxItems": 64, "items": {"type": "integer", "minimum": 0}},
        "parameters": reference("InferenceParameters"),
    });
    for (name, schema) in more.as_object().into_iter().flatten() {
        properties[name] = schema.clone();
    }
    json!({"type": "object", "required": required, "properties": properties})
}

fn request_schema() -> Value {
    let output = json!({
        "type": "object",
        "required": ["name"],
        "properties": {
            "name": {"type": "string"},
            "parameters": reference("InferenceParameters"),
        },
    });
    json!({
        "type": "object",
        "description": "A request for inference.",
        "required": ["inputs"],
        "properties": {
            "id": {"type": ["string", "null"], "description": "What the client calls it; repeated in the answer."},
            "parameters": reference("InferenceParameters"),
            "inputs": {
                "type": "array",
                "items": tensor(&json!({"data": reference("TensorData")}), &["name", "datatype", "shape"]),
            },
            "outputs": {
                "type": ["array", "null"], "maxItems": 1024, "items": output,
                "description": "The outputs that it asks for; all where it names none.",
            },
        },
    })
}

fn response_schema() -> Value {
    let required = ["name", "datatype", "shape"];
    json!({
        "type": "object",
        "description": "What came of it.",
        "required": ["model_name", "model_version", "outputs"],
        "properties": {
            "model_name": {"type": "string"},
            "model_version": {"type": "string", "description": "The version that ran."},
            "id": {"type": "string"},
            "parameters": reference("InferenceParameters"),
            "outputs": {"type": "array", "items": tensor(&json!({"data": reference("TensorData")}), &required)},
        },
    })
}

/// Flat or nested: what the elements are is told by the datatype.
fn data_schema() -> Value {
    json!({
        "type": "array",
        "description": "The elements, row by row: flat, or nested as the shape says. Floats may be `null` for what is no number.",
        "items": {},
    })
}

fn parameters_schema() -> Value {
    json!({
        "type": ["object", "null"],
        "description": "Parameters of the protocol and its extensions: `binary_data`, `binary_data_size`, `binary_data_output`, \
            `classification`, `sequence_id`, `sequence_start`, `sequence_end`, `priority`, `timeout`, `shared_memory_region`, \
            `shared_memory_offset`, `shared_memory_byte_size`, `content_type`. Others are let be.",
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    })
}
