//! What the API is, in the words of OpenAPI 3.1: a document that programs make clients from, and people read at `/docs`.
//!
//! Schemas come from the types that are served, and examples of problems from the code that writes them. What an operation takes
//! and gives stands beside its kind: [`native`], [`inference`], [`management`], [`managed`], [`admin`]. A test compares the paths and
//! methods with those that the listeners have, both ways. Parts that have descriptions of their own, made by
//! `#[derive(OpenApi)]`, join in [`parts`].
//!
//! There is a document of each build, and where a site is served one of that site: it has a path for each route, with the datatypes
//! and shapes that the route takes.

mod operation;
mod refusals;

mod admin;
mod inference;
mod managed;
mod management;
mod native;

mod complete;
mod site;
mod tensors;

mod page;

use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;
use wharf_serving::{Route, Snapshot};

use crate::endpoint::Surface;
use complete::complete;
use operation::Operation;

pub(crate) use page::router;

/// What people read first.
const ABOUT: &str = "A model server that people extend with sandboxed WebAssembly components.\n\n\
    Routes answer under `/v1/infer`, and as models of the Open Inference Protocol under `/v2`, with the extensions of Triton. The same \
    port speaks gRPC: the service `inference.GRPCInferenceService`, with reflection.\n\n\
    Every answer names its request in `X-Request-Id`; a client may choose the id. Every refusal is a problem document (RFC 9457). \
    Paths that take `GET` take `HEAD` as well.\n\n\
    What there is to manage is under `/v1` and `/v2`: models with their artifacts and versions, plugins, routes. An `ETag` names what is \
    there; who replaces it says by `If-Match` what it replaces. A `POST` with an `Idempotency-Key` is done once. What takes longer is an \
    operation, and `Prefer: wait=30` waits for it.";
const ABOUT_ADMIN: &str = "What operators ask and order of a Wharf process: what is loaded and what was refused, metrics, reload, releases of \
    bundles.";

/// The document of the public listener, the same for every site.
#[must_use]
pub fn public() -> String {
    write(&document(Surface::Public))
}

/// The document of the admin listener.
#[must_use]
pub fn admin() -> String {
    write(&document(Surface::Admin))
}

/// The document of the public listener of a site, with a path for each of its routes.
#[must_use]
pub fn of_site(snapshot: &Snapshot) -> String {
    of_some(snapshot, |_| true)
}

/// The same with some of the routes.
fn of_some(snapshot: &Snapshot, shown: impl Fn(&Route) -> bool) -> String {
    let mut document = described(Surface::Public);
    let routes = snapshot.routes().map(|route| &**route);
    site::add_routes(&mut document, routes.filter(|route| shown(route)));
    complete(&mut document, Surface::Public);
    write(&document)
}

/// The document of a listener.
fn document(surface: Surface) -> Value {
    let mut document = described(surface);
    complete(&mut document, surface);
    document
}

/// The document, without what all operations have in common.
fn described(surface: Surface) -> Value {
    let (title, about, operations) = match surface {
        Surface::Public => ("Wharf", ABOUT, public_operations()),
        Surface::Admin => ("Wharf, for operators", ABOUT_ADMIN, admin::operations()),
    };
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "description": about,
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": {},
        "components": {"schemas": {}},
    });
    for operation in operations {
        operation.add_to(&mut document);
    }
    for part in parts(surface) {
        merge(&mut document, &part);
    }
    document
}

fn public_operations() -> Vec<Operation> {
    let mut operations = native::operations();
    operations.extend(inference::operations());
    operations.extend(management::operations());
    operations.extend(managed::operations());
    operations
}

/// The parts that describe themselves.
fn parts(_surface: Surface) -> Vec<OpenApi> {
    Vec::new()
}

/// Takes paths and schemas of a part over.
fn merge(document: &mut Value, part: &OpenApi) {
    let part = serde_json::to_value(part).unwrap_or_default();
    let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
    for (path, item) in members(&part["paths"]) {
        let known = object(&mut document["paths"]);
        let place = known.entry(path).or_insert_with(|| json!({}));
        object(place).extend(members(&item));
    }
    object(&mut document["components"]["schemas"]).extend(members(&part["components"]["schemas"]));
}

/// The members of what is an object, made one where it was something else.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = json!({});
    }
    value.as_object_mut().expect("it was made an object")
}

fn write(document: &Value) -> String {
    format!("{document:#}")
}

#[cfg(test)]
mod tests;
