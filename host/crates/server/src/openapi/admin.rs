//! What operators ask and order, on the admin listener.

use http::StatusCode;
use serde_json::{Value, json};

use super::native::DIGEST;
use super::operation::{JSON, Operation, get, post};
use crate::admin::bundles::Bundles;
use crate::admin::document::{Reload, Snapshot};

const TAG: &str = "operators";

pub(super) fn operations() -> Vec<Operation> {
    vec![
        get("/metrics", "metrics")
            .under(TAG)
            .about("Every metric of the process", "In the text format of Prometheus.")
            .answer(
                (StatusCode::OK, "The metrics."),
                "text/plain",
                &json!({"type": "string"}),
                &json!("# TYPE wharf_generation gauge\nwharf_generation 7\n"),
            ),
        get("/openapi.json", "openapi")
            .under(TAG)
            .about("This document", "`/docs` shows it.")
            .answer(
                (StatusCode::OK, "A document of OpenAPI 3.1."),
                JSON,
                &json!({"type": "object"}),
                &json!({"openapi": "3.1.0", "info": {"title": "Wharf, for operators", "version": "0.1.0"}, "paths": {}}),
            ),
        get("/admin/snapshot", "snapshot")
            .under(TAG)
            .about("What is loaded, what drains, and what was refused", "")
            .answers::<Snapshot>("The state of the site.", &snapshot()),
        post("/admin/reload", "reload")
            .under(TAG)
            .about(
                "Looks at the whole site again",
                "Answers 200 also where things were refused: the reload was done, and the document says what it found.",
            )
            .answers::<Reload>(
                "What came of it.",
                &json!({"generation": 8, "changed": true, "errors": []}),
            ),
        get("/admin/bundles", "listBundles")
            .under(TAG)
            .about("The releases of bundles, and how they do", "")
            .answers::<Bundles>("The bundles, sorted by name.", &bundles()),
        post("/admin/bundles/{bundle}/promote", "promoteBundle")
            .under(TAG)
            .about(
                "Puts a release into force",
                "The one on trial, where none is named.",
            )
            .parameter(
                "query",
                "release",
                &json!({
                    "description": "The number of a release.",
                    "schema": {"type": "integer", "minimum": 0},
                    "example": 3,
                }),
            )
            .answers::<Bundles>("The bundles after it.", &bundles())
            .refuses(&[409, 422]),
        post("/admin/bundles/{bundle}/rollback", "rollBackBundle")
            .under(TAG)
            .about("Goes back to the release before", "")
            .answers::<Bundles>("The bundles after it.", &bundles())
            .refuses(&[409, 422]),
    ]
}

const AT: &str = "2026-11-29T12:00:00.000Z";

fn snapshot() -> Value {
    json!({
        "generation": 7, "loaded": true, "ready": true,
        "plugins": [{
            "name": "top-k", "digest": DIGEST, "loaded_at": AT, "previous_digest": null, "rejected_digest": null,
            "calls": 120, "faults": 0, "consecutive_faults": 0,
        }],
        "models": [{
            "name": "iris", "version": 1, "labels": ["stable"], "digest": DIGEST, "loaded_at": AT, "device": "cpu",
            "queue_depth": 0, "in_flight": 1, "latency_us": 38, "free_memory_bytes": 8_589_934_592_u64,
        }],
        "draining": [{"kind": "model", "subject": "digits/1", "since": AT, "references": 2}],
        "errors": [{"file": "routes/shop.toml", "key": "model", "message": "there is no model shop", "since": AT}],
        "events": [{"at": AT, "kind": "loaded", "file": "models/iris/1", "message": ""}],
    })
}

fn bundles() -> Value {
    json!({"bundles": [{
        "name": "shop", "mode": "auto", "pinned_release": null,
        "releases": [{
            "release": 3, "state": "on-trial", "digest": DIGEST, "loaded_at": AT, "share_percent": 5.0, "step": 1,
            "counts": {
                "requests": 200, "faults": 0, "refused": 0, "error_rate": 0.0, "latency_p50_us": 900,
                "latency_p95_us": 1500,
            },
        }],
    }]})
}
