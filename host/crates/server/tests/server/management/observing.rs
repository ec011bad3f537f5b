//! The settings of log and traces, and what they do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde_json::{Value, json};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use wharf_core::SPAN_TARGET;
use wharf_server::LogControl;

use super::log::FakeLog;
use super::{ROW, setup, start};
use crate::support::http::post;
use crate::support::{Running, Setup};

#[tokio::test]
async fn levels_of_the_log_are_changed_together_or_not_at_all() {
    let log = Arc::new(FakeLog::default());
    let logging: Arc<dyn LogControl> = log.clone();
    let server = Setup {
        logging: Some(logging),
        ..setup()
    }
    .start()
    .await;
    let read = server.json("/v2/logging").await;
    assert_eq!(
        read,
        json!({"log_file": "", "log_info": true, "log_warning": true, "log_error": true,
            "log_verbose_level": 0, "log_format": "text"})
    );
    let answer = server
        .post(
            "/v2/logging",
            r#"{"log_verbose_level": 2, "log_info": false}"#,
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(
        (
            answer.json()["log_verbose_level"].clone(),
            answer.json()["log_info"].clone()
        ),
        (json!(2), json!(false))
    );
    let levels = log.levels();
    assert!(!levels.info && levels.verbose == 2);
    // What was read is taken back.
    assert_eq!(
        server.post("/v2/logging", read.to_string()).await.status,
        200
    );
    for (name, value) in [
        ("log_file", json!("/tmp/log")),
        ("log_format", json!("ISO8601")),
        ("log_info", json!("true")),
        ("log_info", json!(1)),
        ("log_verbose_level", json!(-1)),
        ("log_verbose_level", json!(1_u64 << 32)),
        ("log_verbose_level", json!(0.5)),
        ("log_error", json!(null)),
        ("made_up", json!(true)),
    ] {
        let body = json!({"log_info": false, name: value}).to_string();
        let answer = server.post("/v2/logging", &body).await;
        assert_eq!(answer.refused_field(), (400, name.to_owned()), "{body}");
        assert!(log.levels().info);
    }
    server.end().await;
}

#[tokio::test]
async fn traces_need_somewhere_to_go() {
    let server = start().await;
    let settings = server.json("/v2/trace/setting").await;
    assert_eq!(settings["trace_level"], json!(["OFF"]));
    let answer = server
        .post("/v2/trace/setting", r#"{"trace_level": ["TIMESTAMPS"]}"#)
        .await;
    assert_eq!(answer.refused_field(), (422, "trace_level".to_owned()));
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("telemetry.otlp_endpoint")
    );
    assert_eq!(
        server.get("/v2/models/nobody/trace/setting").await.status,
        404
    );
    server.end().await;
}

#[tokio::test]
async fn trace_settings_are_refused_with_their_name() {
    let server = Setup {
        traces: true,
        ..setup()
    }
    .start()
    .await;
    for (name, value) in [
        ("trace_level", json!(["TENSORS"])),
        ("trace_level", json!({"a": 1})),
        ("trace_rate", json!("0")),
        ("trace_rate", json!(true)),
        ("trace_count", json!("-2")),
        ("trace_mode", json!("triton")),
        ("trace_file", json!("/tmp/x")),
        ("made_up", json!("1")),
    ] {
        let body = json!({name: value}).to_string();
        for path in ["/v2/trace/setting", "/v2/models/echo/trace/setting"] {
            let answer = server.post(path, &body).await;
            assert_eq!(answer.refused_field(), (400, name.to_owned()), "{body}");
        }
    }
    let read = server.json("/v2/trace/setting").await;
    assert_eq!(
        read,
        json!({"trace_level": ["TIMESTAMPS"], "trace_rate": "1", "trace_count": "-1", "log_frequency": "0",
            "trace_file": "", "trace_mode": "opentelemetry"})
    );
    assert_eq!(
        server
            .post("/v2/trace/setting", read.to_string())
            .await
            .status,
        200
    );
    assert_eq!(
        server
            .post("/v2/models/nobody/trace/setting", r#"{"trace_rate": "1"}"#)
            .await
            .status,
        404
    );
    server.end().await;
}

/// Counts the spans of requests.
#[derive(Clone, Default)]
struct Spans(Arc<AtomicUsize>);

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target() == SPAN_TARGET
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        if span.metadata().name() == "request" {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
        Id::from_u64(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

async fn set(server: &Running, path: &str, settings: Value) {
    let answer = server.post(path, settings.to_string()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// The spans that so many inferences make.
async fn traced(server: &Running, spans: &Spans, requests: usize) -> usize {
    let before = spans.0.load(Ordering::Relaxed);
    for _ in 0..requests {
        assert_eq!(post(server.address, "echo", ROW).await.status, 200);
    }
    spans.0.load(Ordering::Relaxed) - before
}

// One thread, so that the subscriber of this thread sees what the server does.
#[tokio::test]
async fn settings_choose_the_requests_that_are_traced() {
    let spans = Spans::default();
    let _subscribed = tracing::subscriber::set_default(spans.clone());
    let server = Setup {
        traces: true,
        ..setup()
    }
    .start()
    .await;
    let all = "/v2/trace/setting";
    let echo = "/v2/models/echo/trace/setting";
    assert_eq!(traced(&server, &spans, 4).await, 4);
    set(&server, all, json!({"trace_level": ["OFF"]})).await;
    assert_eq!(traced(&server, &spans, 4).await, 0);
    set(
        &server,
        echo,
        json!({"trace_level": ["TIMESTAMPS"], "trace_rate": "2"}),
    )
    .await;
    assert_eq!(traced(&server, &spans, 6).await, 3);
    set(&server, echo, json!({"trace_rate": 1, "trace_count": "2"})).await;
    assert_eq!(traced(&server, &spans, 6).await, 2);
    set(
        &server,
        echo,
        json!({"trace_level": null, "trace_rate": null, "trace_count": null}),
    )
    .await;
    assert_eq!(traced(&server, &spans, 4).await, 0);
    assert_eq!(server.json(echo).await["trace_level"], json!(["OFF"]));
    server.end().await;
}
