//! Plugins and routes: files of the site that are read and put there as they are.

use http::StatusCode;
use serde_json::{Value, json};

use super::{OPEN_TO, TAG, if_match, if_none_match, schemas, unless_known};
use crate::catalog::PluginDocument;
use crate::openapi::inference::binary;
use crate::openapi::native::plugin;
use crate::openapi::operation::{JSON, Operation, delete, get, put, reference};

const PLUGIN: &str = "/v1/plugins/{plugin}";
const SETTINGS: &str = "/v1/plugins/{plugin}/settings";
const ROUTE: &str = "/v1/routes/{route}";
const WASM: &str = "application/wasm";
const TOML: &str = "application/toml";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        read_plugin(),
        lands(
            put(PLUGIN, "replacePlugin"),
            "Puts a plugin into the site",
            "Its component. It is compiled, started and tested first.",
        )
        .body(WASM, &binary(), &Value::Null)
        .needs_body(),
        taken_out(
            delete(PLUGIN, "deletePlugin"),
            "Takes a plugin out of the site",
        ),
        read_settings(),
        lands(
            put(SETTINGS, "replacePluginSettings"),
            "Puts the settings of a plugin into the site",
            "The plugin is started and tested with them first.",
        )
        .body(
            TOML,
            &json!({"type": "string"}),
            &json!("[limits]\nmemory_mb = 32\n"),
        )
        .needs_body(),
        read_route(),
        replace_route(),
        taken_out(
            delete(ROUTE, "deleteRoute"),
            "Takes a route out of the site",
        ),
    ]
}

fn read_plugin() -> Operation {
    let operation = get(PLUGIN, "readPlugin")
        .under(TAG)
        .about(
            "A plugin of the site",
            "What is in force of it, or with `Accept: application/wasm` its component, whose `ETag` it has. The component is shown to clients of no \
             tenant alone, and it alone answers 304: what is in force is always told anew.",
        )
        .answers::<PluginDocument>("The plugin.", &plugin())
        .answer((StatusCode::OK, "The plugin."), WASM, &binary(), &Value::Null)
        .sends(StatusCode::OK, &["ETag", "Vary"]);
    unless_known(operation)
}

fn read_settings() -> Operation {
    let operation = get(SETTINGS, "readPluginSettings")
        .under(TAG)
        .about(
            "The settings of a plugin",
            "The text of `plugins/NAME.toml`, for clients of no tenant.",
        )
        .answer(
            (StatusCode::OK, "The settings."),
            TOML,
            &json!({"type": "string"}),
            &json!("[limits]\nmemory_mb = 32\n"),
        )
        .sends(StatusCode::OK, &["ETag"]);
    unless_known(operation)
}

fn read_route() -> Operation {
    let operation = get(ROUTE, "readRoute")
        .under(TAG)
        .about("A route of the site", "What its file says. What is read may be sent back. The route that every model has of its own name has no file.")
        .answer((StatusCode::OK, "The keys of its file."), JSON, &reference("RouteFile"), &route())
        .sends(StatusCode::OK, &["ETag"])
        .with_schema("RouteFile", schemas::route());
    unless_known(operation)
}

fn replace_route() -> Operation {
    let operation = put(ROUTE, "replaceRoute")
        .under(TAG)
        .about(
            "Puts a route into the site",
            &format!("As the keys of its file. It is checked before it lands. What is there is replaced only with `If-Match`. {OPEN_TO}"),
        )
        .body(JSON, &reference("RouteFile"), &route())
        .needs_body()
        .answer((StatusCode::OK, "The route is replaced."), JSON, &reference("RouteFile"), &route())
        .sends(StatusCode::OK, &["ETag"])
        .answer((StatusCode::CREATED, "The route is there."), JSON, &reference("RouteFile"), &route())
        .sends(StatusCode::CREATED, &["ETag", "Location"]);
    if_none_match(if_match(operation)).refuses(&[409, 412, 422, 428, 507])
}

/// What puts a file into the site.
fn lands(operation: Operation, summary: &str, about: &str) -> Operation {
    let operation = operation
        .under(TAG)
        .about(
            summary,
            &format!("{about} What is there is replaced only with `If-Match`. {OPEN_TO}"),
        )
        .answers_empty(StatusCode::NO_CONTENT, "It is replaced.")
        .sends(StatusCode::NO_CONTENT, &["ETag"])
        .answers_empty(StatusCode::CREATED, "It is there.")
        .sends(StatusCode::CREATED, &["ETag", "Location"]);
    if_none_match(if_match(operation)).refuses(&[409, 412, 422, 428, 507])
}

/// What takes a file out of the site.
fn taken_out(operation: Operation, summary: &str) -> Operation {
    let operation = operation
        .under(TAG)
        .about(
            summary,
            &format!(
                "What something else of the site needs stays: 409 or 422 says what. {OPEN_TO}"
            ),
        )
        .answers_empty(StatusCode::NO_CONTENT, "It is gone.");
    if_match(operation).refuses(&[409, 412, 422, 507])
}

fn route() -> Value {
    json!({"model": "iris", "timeout_ms": 5000})
}
