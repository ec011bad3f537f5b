//! The lines of requests and calls.

use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use wharf_server::{AccessLogConfig, AccessLogFormat, Config};

use super::{GOOD, config, setup};
use crate::support::Running;
use crate::support::grpc::{Call, floats, frame};
use crate::support::http::{Client, get, request};

/// A server that writes its lines into a folder.
async fn start(format: AccessLogFormat, folder: &TempDir) -> Running {
    setup(Config {
        access_log: AccessLogConfig {
            format,
            output: folder.path().join("access.log"),
        },
        ..config()
    })
    .start()
    .await
}

/// Ends a server, and reads what it wrote.
async fn written(server: Running, folder: &Path) -> String {
    server.shutdown.cancel();
    server.serve.await.unwrap();
    std::fs::read_to_string(folder.join("access.log")).unwrap()
}

/// The line of a request.
fn line(lines: &[Value], id: &str) -> Value {
    let mut found = lines.iter().filter(|line| line["request_id"] == id);
    let line = found.next().unwrap_or_else(|| panic!("{id} has no line"));
    assert!(found.next().is_none(), "{id} has two lines");
    line.clone()
}

#[tokio::test]
async fn each_request_has_a_line_of_json() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(AccessLogFormat::Json, &folder).await;
    let secrets = "Authorization: Bearer s3cr3t\r\nX-API-Key: s3cr3t\r\nCookie: s3cr3t\r\n";
    let ask = async |path: &str, id: &str, body: &str| {
        let fields = format!("X-Request-Id: {id}\r\nUser-Agent: tests/1\r\n{secrets}");
        server.send("POST", path, &fields, body.as_bytes()).await
    };
    assert_eq!(
        ask("/v1/infer/echo?key=s3cr3t", "good", GOOD).await.status,
        200
    );
    assert_eq!(ask("/v1/infer/no%0Ane", "none", "{}").await.status, 400);
    assert_eq!(
        ask("/v2/models/unknown/infer", "oip", "{}").await.status,
        404
    );
    assert_eq!(ask("/made/up", "up", "body").await.status, 404);
    let mut client = Client::connect(server.address).await;
    let chunked = "POST /v1/infer/echo HTTP/1.1\r\nHost: x\r\nX-Request-Id: chunked\r\nTransfer-Encoding: chunked\r\n\r\n";
    client
        .send(format!("{chunked}{:x}\r\n{GOOD}\r\n0\r\n\r\n", GOOD.len()))
        .await;
    assert_eq!(client.answer().await.status, 200);
    get(server.admin, "GET", "/admin/snapshot").await;

    // A client that leaves.
    let mut client = Client::connect(server.address).await;
    client
        .send(request("slow", "X-Request-Id: left\r\n", GOOD))
        .await;
    server.gate().arrived(1).await;
    drop(client);
    server.idle().await;

    let text = written(server, folder.path()).await;
    assert!(!text.contains("s3cr3t"), "{text}");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 7, "{text}");

    let good = line(&lines, "good");
    for (member, value) in [
        ("listener", "public"),
        ("client", "127.0.0.1"),
        ("method", "POST"),
        ("path", "/v1/infer/echo"),
        ("template", "/v1/infer/{route}"),
        ("protocol", "HTTP/1.1"),
        ("route", "echo"),
        ("user_agent", "tests/1"),
    ] {
        assert_eq!(good[member], value, "{good}");
    }
    assert_eq!(good["status"], 200);
    assert_eq!(good["bytes_in"], GOOD.len());
    assert_eq!(good["bytes_out"], r#"{"output":[1.0,2.0]}"#.len());
    assert!(good["duration_us"].as_u64().unwrap() > 0, "{good}");
    assert!(good["time"].as_str().unwrap().ends_with('Z'), "{good}");
    assert_eq!(line(&lines, "chunked")["bytes_in"], GOOD.len());
    let none = line(&lines, "none");
    assert_eq!(
        (&none["status"], &none["path"]),
        (&400.into(), &"/v1/infer/no%0Ane".into())
    );
    assert_eq!(none["route"], "no\nne");
    let oip = line(&lines, "oip");
    assert_eq!(
        (&oip["status"], &oip["route"]),
        (&404.into(), &"unknown".into())
    );
    let up = line(&lines, "up");
    assert_eq!((up.get("template"), up.get("route")), (None, None));
    assert_eq!(line(&lines, "left")["status"], 499);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["listener"] == "admin")
            .count(),
        1
    );
}

