//! What the public listener says of itself, outside of the Open Inference Protocol.

use http::StatusCode;
use serde_json::{Value, json};

use super::operation::{JSON, Operation, get};
use crate::catalog;

const SERVER: &str = "server";
const HEALTH: &str = "health";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/", "index")
            .under(SERVER)
            .about("What the server is, and what it answers", "")
            .answers::<catalog::Index>(
                "The version, and the endpoints.",
                &json!({
                    "name": "wharf", "version": env!("CARGO_PKG_VERSION"), "ready": true, "generation": 7,
                    "endpoints": ["POST /v1/infer/{route}", "GET /v1/routes"],
                }),
            ),
        get("/openapi.json", "openapi")
            .under(SERVER)
            .about(
                "This document",
                "Of the site that is served: it has a path for each route in force. `/docs` shows it.",
            )
            .answer(
                (StatusCode::OK, "A document of OpenAPI 3.1."),
                JSON,
                &json!({"type": "object"}),
                &json!({"openapi": "3.1.0", "info": {"title": "Wharf", "version": "0.1.0"}, "paths": {}}),
            ),
        get("/v1/routes", "listRoutes")
            .under(SERVER)
            .about(
                "The routes in force",
                "Every model has a route of its own name. A route that takes a body begins with a plugin; others take tensors.",
            )
            .answers::<catalog::Routes>("The routes, sorted by name.", &routes()),
        get("/v1/plugins", "listPlugins")
            .under(SERVER)
            .about("The plugins in force", "")
            .answers::<catalog::Plugins>(
                "The plugins, sorted by name.",
                &json!({"plugins": [plugin()]}),
            ),
        get("/v2/health/live", "live")
            .under(HEALTH)
            .about("Whether the process is alive", "")
            .answers::<catalog::Live>("It is.", &json!({"live": true})),
        get("/v2/health/ready", "ready")
            .under(HEALTH)
            .about(
                "Whether requests are to be sent here",
                "The site is loaded, and something of it serves where it has something to serve.",
            )
            .answers::<catalog::Ready>("They are.", &json!({"ready": true}))
            .answers_with::<catalog::Ready>(
                StatusCode::BAD_REQUEST,
                "They are not, as clients of Triton know it; or the request is malformed.",
                &json!({"ready": false}),
            ),
    ]
}

pub(super) const DIGEST: &str =
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";

pub(super) fn plugin() -> Value {
    json!({
        "name": "top-k", "version": "0.1.0", "summary": "Names the classes with the highest scores.",
        "digest": DIGEST, "contract": "1.0.0", "stages": ["postprocess"], "isolation": "request",
    })
}

fn routes() -> Value {
    let tensor = json!({"name": "input", "datatype": "FP32", "shape": [-1, 4]});
    json!({"routes": [
        {
            "name": "digits", "implicit": false, "input": "body",
            "router": {"plugin": "canary", "on_failure": "fail"},
            "candidates": [{"model": "digits", "version": 2, "labels": ["stable"]}],
            "pre": [{"plugin": "image-to-tensor", "on_failure": "fail"}],
            "post": [{"plugin": "top-k", "on_failure": "fail"}],
            "timeout_ms": 30_000, "max_in_flight": 1024, "in_flight": 0,
        },
        {
            "name": "iris", "implicit": true, "input": {"tensors": [tensor]},
            "candidates": [{"model": "iris", "version": 1, "labels": []}],
            "pre": [], "post": [], "timeout_ms": 30_000, "max_in_flight": 1024, "in_flight": 3,
        },
    ]})
}
