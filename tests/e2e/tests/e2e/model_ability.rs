//! Plugins that call models and routes.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::task::JoinSet;
use wharf_e2e::{Client, Load, Request, Site, Wharf};

use crate::{expect_recovered, expect_shifted_by, is_shifted_by, one_to_four};

/// The models `one`, `y = x + 1`, and `three`, `y = x + 3`, and the route `mean`, which takes the mean of both and adds 1: what is
/// asked becomes `x + 3`.
fn site(grant: &str) -> Result<Site> {
    let site = Site::empty()?;
    site.adder("one", 1, 1.0)?;
    site.adder("three", 1, 3.0)?;
    site.plugin("ensemble", "ensemble")?;
    let settings = "[settings]\ntargets = [\"one\", \"three\"]";
    site.write(
        "plugins/ensemble.toml",
        format!("[grants.model]\n{grant}\n{settings}\n"),
    )?;
    site.write(
        "routes/mean.toml",
        "model = \"one\"\ninput = \"tensors\"\npre = [\"ensemble\"]\n",
    )?;
    Ok(site)
}

fn asked(fields: &[(&str, &str)]) -> Request {
    fields
        .iter()
        .fold(one_to_four("mean"), |request, (name, value)| {
            request.header(name, *value)
        })
}

const BOTH: &str = "targets = [\"one\", \"three\"]\ncalls = 32";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ensemble_asks_its_models_and_each_counts_its_requests() -> Result<()> {
    let site = site(BOTH)?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    expect_shifted_by(&mut client, "mean", 3.0).await?;
    // 32 at once.
    let answer = client.send(&asked(&[("x-times", "16")])).await?.ok()?;
    ensure!(is_shifted_by(3.0)(&answer.to_string()), "{answer}");
    let metrics = wharf.metrics().await?;
    for endpoint in ["one", "three"] {
        let labels = [format!("endpoint=\"{endpoint}\""), "outcome=\"ok\"".into()];
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let requests = metrics.sum("model_request_total", &labels);
        ensure!(requests == 17.0, "{endpoint} has {requests} requests");
    }
    expect_recovered(&mut wharf, "one").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_granted_or_not_there_is_said_to_the_client() -> Result<()> {
    let site = site("targets = [\"one\", \"nobody\", \"mean\"]")?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    for (target, status, message) in [
        ("three", 403, "the grant model does not name three"),
        ("nobody", 404, "there is no route or model nobody"),
        ("one@7", 404, "one has no such version, but 1"),
        ("mean", 502, "more than 4 deep"),
    ] {
        let answer = client.send(&asked(&[("x-targets", target)])).await?;
        let problem = answer.problem(status)?.to_string();
        ensure!(problem.contains(message), "{target}: {problem}");
    }
    expect_recovered(&mut wharf, "one").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_is_reloaded_while_it_is_called() -> Result<()> {
    let site = site(BOTH)?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 4, &one_to_four("mean"));
    load.wait_for_answer(is_shifted_by(3.0)).await?;
    for amount in [5.0, 7.0, 9.0] {
        site.adder("three", 1, amount)?;
        let shift = f64::midpoint(1.0, f64::from(amount)) + 1.0;
        load.wait_for_answer(is_shifted_by(shift)).await?;
    }
    load.stop().await?.without_failure()?;
    wharf.expect_idle().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirrored_request_is_made_and_no_client_waits_for_it() -> Result<()> {
    let site = site("targets = [\"slow\"]")?;
    site.write("models/slow/1/model.onnx", wharf_e2e::onnx::slow(400))?;
    let mut wharf = Wharf::serve(&site).await?;
    let labels = ["endpoint=\"slow\"", "outcome=\"ok\""];
    let mirrored = asked(&[("x-way", "mirror"), ("x-targets", "slow")]);
    let answer = wharf.client().send(&mirrored).await?.ok()?;
    ensure!(is_shifted_by(1.0)(&answer.to_string()), "{answer}");
    let ended = wharf.metrics().await?;
    let ended = ended.sum("mirrored_request_total", &labels);
    ensure!(ended == 0.0, "the client was answered after it");
    wharf
        .wait_for_metrics("the mirrored request to be counted", |metrics| {
            metrics.sum("mirrored_request_total", &labels) == 1.0
                && metrics.sum("model_request_total", &labels) == 1.0
        })
        .await?;
    expect_recovered(&mut wharf, "one").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_that_leave_take_their_calls_with_them() -> Result<()> {
    let site = site(BOTH)?;
    site.write("models/slow/1/model.onnx", wharf_e2e::onnx::slow(20))?;
    let settings = "[grants.model]\ntargets = [\"slow\"]\n[settings]\ntargets = [\"slow\"]\n";
    site.write("plugins/ensemble.toml", settings)?;
    let mut wharf = Wharf::serve(&site).await?;
    let address = wharf.listen();
    let mut clients = JoinSet::new();
    for client in 0..10_u64 {
        clients.spawn(async move {
            for request in 0..20 {
                let patience = Duration::from_millis((client + request) % 15);
                let mut client = Client::new(address);
                let asked = asked(&[("x-times", "4")]);
                let _ = tokio::time::timeout(patience, client.send(&asked)).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    ensure!(!wharf.log().contains("panicked at"), "the host panicked");
    expect_recovered(&mut wharf, "one").await
}
