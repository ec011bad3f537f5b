//! The schemas of what clients say of models and routes: the rules are those of the files that their documents become.

use serde_json::{Value, json};
use wharf_core::Modality;

/// A name of the site.
const NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$";
/// Text without control characters.
const PLAIN: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

pub(super) fn modality() -> Value {
    let names: Vec<&str> = Modality::ALL
        .iter()
        .map(|modality| modality.name())
        .collect();
    json!({"type": "string", "enum": names})
}

pub(super) fn state() -> Value {
    json!({"type": "string", "enum": ["registered", "ready", "loading", "unavailable", "unloading"]})
}

/// A model where the path names it.
pub(super) fn model() -> Value {
    json!({
        "type": "object",
        "description": "What a client says of a model.",
        "properties": members(),
        "additionalProperties": false,
    })
}

/// A model that the document names.
pub(super) fn new_model() -> Value {
    let mut schema = model();
    schema["required"] = json!(["name"]);
    schema
}

/// A change: `null` for what is to go, also within the labels and the settings.
pub(super) fn model_patch() -> Value {
    let mut schema = model();
    schema["description"] = "What is to change of a model. `null` takes a member out.".into();
    for (name, member) in schema["properties"].as_object_mut().into_iter().flatten() {
        match name.as_str() {
            "name" => {}
            "labels" => {
                member["type"] = json!(["object", "null"]);
                member["additionalProperties"]["type"] = json!(["string", "null"]);
            }
            _ => {
                let kind = member["type"].take();
                member["type"] = json!([kind, "null"]);
            }
        }
    }
    schema
}

fn members() -> Value {
    json!({
        "name": {"type": "string", "pattern": NAME, "description": "A model keeps its name."},
        "description": {"type": "string", "maxLength": 4096, "description": "What the model is for."},
        "modalities": {
            "type": "array", "uniqueItems": true, "items": modality(),
            "description": "What goes into it.",
        },
        "labels": {
            "type": "object", "maxProperties": 64,
            "propertyNames": {"pattern": NAME},
            "additionalProperties": {"type": "string", "maxLength": 256, "pattern": PLAIN},
            "description": "Words to find it by.",
        },
        "settings": {
            "type": "object",
            "description": "How it is served: the tables of `model.toml`, as its reference has them.",
        },
    })
}

/// The keys of a file of `routes/`.
pub(super) fn route() -> Value {
    let name = json!({"type": "string", "pattern": NAME});
    let stage = json!({"anyOf": [name, {
        "type": "object",
        "required": ["plugin"],
        "properties": {"plugin": name, "on_failure": {"type": "string", "enum": ["closed", "skip", "previous"]}},
        "additionalProperties": false,
    }]});
    let target = json!({
        "model": name,
        "upstream": name,
        "version": {"type": "integer", "minimum": 1, "maximum": i64::MAX},
    });
    let candidate = super::joined(
        &target,
        &json!({"labels": {"type": "array", "items": {"type": "string"}}}),
    );
    let more = json!({
        "router": stage,
        "candidates": {
            "type": "array",
            "items": {"type": "object", "properties": candidate, "additionalProperties": false},
        },
        "pre": {"type": "array", "items": stage},
        "post": {"type": "array", "items": stage},
        "timeout_ms": {"type": "integer", "minimum": 1},
        "max_in_flight": {"type": "integer", "minimum": 1, "maximum": u32::MAX},
        "max_body_bytes": {"type": "integer", "minimum": 1},
        "body_timeout_ms": {"type": "integer", "minimum": 1},
        "input": {"type": "string", "enum": ["body", "tensors"]},
        "tenants": {"type": "array", "items": {"type": "string"}},
    });
    json!({
        "type": "object",
        "description": "The keys of a route file. What it names must be there.",
        "properties": super::joined(&target, &more),
        "additionalProperties": false,
    })
}
