//! Artifacts in a store of objects: the real binary with a server that speaks S3.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use wharf_e2e::{
    Client, LONG_PATIENCE, Request, Response, Site, Wharf, interpreter, onnx, wait_within,
};

use crate::expect_shifted_by;

const ARTIFACTS: &str = "/v1/models/adder/artifacts";
/// More floats than a part that is sent to the store has room for: 40 MB.
const BALLAST: usize = 10_000_000;

/// A server that speaks S3, with a bucket `models`. It ends with this value.
struct Store {
    child: Child,
    address: SocketAddr,
    _log: TempDir,
}

impl Store {
    async fn start() -> Result<Self> {
        let log = tempfile::tempdir()?;
        let path = log.path().join("store.log");
        let child = interpreter()?
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", "0"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&path)?)
            .spawn()?;
        let mut store = Self {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            _log: log,
        };
        // It has much to load before it listens.
        let listens = async || -> Option<SocketAddr> {
            let said = std::fs::read_to_string(&path).ok()?;
            let (_, said) = said.split_once("Running on http://")?;
            said.lines().next()?.trim().parse().ok()
        };
        store.address =
            wait_within(LONG_PATIENCE, "the store to say where it listens", listens).await?;
        let bucket = Request::get("/models").by(Method::PUT, "");
        Client::new(store.address).send(&bucket).await?.accepted()?;
        Ok(store)
    }

    /// Serves a site whose artifacts are kept here.
    async fn serve(&self, site: &Site) -> Result<Wharf> {
        let address = format!("http://{}", self.address);
        Wharf::serve_with(site, |command| {
            command
                .env("AWS_ENDPOINT", address)
                .env("AWS_ALLOW_HTTP", "true")
                .env("AWS_ACCESS_KEY_ID", "key")
                .env("AWS_SECRET_ACCESS_KEY", "secret")
                .env("AWS_REGION", "us-east-1");
        })
        .await
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn repr_digest(content: &[u8]) -> String {
    format!(
        "sha-256=:{}:",
        BASE64_STANDARD.encode(Sha256::digest(content))
    )
}

fn hex_digest(content: &[u8]) -> String {
    let digits = Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<String>();
    format!("sha256:{digits}")
}

fn created(answer: &Response) -> Result<Value> {
    ensure!(answer.status == 201, "{}: {}", answer.status, answer.text());
    Ok(serde_json::from_slice(&answer.body)?)
}

/// Waits for the operation that an upload or a promotion began.
async fn succeeds(client: &mut Client, operation: &Value) -> Result<()> {
    let path = operation.as_str().context("no operation was begun")?;
    let wait = Request::get(path).header("Prefer", "wait=60");
    let ended = client.send(&wait).await?.ok()?;
    ensure!(ended["state"] == "succeeded", "{ended}");
    Ok(())
}

async fn promote(client: &mut Client, version: u64) -> Result<()> {
    let path = format!("/v1/models/adder/versions/{version}/promote");
    let answer = client.post(&path, &json!({})).await?;
    ensure!(answer.status == 202, "{}", answer.text());
    let operation: Value = serde_json::from_slice(&answer.body)?;
    let id = operation["id"].as_str().context("no id")?;
    succeeds(client, &json!(format!("/v1/operations/{id}"))).await
}

/// Uploads a content in two parts, to two servers: the second goes on where the first stood.
async fn in_two_parts(store: &Store, site: &Site, content: &[u8]) -> Result<Wharf> {
    let wharf = store.serve(site).await?;
    let mut client = wharf.client();
    let document = json!({
        "version": 2, "file": "model.onnx", "kind": "weights", "size": content.len(), "digest": hex_digest(content),
    });
    let begun = client.post(ARTIFACTS, &document).await?;
    created(&begun)?;
    let location = begun.headers.get("location").context("no Location")?;
    let upload = location.to_str()?.to_owned();
    let (first, second) = content.split_at(content.len() / 3);
    let part = |offset: usize, part: &[u8]| {
        Request::get(&*upload)
            .by(Method::PATCH, part.to_vec())
            .header("Content-Type", "application/partial-upload")
            .header("Upload-Offset", offset.to_string())
    };
    let answer = client.send(&part(0, first)).await?;
    ensure!(answer.status == 204, "{}", answer.text());
    wharf.kill().await?;

    let wharf = store.serve(site).await?;
    let mut client = wharf.client();
    let stands = client.get(&upload).await?.ok()?;
    ensure!(stands["offset"] == first.len(), "{stands}");
    let whole = client.send(&part(first.len(), second)).await?;
    succeeds(&mut client, &created(&whole)?["operation"]).await?;
    Ok(wharf)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn artifacts_live_in_a_store_of_objects() -> Result<()> {
    let store = Store::start().await?;
    let site = Site::empty()?;
    site.write("wharf.toml", "[artifacts]\nurl = \"s3://models/site\"\n")?;
    let wharf = store.serve(&site).await?;
    let mut client = wharf.client();
    let registered = client.post("/v1/models", &json!({"name": "adder"})).await?;
    created(&registered)?;

    let content = onnx::adder(1.0);
    let path = format!("{ARTIFACTS}/1/model.onnx");
    let put = Request::get(&*path)
        .by(Method::PUT, content.clone())
        .header("Repr-Digest", repr_digest(&content));
    let stored = client.send(&put).await?;
    succeeds(&mut client, &created(&stored)?["operation"]).await?;
    promote(&mut client, 1).await?;
    expect_shifted_by(&mut client, "adder", 1.0).await?;
    client.send(&put).await?.problem(428)?;
    drop(wharf);

    let large = onnx::heavy_adder(2.0, BALLAST);
    let wharf = in_two_parts(&store, &site, &large).await?;
    let mut client = wharf.client();
    // The version that was promoted serves until another one is.
    expect_shifted_by(&mut client, "adder", 1.0).await?;
    promote(&mut client, 2).await?;
    expect_shifted_by(&mut client, "adder", 2.0).await?;

    let large_path = format!("{ARTIFACTS}/2/model.onnx");
    let whole = client.get(&large_path).await?;
    whole.accepted()?;
    ensure!(whole.body == large, "another content came back");
    let range = Request::get(&*large_path).header("Range", "bytes=20000000-20999999");
    let part = client.send(&range).await?;
    ensure!(part.status == 206, "{}", part.status);
    ensure!(part.body == large[20_000_000..21_000_000], "another range");

    let delete = Request::get(&*path).by(Method::DELETE, "");
    let deleted = client.send(&delete).await?;
    ensure!(deleted.status == 204, "{}", deleted.text());
    let listed = client.get(ARTIFACTS).await?.ok()?;
    let listed = listed["artifacts"].as_array().context("no list")?;
    ensure!(listed.len() == 1 && listed[0]["version"] == 2, "{listed:?}");

    drop(store);
    client.get(ARTIFACTS).await?.problem(503)?;
    client.get(&large_path).await?.problem(503)?;
    // What is in the site serves without the store.
    expect_shifted_by(&mut client, "adder", 2.0).await
}
