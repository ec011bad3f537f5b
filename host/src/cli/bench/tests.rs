use std::sync::Mutex;

use clap::Parser;
use serde_json::{Value, json};
use wharf_testkit::closed_port;

use super::fake::{Asked, FakeServer, Reply};
use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    bench: Bench,
}

fn parse(flags: &[&str]) -> Result<Bench, clap::Error> {
    let flags = ["bench", "--model", "iris"].iter().chain(flags);
    Command::try_parse_from(flags).map(|command| command.bench)
}

/// Runs the command as the program does, on a thread of its own.
async fn run(url: &str, flags: &[&str]) -> Result<ExitCode> {
    let quick = [
        "--url",
        url,
        "--duration",
        "200ms",
        "--warmup",
        "0",
        "--connections",
        "2",
    ];
    let flags: Vec<&str> = quick.iter().chain(flags).copied().collect();
    let bench = parse(&flags).unwrap();
    tokio::task::spawn_blocking(|| bench.run()).await.unwrap()
}

fn metadata() -> String {
    json!({
        "name": "iris",
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": [-1, 4]},
            {"name": "n", "datatype": "INT64", "shape": [1]},
        ],
    })
    .to_string()
}

/// A server with the model, which keeps the last request for an inference.
async fn server() -> (FakeServer, Arc<Mutex<Option<Asked>>>) {
    let last = Arc::new(Mutex::new(None));
    let kept = Arc::clone(&last);
    let server = FakeServer::start(move |asked| match asked.path.as_str() {
        "/v2/models/iris" | "/v2/models/iris/versions/2" => Reply::new(200, metadata()),
        path if path.starts_with("/v2/models/iris/") && path.ends_with("/infer") => {
            *kept.lock().unwrap() = Some(Asked {
                number: asked.number,
                path: asked.path.clone(),
                headers: asked.headers.clone(),
                body: asked.body.clone(),
            });
            Reply::new(200, "{}")
        }
        _ => Reply::new(404, r#"{"error":"there is no model `x`"}"#),
    })
    .await;
    (server, last)
}

#[tokio::test]
async fn json_requests_fit_the_model() {
    let (server, last) = server().await;
    let flags = [
        "--version",
        "2",
        "--shape",
        "x=3x4",
        "--input",
        "n=zeros",
        "--json",
    ];
    assert_eq!(run(&server.url(), &flags).await.unwrap(), ExitCode::SUCCESS);
    let asked = last.lock().unwrap().take().unwrap();
    assert_eq!(asked.path, "/v2/models/iris/versions/2/infer");
    assert_eq!(asked.headers["content-type"], "application/json");
    let body: Value = serde_json::from_slice(&asked.body).unwrap();
    assert_eq!(body["inputs"][0]["shape"], json!([3, 4]));
    assert_eq!(body["inputs"][0]["data"].as_array().unwrap().len(), 12);
    assert_eq!(body["inputs"][1]["data"], json!([0]));
}

#[tokio::test]
async fn binary_requests_say_where_the_tensors_begin() {
    let (server, last) = server().await;
    run(&server.url(), &["--data", "binary", "--rate", "50"])
        .await
        .unwrap();
    let asked = last.lock().unwrap().take().unwrap();
    let header: usize = asked.headers["inference-header-content-length"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(asked.body.len() - header, 16 + 8);
}

#[tokio::test]
async fn a_given_body_needs_no_metadata() {
    let server = FakeServer::start(|asked| {
        assert_eq!(
            (asked.path.as_str(), &asked.body[..]),
            ("/v2/models/iris/infer", &b"{}"[..])
        );
        Reply::new(200, "{}")
    })
    .await;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::Write::write_all(&mut file, b"{}").unwrap();
    let path = file.path().to_str().unwrap();
    assert_eq!(
        run(&server.url(), &["--body", path]).await.unwrap(),
        ExitCode::SUCCESS
    );
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    let (server, _) = server().await;
    let url = server.url();
    for (flags, said) in [
        (&["--model", "x"][..], "there is no model `x`"),
        (&["--version", "7"], "there is no model `x`"),
        (&["--input", "y=zeros"], "`x`, `n`"),
        (&["--shape", "x=4"], "[-1, 4]"),
        (&["--body", "/no/such/file"], "/no/such/file"),
    ] {
        let flags: Vec<&str> = if flags[0] == "--model" {
            let bench = Command::try_parse_from(["bench", "--url", &url, "--model", "x"]);
            let bench = bench.unwrap().bench;
            let error = tokio::task::spawn_blocking(|| bench.run()).await.unwrap();
            assert!(format!("{:#}", error.unwrap_err()).contains(said));
            continue;
        } else {
            flags.to_vec()
        };
        let error = run(&url, &flags).await.unwrap_err();
        assert!(format!("{error:#}").contains(said), "{flags:?}: {error:#}");
    }
}

#[tokio::test]
async fn a_server_that_refuses_everything_fails_the_command() {
    let server = FakeServer::start(|asked| match asked.path.ends_with("/infer") {
        true => Reply::new(503, r#"{"error":"the queue is full"}"#),
        false => Reply::new(200, metadata()),
    })
    .await;
    let error = run(&server.url(), &[]).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("refused: the queue is full"),
        "{error:#}"
    );
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let port = closed_port();
    let url = format!("http://{}", port.local_addr().unwrap());
    let error = run(&url, &[]).await.unwrap_err();
    let text = format!("{error:#}");
    assert!(
        text.contains("no server answers at") && text.contains("--url"),
        "{text}"
    );
}

#[test]
fn wrong_flags_are_usage_errors() {
    for flags in [
        &["--url", "server:8080"][..],
        &["--rate", "0"],
        &["--connections", "0"],
        &["--duration", "0s"],
        &["--input", "x"],
        &["--shape", "x=1,2"],
        &["--protocol", "http"],
        &["--body", "f", "--input", "x=zeros"],
        &["--body", "f", "--data", "json"],
    ] {
        let error = parse(flags).err().expect("a usage error");
        assert_eq!(error.exit_code(), 2, "{flags:?}");
    }
    let bench = parse(&["--protocol", "grpc", "--data", "json"]).unwrap();
    assert_eq!(bench.run().unwrap(), ExitCode::from(2));
    // clap would repeat what it cannot read, and it may be a secret.
    let bench = parse(&["--header", "Authorization=Bearer secret"]).unwrap();
    assert_eq!(bench.run().unwrap(), ExitCode::from(2));
    assert_eq!(parse(&["--concurrency", "7"]).unwrap().connections, Some(7));
}