#[tokio::test]
async fn an_answer_that_broke_off_is_told_from_a_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let setup = setup(Config {
        max_body_bytes: 100,
        access_log: AccessLogConfig {
            format: AccessLogFormat::Json,
            output: folder.path().join("access.log"),
        },
        ..config()
    });
    setup.site.upstream("mirror", "service");
    let server = setup.start().await;
    let begin = async |id: &str| {
        let mut client = Client::connect(server.address).await;
        let head = "POST /v1/infer/mirror HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\n";
        let fields = format!("X-Request-Id: {id}\r\nTransfer-Encoding: chunked\r\n\r\n");
        client.send(format!("{head}{fields}5\r\nfirst\r\n")).await;
        client.until("first").await;
        client
    };
    let mut whole = begin("whole").await;
    whole.send("0\r\n\r\n").await;
    whole.until("0\r\n\r\n").await;
    let mut failing = begin("failed").await;
    failing.send(format!("60\r\n{}\r\n", "x".repeat(96))).await;
    failing.closed().await;
    drop(begin("left").await);
    let fields = "X-Request-Id: sized\r\nContent-Type: text/plain\r\n";
    server
        .send("POST", "/v1/infer/mirror", fields, b"body")
        .await;
    let head =
        "HEAD /v1/routes HTTP/1.1\r\nHost: x\r\nX-Request-Id: head\r\nConnection: close\r\n\r\n";
    let mut client = Client::connect(server.address).await;
    client.send(head).await;
    client.closed().await;
    server.idle().await;

    let text = written(server, folder.path()).await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for id in ["whole", "sized", "head"] {
        let line = line(&lines, id);
        assert_eq!(
            (&line["status"], line.get("broke_off")),
            (&200.into(), None),
            "{line}"
        );
    }
    for id in ["failed", "left"] {
        let line = line(&lines, id);
        assert_eq!(
            (&line["status"], &line["broke_off"]),
            (&200.into(), &true.into()),
            "{line}"
        );
        assert_eq!(line["bytes_out"], 5, "{line}");
    }
}

#[tokio::test]
async fn each_call_has_a_line() {
    use prost::Message as _;
    let folder = tempfile::tempdir().unwrap();
    let server = start(AccessLogFormat::Json, &folder).await;
    let call = async |id: &'static str, path: &str, model: &str| {
        let message = frame(0, &floats(model, &[1.0, 2.0]).encode_to_vec());
        let call = Call::begin(server.address, path, &[("x-request-id", id)]).await;
        let sent = message.len();
        (call.finish(message).await, sent)
    };
    const SERVICE: &str = "/inference.GRPCInferenceService";
    let one = format!("{SERVICE}/ModelInfer");
    let (ended, sent) = call("good", &one, "echo").await;
    assert_eq!(ended.code, 0);
    assert_eq!(call("none", &one, "unknown").await.0.code, 5);
    assert_eq!(call("up", "/made/Up", "").await.0.code, 12);
    let (streamed, _) = call("stream", &format!("{SERVICE}/ModelStreamInfer"), "echo").await;
    assert_eq!(streamed.code, 0);

    let text = written(server, folder.path()).await;
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let good = line(&lines, "good");
    assert_eq!(
        (&good["protocol"], &good["status"]),
        (&"gRPC".into(), &200.into())
    );
    assert_eq!(
        (&good["grpc_status"], &good["route"]),
        (&0.into(), &"echo".into())
    );
    assert_eq!(good["path"], one);
    assert_eq!(good["template"], one[1..]);
    assert_eq!(
        (&good["bytes_in"], &good["bytes_out"]),
        (&sent.into(), &ended.body.len().into())
    );
    assert_eq!(line(&lines, "none")["grpc_status"], 5);
    let up = line(&lines, "up");
    assert_eq!((&up["grpc_status"], up.get("template")), (&12.into(), None));
    let stream = line(&lines, "stream");
    assert_eq!(stream["grpc_status"], 0);
    assert_eq!(stream["bytes_out"], streamed.body.len());
}

#[tokio::test]
async fn a_common_line_is_one_of_the_combined_format() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(AccessLogFormat::Common, &folder).await;
    let fields = "X-Request-Id: id\r\nUser-Agent: a \"b\r\n";
    server
        .send("POST", "/v1/infer/echo?key=s3cr3t", fields, GOOD.as_bytes())
        .await;
    let spaced = "/v1/infer/a%20200%20%22b";
    server.send("POST", spaced, fields, GOOD.as_bytes()).await;
    let text = written(server, folder.path()).await;
    let (text, spaced) = text.split_once('\n').unwrap();
    assert!(text.starts_with("127.0.0.1 - - ["), "{text}");
    let rest =
        "] \"POST /v1/infer/echo HTTP/1.1\" 200 20 \"-\" \"a \\\"b\" id echo /v1/infer/{route} ";
    assert!(text.contains(rest), "{text}");
    assert!(text.ends_with(" 17 -"), "{text}");
    let rest = r#" id a\x20200\x20\"b /v1/infer/{route} "#;
    assert!(spaced.contains(rest), "{spaced}");
}

#[tokio::test]
async fn without_the_setting_there_is_none() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(AccessLogFormat::None, &folder).await;
    get(server.address, "GET", "/v1/routes").await;
    server.end().await;
    assert!(!folder.path().join("access.log").exists());
}
