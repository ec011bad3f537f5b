//! The settings of log and traces that clients may see and change.

use http::StatusCode;
use serde_json::{Value, json};

use crate::oip::logging::LogSettings;
use crate::openapi::operation::{JSON, Operation, get, post, reference};

const TAG: &str = "settings";
const OPEN_TO: &str = "All of them change, or none. Open to clients of the server's own machine, unless `server.management` says otherwise.";

pub(super) fn operations() -> Vec<Operation> {
    let log = json!({
        "log_file": "", "log_info": true, "log_warning": true, "log_error": true, "log_verbose_level": 0,
        "log_format": "text",
    });
    vec![
        get("/v2/logging", "logSettings")
            .under(TAG)
            .about("What the log has", "")
            .answers::<LogSettings>("The settings in force.", &log)
            .refuses(&[501]),
        post("/v2/logging", "changeLogSettings")
            .under(TAG)
            .about("Changes what the log has", OPEN_TO)
            .body(
                JSON,
                &reference("LogChanges"),
                &json!({"log_verbose_level": 1}),
            )
            .answers::<LogSettings>("The settings in force.", &log)
            .refuses(&[501])
            .with_schema("LogChanges", log_changes()),
        traces("/v2/trace/setting", "traceSettings"),
        change_traces("/v2/trace/setting", "changeTraceSettings"),
        traces("/v2/models/{model}/trace/setting", "modelTraceSettings"),
        change_traces(
            "/v2/models/{model}/trace/setting",
            "changeModelTraceSettings",
        ),
    ]
}

fn traces(path: &'static str, id: &'static str) -> Operation {
    answers_traces(get(path, id)).about(
        "Which requests are traced",
        "A model follows the settings for all, but for those that were set for it.",
    )
}

fn change_traces(path: &'static str, id: &'static str) -> Operation {
    answers_traces(post(path, id))
        .about("Changes which requests are traced", OPEN_TO)
        .body(
            JSON,
            &reference("TraceChanges"),
            &json!({"trace_level": ["OFF"], "trace_rate": "100"}),
        )
        .refuses(&[422])
        .with_schema("TraceChanges", trace_changes())
}

fn answers_traces(operation: Operation) -> Operation {
    operation
        .under(TAG)
        .answer(
            (StatusCode::OK, "The settings in force."),
            JSON,
            &reference("TraceSettings"),
            &json!({
                "trace_level": ["OFF"], "trace_rate": "1", "trace_count": "-1", "log_frequency": "0", "trace_file": "",
                "trace_mode": "opentelemetry",
            }),
        )
        .with_schema("TraceSettings", trace_settings())
}

fn log_changes() -> Value {
    json!({
        "type": "object",
        "description": "Settings of the log that are to change.",
        "properties": {
            "log_info": {"type": "boolean"},
            "log_warning": {"type": "boolean"},
            "log_error": {"type": "boolean"},
            "log_verbose_level": {
                "type": "integer", "minimum": 0, "maximum": u32::MAX,
                "description": "1 what helps to debug, from 2 on everything.",
            },
            "log_file": {"const": "", "description": "The log goes to standard error."},
        },
        "additionalProperties": false,
    })
}

fn trace_settings() -> Value {
    let text = |says: &str| json!({"type": "string", "description": says});
    json!({
        "type": "object",
        "description": "Which requests are traced.",
        "required": ["trace_level", "trace_rate", "trace_count", "log_frequency", "trace_file", "trace_mode"],
        "properties": {
            "trace_level": {"type": "array", "items": {"type": "string", "enum": ["OFF", "TIMESTAMPS"]}},
            "trace_rate": text("One of so many requests is traced."),
            "trace_count": text("The most requests that are traced; -1 without a limit."),
            "log_frequency": text("Always 0: traces are exported as they come."),
            "trace_file": text("Always empty: traces go to `telemetry.otlp_endpoint`."),
            "trace_mode": text("Always `opentelemetry`."),
        },
    })
}

/// Each setting takes null, which clears what was set.
fn trace_changes() -> Value {
    let level = json!({"type": "string", "enum": ["OFF", "TIMESTAMPS"]});
    json!({
        "type": "object",
        "description": "Settings of traces that are to change; `null` clears what was set.",
        "properties": {
            "trace_level": {"anyOf": [level, {"type": "array", "items": level}, {"type": "null"}]},
            "trace_rate": {
                "type": ["string", "integer", "null"], "pattern": "^[1-9][0-9]{0,9}$", "minimum": 1, "maximum": u32::MAX,
            },
            "trace_count": {
                "type": ["string", "integer", "null"], "pattern": "^(-1|0|[1-9][0-9]{0,9})$", "minimum": -1,
                "maximum": u32::MAX,
            },
        },
        "additionalProperties": false,
    })
}
