//! What hostile clients send over the Open Inference Protocol, REST and gRPC alike.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use wharf_e2e::grpc::{self, Tensor};
use wharf_e2e::{Client, Protocol, Request, Site, Wharf, onnx};

use crate::expect_recovered;

// Status codes of gRPC.
const INVALID_ARGUMENT: u32 = 3;
const NOT_FOUND: u32 = 5;
const RESOURCE_EXHAUSTED: u32 = 8;
const OUT_OF_RANGE: u32 = 11;
const UNIMPLEMENTED: u32 = 12;
const INTERNAL: u32 = 13;

const NAMES: [&str; 9] = [
    "..",
    ".",
    "..%2f..%2fetc%2fpasswd",
    "a%2Fb",
    "a%00b",
    "%2e%2e",
    ".hidden",
    "a%5cb",
    "%ff",
];

/// Shapes that fit no 16 bytes of floats.
const SHAPES: [&[i64]; 9] = [
    &[-1, 4],
    &[i64::MIN, 4],
    &[i64::MAX, 4],
    &[i64::MAX, i64::MAX, i64::MAX],
    &[1 << 32, 1 << 32, 1 << 32],
    &[2, 4],
    &[1, 5],
    &[0, 4],
    &[],
];

async fn serve() -> Result<(Site, Wharf)> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write("models/slow/1/model.onnx", onnx::slow(800))?;
    let wharf = Wharf::serve(&site).await?;
    Ok((site, wharf))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_refused_over_every_endpoint_before_any_path_is_made() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let mut client = wharf.client();
    let long = "x".repeat(256);
    for name in NAMES.into_iter().chain([long.as_str()]) {
        for request in [
            infer(name, &json!({"inputs": []})),
            Request::get(format!("/v2/models/{name}")),
            Request::get(format!("/v2/models/{name}/ready")),
            Request::get(format!("/v2/models/{name}/config")),
            Request::get(format!("/v2/models/{name}/stats")),
            Request::json(format!("/v2/repository/models/{name}/load"), &json!({})),
            Request::json(format!("/v2/repository/models/{name}/unload"), &json!({})),
        ] {
            let answer = client.send(&request).await?;
            let status = answer.status.as_u16();
            ensure!(status == 400, "{request:?}: {status} {}", answer.text());
        }
    }
    for name in ["../adder", "a/b", "a\0b", ".hidden", "", &long] {
        let answer = grpc_status(&wharf, &grpc::infer(name, "", &[])).await?;
        ensure!(answer.0 == INVALID_ARGUMENT, "{name:?}: {answer:?}");
        for method in ["RepositoryModelLoad", "RepositoryModelUnload"] {
            // Both have the name as their second field.
            let mut message = vec![0x12, u8::try_from(name.len().min(127))?];
            message.extend(name.bytes().take(127));
            let answer = grpc_status(&wharf, &grpc::call(method, &message)).await?;
            let known = [INVALID_ARGUMENT, NOT_FOUND].contains(&answer.0);
            ensure!(known, "{method} {name:?}: {answer:?}");
        }
    }
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_that_do_not_fit_their_data_are_refused_with_the_field() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let mut client = wharf.client();
    let before = wharf.resident_bytes()?;
    for shape in SHAPES {
        let input = json!({"name": "x", "datatype": "FP32", "shape": shape, "data": [1, 2, 3, 4]});
        let answer = client
            .send(&infer("adder", &json!({"inputs": [input]})))
            .await?;
        let problem = answer
            .problem(400)
            .with_context(|| format!("the shape {shape:?}"))?;
        let field = problem["field"].as_str().unwrap_or_default();
        ensure!(field.starts_with("inputs"), "{shape:?}: {problem}");

        let tensor = Tensor {
            name: "x",
            datatype: "FP32",
            shape,
            data: &[0; 16],
        };
        let answer = grpc_status(&wharf, &grpc::infer("adder", "", &[tensor])).await?;
        ensure!(answer.0 == INVALID_ARGUMENT, "{shape:?}: {answer:?}");
    }
    let grown = wharf.resident_bytes()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "{} MiB were taken", grown >> 20);
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_that_are_none_are_refused() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let mut client = wharf.client();
    let brackets = "[".repeat(10_000);
    let objects = "{\"parameters\":".repeat(10_000);
    let bodies = [
        "",
        "{",
        "[]",
        "null",
        "{\"inputs\": 7}",
        "{\"inputs\": [7]}",
        "{\"inputs\": [{}]}",
        "{\"inputs\": []} trailing",
        "{\"inputs\": [], \"inputs\": []}",
        "\u{0}",
        &format!("{{\"inputs\": {brackets}"),
        &brackets,
        &objects,
    ];
    for body in bodies {
        let path = "/v2/models/adder/infer";
        let request = Request::post(path, "application/json", body.to_owned());
        let answer = client.send(&request).await?;
        answer
            .problem(400)
            .with_context(|| format!("{:.40}", body))?;
    }
    for (data, datatype) in [
        (json!(["1", "2", "3", "4"]), "FP32"),
        (json!([1, 2, 3, [null]]), "FP32"),
        (json!([1, 2, 3, null]), "INT32"),
        (json!([1, 2, 3, 1e300]), "FP32"),
        (json!([1, 2, 3]), "FP32"),
        (json!([1, 2, 3, 4, 5]), "FP32"),
        (json!([[1, 2], [3, 4]]), "FP64"),
        (json!([1, 2, 3, 4]), "FP33"),
        (json!([1, 2, 3, 4]), ""),
        (json!(brackets), "FP32"),
    ] {
        let input = json!({"name": "x", "datatype": datatype, "shape": [1, 4], "data": data});
        let answer = client
            .send(&infer("adder", &json!({"inputs": [input]})))
            .await?;
        answer
            .problem(400)
            .with_context(|| format!("{input:.200}"))?;
    }
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_swells_up_is_counted_after_decompression() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let before = wharf.resident_bytes()?;
    let bomb = Bytes::from(gzip_of_zeros(256)?);
    let path = "/v2/models/adder/infer";
    let post = |encoding: &str| {
        Request::post(path, "application/json", bomb.clone()).header("content-encoding", encoding)
    };
    wharf.client().send(&post("gzip")).await?.problem(413)?;
    for encoding in ["gzip, gzip", "deflate, gzip", "br", "made-up"] {
        let answer = wharf.client().send(&post(encoding)).await?;
        answer.problem(415)?;
    }
    let mut frame = vec![1];
    frame.extend(u32::try_from(bomb.len())?.to_be_bytes());
    frame.extend(&bomb);
    let call = grpc::framed("ModelInfer", frame.into()).header("grpc-encoding", "gzip");
    let answer = grpc_status(&wharf, &call).await?;
    let known = [RESOURCE_EXHAUSTED, OUT_OF_RANGE].contains(&answer.0);
    ensure!(known, "{answer:?}");
    let grown = wharf.resident_bytes()?.saturating_sub(before);
    ensure!(grown < 200 << 20, "{} MiB were taken", grown >> 20);
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_none_are_refused() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let frame = |length: u32, content: &[u8]| {
        let mut frame = vec![0];
        frame.extend(length.to_be_bytes());
        frame.extend(content);
        Bytes::from(frame)
    };
    let too_large = [RESOURCE_EXHAUSTED, OUT_OF_RANGE];
    let broken = [INVALID_ARGUMENT, INTERNAL];
    for (body, expected) in [
        (frame(u32::MAX, b"x"), too_large),
        (frame(100 << 20, b"x"), too_large),
        (frame(100, b"x"), broken),
        (frame(4, b"\xff\xff\xff\xff"), broken),
        (Bytes::from_static(b"\0\0"), broken),
        (Bytes::new(), broken),
    ] {
        let answer = grpc_status(&wharf, &grpc::framed("ModelInfer", body.clone())).await?;
        ensure!(expected.contains(&answer.0), "{body:?}: {answer:?}");
    }
    let answer = grpc_status(&wharf, &grpc::call("MadeUp", b"")).await?;
    ensure!(answer.0 == UNIMPLEMENTED, "{answer:?}");
    let call = grpc::call("ModelInfer", b"").header("grpc-encoding", "made-up");
    let answer = grpc_status(&wharf, &call).await?;
    ensure!(answer.0 != 0, "{answer:?}");
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_leave_stop_their_work_and_free_their_slots() -> Result<()> {
    let (_site, mut wharf) = serve().await?;
    let address = wharf.listen();
    let tensor = Tensor {
        name: "x",
        datatype: "FP32",
        shape: &[1, 4],
        data: &[0; 16],
    };
    let call = grpc::infer("slow", "", &[tensor]);
    let mut callers = JoinSet::new();
    for caller in 0..10_u64 {
        let call = call.clone();
        callers.spawn(async move {
            let mut client = Client::with_protocol(address, Protocol::Http2);
            for number in 0..100 {
                let patience = Duration::from_millis((caller + number) % 10);
                // The patience runs out at any point; that resets the stream, and the connection goes on.
                let _ = tokio::time::timeout(patience, client.send(&call)).await;
            }
        });
    }
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    expect_recovered(&mut wharf, "adder").await
}

