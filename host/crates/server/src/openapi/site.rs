//! The routes of a site, each with what it takes and gives.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use wharf_core::TensorSpec;
use wharf_serving::{Route, RouteInput, RouteOutput};

use super::inference::{BINARY, REFUSES as REFUSED, TAG, binary};
use super::operation::{JSON, REFUSES, media, reference};
use super::tensors::{self, Way};

/// Adds a path for each of these routes.
pub(super) fn add_routes<'r>(document: &mut Value, routes: impl Iterator<Item = &'r Route>) {
    let mut ids = BTreeSet::new();
    for route in routes {
        let name = route.name().as_str();
        let id = unused(&mut ids, name);
        document["paths"][format!("/v1/infer/{name}")]["post"] = json!({
            "operationId": id,
            "tags": [TAG],
            "summary": format!("Runs {name}"),
            "description": about(route),
            "requestBody": {"required": true, "content": content(route)},
            "responses": {"200": {"description": "What the route gives.", "content": answer(route)}},
            REFUSES: REFUSED,
        });
    }
}

/// The name of a function: of two routes whose names differ in their marks alone, the later one gets a number.
fn unused(ids: &mut BTreeSet<String>, name: &str) -> String {
    let plain = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter
        } else {
            '_'
        }
    };
    let first = format!("infer_{}", name.chars().map(plain).collect::<String>());
    let mut id = first.clone();
    let mut count = 1;
    while !ids.insert(id.clone()) {
        count += 1;
        id = format!("{first}_{count}");
    }
    id
}

fn about(route: &Route) -> String {
    let models: Vec<String> = route
        .models()
        .map(|model| format!("{} {}", model.info().name, model.info().version))
        .collect();
    let takes = match route.input() {
        RouteInput::Body => "It takes a body of any media type, which its first plugin reads.",
        RouteInput::Tensors(_) if !route.is_described() => {
            "It takes tensors; which these are, the server of its model says."
        }
        RouteInput::Tensors(_) => "It takes tensors. The arrays of a dimension are equally long.",
    };
    format!("{takes} Models: {}.", models.join(", "))
}

fn content(route: &Route) -> Value {
    match route.input() {
        RouteInput::Body => json!({BINARY: {"schema": binary()}}),
        RouteInput::Tensors(_) if !route.is_described() => {
            json!({JSON: {"schema": reference("NativeRequest")}})
        }
        RouteInput::Tensors(specs) => tensors("input", specs, Way::In),
    }
}

/// A body's media type is known only once its plugin has made it.
fn answer(route: &Route) -> Value {
    match route.outputs() {
        RouteOutput::Body => json!({JSON: {"schema": {}}, "*/*": {"schema": {}}}),
        RouteOutput::Tensors(_) if !route.is_described() => json!({JSON: {"schema": {}}}),
        RouteOutput::Tensors(specs) => tensors("output", specs, Way::Out),
    }
}

/// Tensors under a key: of one its elements, of several an object.
fn tensors(key: &str, specs: &[TensorSpec], way: Way) -> Value {
    let (schema, example) = match specs {
        [spec] => (tensors::schema(spec, way), tensors::example(spec)),
        specs => (object(specs, way), examples(specs)),
    };
    let schema = json!({
        "type": "object", "required": [key], "properties": {key: schema}, "additionalProperties": false,
    });
    let example = example.map_or(Value::Null, |example| json!({key: example}));
    json!({JSON: media(&schema, &example)})
}

fn object(specs: &[TensorSpec], way: Way) -> Value {
    let required: Vec<&str> = specs
        .iter()
        .filter(|spec| !spec.optional)
        .map(|spec| &*spec.name)
        .collect();
    let properties: Map<String, Value> = specs
        .iter()
        .map(|spec| (spec.name.to_string(), tensors::schema(spec, way)))
        .collect();
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn examples(specs: &[TensorSpec]) -> Option<Value> {
    let given = specs.iter().filter(|spec| !spec.optional);
    let examples: Option<Map<String, Value>> = given
        .map(|spec| Some((spec.name.to_string(), tensors::example(spec)?)))
        .collect();
    examples.map(Value::Object)
}
