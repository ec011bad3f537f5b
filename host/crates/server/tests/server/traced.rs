//! Which requests have spans, over every protocol alike.

use std::sync::{Arc, Mutex};

use futures_util::stream;
use serde_json::{Value, json};
use tonic::Code;
use tonic::metadata::MetadataValue;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use wharf_core::SPAN_TARGET;
use wharf_server::inference::ModelInferRequest;
use wharf_testkit::{FakeGatekeeper, Site, eventually};

use crate::support::grpc::{floats, input};
use crate::support::http::{infer, post, post_with};
use crate::support::{Running, Setup, local};

/// Keeps the spans that are made, and what is recorded of calls.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    names: Vec<&'static str>,
    codes: Vec<String>,
    tenants: Vec<String>,
}

impl<S: Subscriber> Layer<S> for Spans {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.is_span() && metadata.target() == SPAN_TARGET
    }

    fn on_new_span(&self, span: &Attributes<'_>, _: &Id, _: Context<'_, S>) {
        self.0.lock().unwrap().names.push(span.metadata().name());
    }

    fn on_record(&self, _: &Id, values: &Record<'_>, _: Context<'_, S>) {
        values.record(&mut *self.0.lock().unwrap());
    }
}

impl Visit for Seen {
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "rpc.response.status_code" => self.codes.push(value.to_owned()),
            "tenant.id" => self.tenants.push(value.to_owned()),
            _ => {}
        }
    }
}

impl Spans {
    /// Sees the spans of this thread until the guard is dropped: the server of a test runs on the thread of the test.
    fn subscribe(&self) -> DefaultGuard {
        let registry = tracing_subscriber::registry().with(self.clone());
        tracing::subscriber::set_default(registry)
    }

    /// The names of the spans that were made since the last call.
    fn names(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.0.lock().unwrap().names)
    }

    /// The tenants that were noted since the last call.
    fn tenants(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().tenants)
    }

    /// How calls ended since the last call.
    fn codes(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().codes)
    }
}

/// A server with models `echo` and `plain`, which take and give two numbers a row, and a route `staged` to the latter with
/// two stages.
async fn start() -> Running {
    setup().start().await
}

fn setup() -> Setup {
    let site = Site::new();
    site.model("echo", 1, "input x FP32 * 2\noutput y FP32 * 2");
    site.plugin("same", "scale 1");
    site.model("plain", 1, "input input FP32 * 2\noutput y FP32 * 2");
    let stages = "model = \"plain\"\npre = [\"same\"]\npost = [\"same\"]\ninput = \"tensors\"\n";
    site.route("staged", stages);
    Setup {
        traces: true,
        ..Setup::new(local(), site)
    }
}

