//! What all operations have in common: the parts of their paths, refusals, fields of the header, and who may ask.

use serde_json::{Value, json};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::object;
use super::operation::REFUSES;
use super::refusals::{Refusal, header, headers, refusals};
use crate::endpoint::Surface;
use crate::problem;

const METHODS: [&str; 5] = ["get", "put", "post", "delete", "patch"];
/// Any operation may be refused so: for its header, or the server's own state.
const ALWAYS: [u16; 4] = [400, 431, 500, 503];
/// One that is not for everybody.
const OF_CLIENTS: [u16; 3] = [401, 403, 429];
/// One that names something.
const OF_NAMES: [u16; 1] = [404];
/// One that takes a body.
const OF_BODIES: [u16; 3] = [408, 413, 415];

/// Completes the operations of a document.
pub(super) fn complete(document: &mut Value, surface: Surface) {
    let refusals = refusals();
    for (path, item) in object(&mut document["paths"]) {
        for (method, operation) in object(item) {
            if METHODS.contains(&method.as_str()) {
                name_parts(path, operation);
                let (endpoint, _) = surface.find(path);
                if endpoint.is_open() {
                    operation["security"] = json!([]);
                }
                add_refusals(path, operation, &refusals);
                add_headers(operation, surface);
            }
        }
    }
    for refusal in &refusals {
        document["components"]["responses"][&*refusal.name] = refusal.response();
    }
    let problem = serde_json::to_value(problem::Document::schema()).unwrap_or_default();
    document["components"]["schemas"][&*problem::Document::name()] = problem;
    document["components"]["headers"] = headers();
    document["components"]["securitySchemes"] = json!({
        "bearer": {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the issuer that the server trusts.",
        },
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "A key of the server."},
    });
    // A server of one machine may ask nobody who they are.
    document["security"] = json!([{}, {"bearer": []}, {"apiKey": []}]);
}

/// Says what the parts of a path are that the client chooses.
fn name_parts(path: &str, operation: &mut Value) {
    let parts = path.split('{').skip(1);
    for name in parts.filter_map(|part| Some(part.split_once('}')?.0)) {
        let is_told = |told: &Vec<Value>| {
            let mut told = told.iter();
            told.any(|one| one["name"] == name && one["in"] == "path")
        };
        if operation["parameters"].as_array().is_some_and(is_told) {
            continue;
        }
        let parameter = part(name, path);
        match &mut operation["parameters"] {
            Value::Array(parameters) => parameters.push(parameter),
            none => *none = json!([parameter]),
        }
    }
}

/// A part of a path. The model that is loaded and unloaded is another one than that which is asked, and so is the one that is managed:
/// who tries the examples in turn would find it gone.
fn part(name: &str, path: &str) -> Value {
    let a_name = json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"});
    let model = match path {
        "/v2/models/{model}" => "flowers",
        path if path.starts_with("/v1/models/") => "flowers",
        path if path.starts_with("/v2/repository/") => "digits",
        _ => "iris",
    };
    let (says, schema, example) = match name {
        "model" => ("The name of a model or a route.", a_name, model),
        "route" if path.starts_with("/v1/routes/") => ("The name of a route.", a_name, "shop"),
        "route" => ("The name of a route or a model.", a_name, "iris"),
        "plugin" => ("The name of a plugin.", a_name, "top-k"),
        "file" => ("The name of a file.", a_name, "model.onnx"),
        "upload" => (
            "What the server calls an upload.",
            a_name,
            "b7d9a2c4e1f03865",
        ),
        "operation" => ("What the server calls an operation.", a_name, "7"),
        "version" => (
            "A version: a number, or a label such as `stable`.",
            a_name,
            "1",
        ),
        "bundle" => ("The name of a bundle.", a_name, "shop"),
        "region" => (
            "The name that a client gives a region of shared memory.",
            json!({"type": "string", "minLength": 1}),
            "weights",
        ),
        _ => ("", json!({"type": "string", "minLength": 1}), "1"),
    };
    json!({
        "name": name, "in": "path", "required": true,
        "description": says, "schema": schema, "example": example,
    })
}

fn add_refusals(path: &str, operation: &mut Value, refusals: &[Refusal]) {
    let own = object(operation).remove(REFUSES);
    let own = own.and_then(|own| Some(own.as_array()?.iter().filter_map(Value::as_u64).collect()));
    let mut statuses: Vec<u64> = own.unwrap_or_default();
    statuses.extend(ALWAYS.map(u64::from));
    if path.contains('{') {
        statuses.extend(OF_NAMES.map(u64::from));
    }
    if operation.get("requestBody").is_some() {
        statuses.extend(OF_BODIES.map(u64::from));
    }
    if operation.get("security").is_none() {
        statuses.extend(OF_CLIENTS.map(u64::from));
    }
    for refusal in refusals {
        if !statuses.contains(&refusal.status.into()) {
            continue;
        }
        let status = refusal.status.to_string();
        let told = &mut operation["responses"][&*status];
        if told.is_null() {
            *told = json!({"$ref": format!("#/components/responses/{}", refusal.name)});
        } else if told.get("$ref").is_none() {
            // An answer of its own that has this status, beside the refusal.
            let refused = refusal.response();
            object(&mut told["content"]).extend(object(&mut refused["content"].clone()).clone());
        }
    }
}

fn add_headers(operation: &mut Value, surface: Surface) {
    let names: &[&str] = match surface {
        Surface::Public => &["X-Request-Id", "RateLimit", "RateLimit-Policy"],
        Surface::Admin => &["X-Request-Id"],
    };
    for (_, response) in object(&mut operation["responses"]) {
        if response.get("$ref").is_some() {
            continue;
        }
        for name in names {
            response["headers"][*name] = header(name);
        }
    }
}
