//! A Wharf in front of others: its routes lead to their models.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use wharf_e2e::{Client, Request, Site, Wharf, wait_for};

use crate::{expect_recovered, expect_shifted_by, is_shifted_by, one_to_four};

/// A process that shifts its input by an amount.
async fn shifting_by(amount: f32) -> Result<Wharf> {
    let site = Site::empty()?;
    site.adder("shift", 1, amount)?;
    // The process has read it: what is in memory needs no folder.
    Wharf::serve(&site).await
}

fn upstream(protocol: &str, addresses: &[SocketAddr], more: &str) -> String {
    let endpoints: Vec<_> = addresses.iter().map(|it| format!("http://{it}")).collect();
    format!("protocol = {protocol:?}\nendpoints = {endpoints:?}\nmodel = \"shift\"\n{more}")
}

/// By how much each of so many requests was shifted.
async fn shifts(client: &mut Client, request: &Request, count: usize) -> Result<Vec<f64>> {
    let mut shifts = Vec::new();
    for _ in 0..count {
        let answer = client.send(request).await?.ok()?;
        let first = crate::output(&answer).first().copied().unwrap_or_default();
        shifts.push(first - 1.0);
    }
    Ok(shifts)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_spreads_load_over_other_processes() -> Result<()> {
    let (one, other) = (shifting_by(1.0).await?, shifting_by(2.0).await?);
    let site = Site::empty()?;
    site.adder("own", 1, 0.0)?;
    site.write(
        "upstreams/rest.toml",
        upstream("oip-http", &[one.listen()], ""),
    )?;
    site.write(
        "upstreams/grpc.toml",
        upstream("oip-grpc", &[other.listen()], ""),
    )?;
    site.plugin("ab-test", "ab-test")?;
    site.write(
        "plugins/ab-test.toml",
        "[settings]\nexperiment = \"spread\"\nsticky_by = \"header\"\nsticky_header = \"x-user\"\n\
         [settings.variants]\na = { label = \"a\", weight = 50 }\nb = { label = \"b\", weight = 50 }\n",
    )?;
    site.write(
        "routes/spread.toml",
        "router = \"ab-test\"\n[[candidates]]\nupstream = \"rest\"\nlabels = [\"a\"]\n\
         [[candidates]]\nupstream = \"grpc\"\nlabels = [\"b\"]\n",
    )?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    expect_shifted_by(&mut client, "rest", 1.0).await?;
    expect_shifted_by(&mut client, "grpc", 2.0).await?;
    let mut seen = Vec::new();
    for user in 0..20 {
        let request = one_to_four("spread").header("x-user", user.to_string());
        seen.extend(shifts(&mut client, &request, 1).await?);
    }
    ensure!(
        seen.contains(&1.0) && seen.contains(&2.0),
        "not spread: {seen:?}"
    );

    // A client of the protocol sees the model of the other process as one of this.
    let metadata = client.get("/v2/models/rest").await?.ok()?;
    ensure!(metadata["platform"] == "wharf_upstream", "{metadata}");
    let metrics = wharf.metrics().await?;
    let labels = [r#"upstream="rest""#, r#"outcome="ok""#];
    ensure!(metrics.sum("upstream_request_total", &labels) > 0.0);
    expect_recovered(&mut wharf, "own").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_costs_no_request_where_another_has_the_same() -> Result<()> {
    let (one, other) = (shifting_by(1.0).await?, shifting_by(1.0).await?);
    let site = Site::empty()?;
    site.adder("own", 1, 0.0)?;
    let both = [one.listen(), other.listen()];
    site.write(
        "upstreams/shift.toml",
        upstream("oip-http", &both, "retry_budget = 1.0\n"),
    )?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    shifts(&mut client, &one_to_four("shift"), 20).await?;
    drop(other);
    let after = shifts(&mut client, &one_to_four("shift"), 40).await?;
    ensure!(after.iter().all(|shift| *shift == 1.0), "{after:?}");

    // Nobody left: a clear refusal, and the rest of the site serves.
    drop(one);
    let answer = client.send(&one_to_four("shift")).await?;
    let problem = answer.problem(503)?;
    ensure!(!problem.to_string().contains("127.0.0.1"), "{problem}");
    expect_recovered(&mut wharf, "own").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_that_comes_late_is_served_from_then_on() -> Result<()> {
    let late = shifting_by(3.0).await?;
    let site = Site::empty()?;
    site.adder("own", 1, 0.0)?;
    // Nothing listens there.
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    site.write("upstreams/shift.toml", upstream("oip-http", &[nowhere], ""))?;
    let mut wharf = Wharf::serve(&site).await?;
    wharf
        .client()
        .send(&one_to_four("shift"))
        .await?
        .problem(503)?;
    site.write(
        "upstreams/shift.toml",
        upstream("oip-http", &[late.listen()], ""),
    )?;
    wait_for("the upstream to be in force", async || {
        let answer = wharf.client().send(&one_to_four("shift")).await.ok()?;
        let answer = answer.ok().ok()?;
        is_shifted_by(3.0)(&answer.to_string()).then_some(())
    })
    .await?;
    expect_recovered(&mut wharf, "own").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_goes_through_a_plain_service() -> Result<()> {
    // The service is another Wharf's own endpoint.
    let service = shifting_by(4.0).await?;
    let site = Site::empty()?;
    site.adder("own", 1, 0.0)?;
    site.write(
        "upstreams/plain.toml",
        format!(
            "protocol = \"http\"\nendpoints = [\"http://{}/v1/infer/shift\"]\n",
            service.listen()
        ),
    )?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    expect_shifted_by(&mut client, "plain", 4.0).await?;
    let refused = Request::post("/v1/infer/plain", "application/json", "[");
    let problem = client.send(&refused).await?.problem(400)?;
    ensure!(
        problem["detail"]
            .as_str()
            .is_some_and(|it| it.starts_with("the upstream refused"))
    );
    expect_recovered(&mut wharf, "own").await
}
