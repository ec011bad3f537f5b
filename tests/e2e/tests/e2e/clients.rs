//! Clients that send what they should not, or leave.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use wharf_e2e::{Client, Request, Site, Wharf, onnx};

use crate::{expect_recovered, expect_shifted_by, one_to_four};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn inputs_that_do_not_fit_the_model_are_refused_by_name() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    for input in [
        json!([1, 2, 3]),
        json!([[1, 2, 3, 4], [1, 2, 3]]),
        json!([[[1, 2, 3, 4]]]),
        json!(["1", "2", "3", "4"]),
        json!([1, 2, 3, true]),
        json!([1, 2, 3, 1e300]),
        json!({"z": [1, 2, 3, 4]}),
        json!({}),
        json!([]),
        json!(7),
        json!(null),
    ] {
        let problem = client
            .post("/v1/infer/adder", &json!({"input": input}))
            .await?
            .problem(400)?;
        let field = problem["field"].as_str().unwrap_or_default();
        ensure!(field.starts_with("input"), "{input}: {problem}");
    }
    let brackets = "[".repeat(10_000);
    for body in [
        "",
        "{",
        "[1,2,3,4]",
        "{\"input\": [1,2,3,4]} trailing",
        &format!("{{\"input\": {brackets}"),
    ] {
        let request = Request::post("/v1/infer/adder", "application/json", body.to_owned());
        client.send(&request).await?.problem(400)?;
    }
    let request = Request::post("/v1/infer/adder", "image/png", "no JSON");
    client.send(&request).await?.problem(415)?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_over_the_limit_is_refused() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write("wharf.toml", "[server]\nmax_body_bytes = 1000\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let request = Request::post("/v1/infer/adder", "application/json", " ".repeat(1001));
    wharf.client().send(&request).await?.problem(413)?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_stops_its_work_and_frees_its_slot() -> Result<()> {
    const CLIENTS: usize = 20;
    const REQUESTS: u32 = 500;

    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    // One run takes about a quarter of a second: all that may wait, if nobody took them out, would take a minute.
    site.write("models/slow/1/model.onnx", onnx::slow(200))?;
    site.write(
        "models/slow/model.toml",
        "[instances]\ncount = 1\n[batching]\nqueue_wait_ms = 600000\n",
    )?;
    site.write("wharf.toml", "[serving]\ndefault_timeout_ms = 600000\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let address = wharf.listen();

    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(async move {
            for request in 0..REQUESTS {
                let patience = Duration::from_millis((client as u64 + u64::from(request)) % 10);
                let mut client = Client::new(address);
                // The patience runs out at any point: connecting, sending, waiting in the queue, running.
                let _ = tokio::time::timeout(patience, client.send(&one_to_four("slow"))).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    let begun = Instant::now();
    expect_recovered(&mut wharf, "adder").await?;
    expect_shifted_by(&mut wharf.client(), "slow", 0.0).await?;
    ensure!(
        begun.elapsed() < Duration::from_secs(20),
        "abandoned work went on: {:?}",
        begun.elapsed()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_a_run_of_the_model() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    // A run of some seconds, so that it is seen on any machine whether one was ended.
    site.write("models/slow/1/model.onnx", onnx::slow(4000))?;
    site.write(
        "models/slow/model.toml",
        "[instances]\ncount = 1\n[warmup]\nenabled = false\n",
    )?;
    site.write("routes/hasty.toml", "model = \"slow\"\ntimeout_ms = 100\n")?;
    site.write(
        "routes/patient.toml",
        "model = \"slow\"\ntimeout_ms = 600000\n",
    )?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let begun = Instant::now();
    client.send(&one_to_four("patient")).await?.ok()?;
    let whole = begun.elapsed();
    let begun = Instant::now();
    client.send(&one_to_four("hasty")).await?.problem(504)?;
    let ended = begun.elapsed();
    ensure!(
        ended < whole / 2,
        "it took {ended:?}, and a whole run {whole:?}"
    );
    expect_recovered(&mut wharf, "adder").await
}
