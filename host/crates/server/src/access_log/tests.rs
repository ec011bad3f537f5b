use std::os::unix::fs::MetadataExt as _;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, SystemTime};

use http::{Method, Request};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, SdkMeterProvider};

use super::*;

fn record() -> Record {
    Record {
        at: SystemTime::UNIX_EPOCH + Duration::from_secs(971_186_136),
        listener: "public",
        client: Some("192.0.2.7".parse().unwrap()),
        method: Method::POST,
        path: "/v1/infer/a%20b\"\\".into(),
        template: "/v1/infer/{route}",
        protocol: "HTTP/1.1",
        status: 200,
        grpc_status: None,
        broke_off: false,
        bytes_in: 17,
        bytes_out: 20,
        duration: Duration::from_micros(1234),
        request_id: "id-1".into(),
        route: Some("a b\n".into()),
        tenant: Some("acme".into()),
        user_agent: Some("curl/8 \u{e9}".into()),
    }
}

fn written(format: AccessLogFormat, record: &Record) -> String {
    let mut line = Vec::new();
    lines::write(&mut line, format, record);
    String::from_utf8(line).unwrap()
}

#[test]
fn a_common_line_keeps_its_fields_apart() {
    assert_eq!(
        written(AccessLogFormat::Common, &record()),
        "192.0.2.7 - acme [10/Oct/2000:13:55:36 +0000] \"POST /v1/infer/a%20b\\\"\\\\ HTTP/1.1\" 200 20 \"-\" \
         \"curl/8 \\xc3\\xa9\" id-1 a\\x20b\\x0a /v1/infer/{route} 1234 17 -\n"
    );
    let call = Record {
        client: None,
        template: "",
        grpc_status: Some(5),
        route: None,
        tenant: None,
        user_agent: None,
        ..record()
    };
    let line = written(AccessLogFormat::Common, &call);
    assert!(line.starts_with("- - - ["), "{line}");
    assert!(line.ends_with("\"-\" \"-\" id-1 - - 1234 17 5\n"), "{line}");
}

#[test]
fn a_line_of_json_has_what_is_known() {
    let line = written(AccessLogFormat::Json, &record());
    assert_eq!(line.matches('\n').count(), 1);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    let expected = serde_json::json!({
        "time": "2000-10-10T13:55:36.000Z",
        "listener": "public",
        "client": "192.0.2.7",
        "method": "POST",
        "path": "/v1/infer/a%20b\"\\",
        "template": "/v1/infer/{route}",
        "protocol": "HTTP/1.1",
        "status": 200,
        "bytes_in": 17,
        "bytes_out": 20,
        "duration_us": 1234,
        "request_id": "id-1",
        "route": "a b\n",
        "tenant": "acme",
        "user_agent": "curl/8 \u{e9}",
    });
    assert_eq!(line, expected);
    let broken = Record {
        broke_off: true,
        ..record()
    };
    let line = written(AccessLogFormat::Json, &broken);
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["broke_off"], true);
}

/// The lines that are counted as lost.
fn lost(exporter: &InMemoryMetricExporter) -> u64 {
    let exported = exporter.get_finished_metrics().unwrap();
    let metrics = exported
        .iter()
        .flat_map(|resource| resource.scope_metrics())
        .flat_map(|scope| scope.metrics());
    let mut sum = 0;
    for metric in metrics {
        let AggregatedMetrics::U64(MetricData::Sum(lines)) = metric.data() else {
            panic!("the lines are no sum");
        };
        sum += lines.data_points().map(|point| point.value()).sum::<u64>();
    }
    sum
}

fn meter(exporter: &InMemoryMetricExporter) -> (SdkMeterProvider, Meter) {
    let provider = SdkMeterProvider::builder()
        .with_periodic_exporter(exporter.clone())
        .build();
    let meter = provider.meter("test");
    (provider, meter)
}

#[test]
fn what_nobody_writes_is_counted_and_delays_no_one() {
    let exporter = InMemoryMetricExporter::default();
    let (provider, meter) = meter(&exporter);
    let (queue, lines) = sync_channel(2);
    let log = AccessLog {
        listener: "public",
        queue,
        lost: Arc::new(LostLines::new(&meter)),
    };
    let (parts, ()) = Request::get("/v1/routes?key=secret")
        .body(())
        .unwrap()
        .into_parts();
    for _ in 0..5 {
        let head = Head {
            parts: &parts,
            path: parts.uri.path(),
            template: "",
            id: &"id".into(),
            protocol: Protocol::Http,
        };
        // The client left.
        drop(log.begin(&head, None));
    }
    provider.force_flush().unwrap();
    assert_eq!(lost(&exporter), 3);
    for _ in 0..2 {
        let Ok(Message::Line(record)) = lines.try_recv() else {
            panic!("a line is missing");
        };
        assert_eq!((&*record.path, record.status), ("/v1/routes", 499));
    }
}

#[test]
fn a_file_that_is_renamed_is_opened_anew() {
    let exporter = InMemoryMetricExporter::default();
    let (_provider, meter) = meter(&exporter);
    let lost = LostLines::new(&meter);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let mut output = Output::open(&path).unwrap();
    let say = |output: &mut Output, text: &str| {
        output.line(&lost, |line| line.extend_from_slice(text.as_bytes()));
        output.flush(&lost);
    };
    say(&mut output, "one\n");
    assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o640);
    let old = folder.path().join("access.log.1");
    std::fs::rename(&path, &old).unwrap();
    output.look_now();
    say(&mut output, "two\n");
    assert_eq!(std::fs::read_to_string(old).unwrap(), "one\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    // What is there is kept.
    say(&mut Output::open(&path).unwrap(), "three\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\nthree\n");
}

#[test]
fn a_place_that_cannot_be_written_to_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let exporter = InMemoryMetricExporter::default();
    let (_provider, meter) = meter(&exporter);
    let config = AccessLogConfig {
        format: AccessLogFormat::Json,
        output: folder.path().join("no/such/folder/log"),
    };
    let error = open(&config, LostLines::new(&meter)).err().unwrap();
    assert_eq!(error.key, "access_log.output");
    let config = AccessLogConfig {
        output: "".into(),
        ..config
    };
    assert_eq!(config.check().unwrap_err().key, "access_log.output");
    let mut config = AccessLogConfig::default();
    config.in_site(folder.path());
    assert_eq!(config.output, PathBuf::from("stdout"));
}