fn infer(model: &str, body: &Value) -> Request {
    Request::post(
        format!("/v2/models/{model}/infer"),
        "application/json",
        body.to_string(),
    )
}

async fn grpc_status(wharf: &Wharf, call: &Request) -> Result<(u32, String)> {
    let mut client = Client::with_protocol(wharf.listen(), Protocol::Http2);
    let (code, text) = grpc::status(&client.send(call).await?)?;
    ensure!(
        !["/tmp/", "/root/", "/home/", ".rs:"]
            .iter()
            .any(|inside| text.contains(inside)),
        "the answer tells of the server's inside: {text}"
    );
    Ok((code, text))
}

fn gzip_of_zeros(mebibytes: usize) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let block = vec![0; 1 << 20];
    for _ in 0..mebibytes {
        encoder.write_all(&block)?;
    }
    Ok(encoder.finish()?)
}

/// A refusal comes before the body of its request: whoever keeps connections must learn whether this one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_says_whether_the_connection_goes_on() -> Result<()> {
    const BODY: &str = "{\"inputs\": []}";
    let (_site, mut wharf) = serve().await?;
    for path in ["/v2/models/nobody/infer", "/v1/infer/nobody", "/made/up"] {
        let mut stream = TcpStream::connect(wharf.listen()).await?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: wharf\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            BODY.len()
        );
        stream.write_all(head.as_bytes()).await?;
        // The server may answer now, or wait for the body.
        let early = tokio::time::timeout(Duration::from_millis(200), stream.readable()).await;
        early.unwrap_or(Ok(()))?;
        let next = "GET /v2/health/live HTTP/1.1\r\nhost: wharf\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("{BODY}{next}").as_bytes()).await?;
        let mut answers = Vec::new();
        stream.read_to_end(&mut answers).await?;
        let answers = String::from_utf8_lossy(&answers).to_ascii_lowercase();
        ensure!(answers.starts_with("http/1.1 404"), "{path}: {answers}");
        let goes_on = answers.contains("http/1.1 200");
        let first = answers.split("http/1.1").nth(1).unwrap_or_default();
        ensure!(
            goes_on || first.contains("connection: close"),
            "{path}: the connection ended without a word: {answers}"
        );
    }
    expect_recovered(&mut wharf, "adder").await
}