async fn set(server: &Running, path: &str, settings: Value) {
    let answer = server.post(path, settings.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// A request of one row.
fn row(route: &str) -> ModelInferRequest {
    ModelInferRequest {
        inputs: vec![input("input", "FP32", &[1, 2])],
        ..floats(route, &[1.0, 2.0])
    }
}

/// Asks a route over the native protocol, over REST and over gRPC, by itself and in a stream.
async fn ask(server: &Running, protocol: &str, route: &str) {
    match protocol {
        "native" => {
            let answer = post(server.address, route, r#"{"input": [1, 2]}"#).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        "rest" => {
            let body = json!({"inputs": [
                {"name": "input", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]},
            ]});
            let path = format!("{route}/infer");
            let answer = infer(server.address, &path, "", body.to_string().as_bytes()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        "grpc" => {
            let mut client = server.client().await;
            client.model_infer(row(route)).await.unwrap();
        }
        _ => {
            let asked = stream::iter([row(route)]);
            let answers = server.client().await.model_stream_infer(asked).await;
            let answer = answers.unwrap().into_inner().message().await;
            assert_eq!(answer.unwrap().unwrap().error_message, "");
        }
    }
}

const PROTOCOLS: [&str; 4] = ["native", "rest", "grpc", "stream"];
const ALL: &str = "/v2/trace/setting";

#[tokio::test]
async fn the_settings_of_a_model_hold_over_every_protocol() {
    let spans = Spans::default();
    let _subscribed = spans.subscribe();
    let server = start().await;
    let own = "/v2/models/plain/trace/setting";
    for protocol in PROTOCOLS {
        let span = match protocol {
            "native" | "rest" => "request",
            _ => "call",
        };
        let count = async |route: &str, requests: usize| {
            spans.names();
            for _ in 0..requests {
                ask(&server, protocol, route).await;
            }
            let names = spans.names();
            names.iter().filter(|name| **name == span).count()
        };
        assert_eq!(count("plain", 4).await, 4, "{protocol}");
        // Nothing is traced but one model, and of that every second request.
        set(&server, ALL, json!({"trace_level": ["OFF"]})).await;
        assert_eq!(count("plain", 4).await, 0, "{protocol}");
        let settings = json!({"trace_level": ["TIMESTAMPS"], "trace_rate": "2"});
        set(&server, own, settings).await;
        assert_eq!(count("plain", 6).await, 3, "{protocol}");
        assert_eq!(count("staged", 6).await, 0, "{protocol}");
        // Everything is traced but one model.
        set(&server, ALL, json!({"trace_level": null})).await;
        set(
            &server,
            own,
            json!({"trace_level": ["OFF"], "trace_rate": null}),
        )
        .await;
        assert_eq!(count("plain", 4).await, 0, "{protocol}");
        assert_eq!(count("staged", 4).await, 4, "{protocol}");
        set(&server, own, json!({"trace_level": null})).await;
        assert_eq!(count("plain", 4).await, 4, "{protocol}");
    }
    server.end().await;
}

#[tokio::test]
async fn what_is_not_traced_has_no_span_in_any_stage() {
    let spans = Spans::default();
    let _subscribed = spans.subscribe();
    let server = start().await;
    for protocol in PROTOCOLS {
        set(&server, ALL, json!({"trace_level": null})).await;
        spans.names();
        ask(&server, protocol, "staged").await;
        let names = spans.names();
        assert_eq!(names[1..], ["preprocess", "postprocess"], "{protocol}");
        set(&server, ALL, json!({"trace_level": ["OFF"]})).await;
        spans.names();
        ask(&server, protocol, "staged").await;
        assert_eq!(spans.names(), [""; 0], "{protocol}");
    }
    server.end().await;
}

#[tokio::test]
async fn a_span_says_how_its_call_ended_also_where_the_model_decides() {
    let spans = Spans::default();
    let _subscribed = spans.subscribe();
    let server = start().await;
    let mut client = server.client().await;
    let wrong = ModelInferRequest {
        inputs: vec![input("x", "FP32", &[1, 3])],
        ..floats("echo", &[1.0, 2.0])
    };
    for own in [false, true] {
        if own {
            let settings = json!({"trace_level": ["TIMESTAMPS"]});
            set(&server, "/v2/models/echo/trace/setting", settings).await;
        }
        let status = client.model_infer(wrong.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        client
            .model_infer(floats("echo", &[1.0, 2.0]))
            .await
            .unwrap();
        // A name that nothing has follows the settings for all.
        let none = client.model_infer(floats("none", &[1.0, 2.0])).await;
        assert_eq!(none.unwrap_err().code(), Code::NotFound);
        let asked = stream::iter([wrong.clone(), floats("echo", &[1.0, 2.0])]);
        let answers = client.model_stream_infer(asked).await.unwrap();
        let mut answers = answers.into_inner();
        while answers.message().await.unwrap().is_some() {}
        let mut codes = Vec::new();
        eventually("every call has ended", || {
            codes.extend(spans.codes());
            codes.len() == 5
        })
        .await;
        let expected = [
            "INVALID_ARGUMENT",
            "OK",
            "NOT_FOUND",
            "INVALID_ARGUMENT",
            "OK",
        ];
        assert_eq!(codes, expected, "{own}");
    }
    server.end().await;
}

/// A call of the holder of a key.
fn by<T>(key: &str, message: T) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    let key: MetadataValue<_> = key.parse().unwrap();
    request.metadata_mut().insert("x-api-key", key);
    request
}

#[tokio::test]
async fn a_span_names_the_tenant_once_it_is_known() {
    let spans = Spans::default();
    let _subscribed = spans.subscribe();
    let callers = FakeGatekeeper::default()
        .with("ada", Some("acme"), &["*"])
        .with("operator", None, &["*"]);
    let setup = Setup {
        gatekeeper: Some(Arc::new(callers)),
        ..setup()
    };
    let server = setup.start().await;
    for own in [false, true] {
        if own {
            // Which calls have a span is known with their messages then.
            let path = "/v2/models/plain/trace/setting";
            let fields = "X-API-Key: operator\r\nContent-Type: application/json\r\n";
            let settings = json!({"trace_level": ["TIMESTAMPS"]}).to_string();
            let answer = server.send("POST", path, fields, settings.as_bytes()).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        for (key, tenants) in [("ada", &["acme"][..]), ("operator", &[]), ("nobody", &[])] {
            spans.tenants();
            let fields = format!("X-API-Key: {key}\r\nContent-Type: application/json\r\n");
            post_with(server.address, "plain", &fields, r#"{"input": [1, 2]}"#).await;
            assert_eq!(spans.tenants(), tenants, "{key} over HTTP");
            let mut client = server.client().await;
            // Whether it is let in is not what this is about.
            let _ = client.model_infer(by(key, row("plain"))).await;
            assert_eq!(spans.tenants(), tenants, "{key} over gRPC");
            let asked = by(key, stream::iter([row("plain")]));
            if let Ok(answers) = client.model_stream_infer(asked).await {
                let _ = answers.into_inner().message().await;
            }
            assert_eq!(spans.tenants(), tenants, "{key} in a stream");
        }
    }
    server.idle().await;
    server.shutdown.cancel();
    server.serve.await.unwrap();
}
