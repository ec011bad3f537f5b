//! Plugins that fail again and again, by their own fault and by their clients'.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use wharf_e2e::{Load, Report, Wharf, wait_for};

use crate::plugins::{behaving, route, site};
use crate::{expect_recovered, is_shifted_by, one_to_four};

const HOSTILE: [&str; 1] = ["plugin=\"hostile\""];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plugin_that_keeps_failing_is_not_called_until_it_works_again() -> Result<()> {
    let site = site("trap-on-header", "")?;
    site.write("wharf.toml", "[serving]\nbreaker_pause_ms = 5000\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let trapping = one_to_four("hostile").header("x-trap", "1");
    for _ in 0..24 {
        client.send(&trapping).await?.problem(502)?;
    }
    let answer = client.send(&one_to_four("hostile")).await?;
    answer.problem(503)?;
    let wait = answer
        .headers
        .get("retry-after")
        .context("no Retry-After")?;
    ensure!(wait.to_str()?.parse::<u64>()? <= 5, "{wait:?}");
    // Other routes know nothing of it.
    crate::expect_shifted_by(&mut client, "adder", 1.0).await?;
    wait_for("a call to be tried and to succeed", async || {
        let answer = client.send(&one_to_four("hostile")).await.ok()?;
        (answer.status == 200).then_some(())
    })
    .await?;
    let snapshot = wharf.snapshot().await?.to_string();
    ensure!(snapshot.contains("\"paused\""), "no event: {snapshot}");
    ensure!(snapshot.contains("\"resumed\""), "no event: {snapshot}");
    let metrics = wharf.metrics().await?;
    for metric in ["opened", "closed", "refused"] {
        let count = metrics.sum(&format!("plugin_breaker_{metric}_total"), &HOSTILE);
        ensure!(count >= 1.0, "{metric}: {count}");
    }
    ensure!(
        metrics.sum("plugin_trap_total", &HOSTILE) == 24.0,
        "it was called meanwhile"
    );
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_may_skip_a_stage_is_served_meanwhile() -> Result<()> {
    let site = site("trap", "")?;
    site.write("routes/hostile.toml", route("skip"))?;
    let mut wharf = Wharf::serve(&site).await?;
    for _ in 0..100 {
        crate::expect_shifted_by(&mut wharf.client(), "hostile", 1.0).await?;
    }
    let metrics = wharf.metrics().await?;
    ensure!(
        metrics.sum("plugin_breaker_refused_total", &HOSTILE) > 0.0,
        "it was always called"
    );
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_requests_do_not_roll_a_good_release_back() -> Result<()> {
    let site = site("trap-on-header", "")?;
    let mut wharf = Wharf::serve(&site).await?;
    crate::expect_shifted_by(&mut wharf.client(), "hostile", 1.0).await?;
    // Another release of the same behaviour.
    site.write(
        "plugins/hostile.toml",
        behaving("trap-on-header", "handles = 1000"),
    )?;
    wharf.reload().await?;
    let release = |snapshot: &Value| -> Result<Value> {
        let plugins = snapshot["plugins"].as_array().context("no plugins")?;
        let plugin = plugins.iter().find(|plugin| plugin["name"] == "hostile");
        Ok(plugin.context("no plugin `hostile`")?.clone())
    };
    let before = release(&wharf.snapshot().await?)?;
    let mut client = wharf.client();
    let trapping = one_to_four("hostile").header("x-trap", "1");
    for round in 1..=10 {
        client.send(&trapping).await?.problem(502)?;
        // It trapped here and in the release before, which was asked the same.
        let traps = f64::from(2 * round);
        wharf
            .wait_for_metrics("the release before to be asked", |metrics| {
                metrics.sum("plugin_trap_total", &HOSTILE) >= traps
            })
            .await?;
    }
    let after = release(&wharf.snapshot().await?)?;
    assert_eq!(after["digest"], before["digest"]);
    ensure!(
        after.get("rejected_digest").is_none_or(Value::is_null),
        "{after}"
    );
    crate::expect_shifted_by(&mut client, "hostile", 1.0).await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_looping_plugin_leaves_its_neighbours_their_latency() -> Result<()> {
    let site = site("spin", "call_ms = 200")?;
    // The loop is to go on: neither is it rolled back nor spared.
    site.write("wharf.toml", "[serving]\nbreaker_faults = 0\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let time = Duration::from_secs(2);
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    // What else a machine does spoils a round, and what the loop does would spoil them all.
    for round in 1..=9 {
        alone.push(neighbour(&wharf, time).await?.p99());
        let looping = Load::start(wharf.listen(), 1, &one_to_four("hostile"));
        beside.push(neighbour(&wharf, time).await?.p99());
        let report = looping.stop().await?;
        ensure!(
            report.answered == 0 && report.failed > 0,
            "the loop was not called"
        );
        let (alone, beside) = (median(&mut alone), median(&mut beside));
        // Half as much again is the aim, and `cargo xtask bench` measures it. The loop takes one of few cores that the clients
        // of this test share, so a margin is added: a neighbour that had to wait for a tick of the loop, or for its end, would
        // take tens or hundreds of milliseconds.
        let most = (alone * 3 / 2).max(alone + Duration::from_millis(15));
        if round >= 3 && beside <= most {
            return expect_recovered(&mut wharf, "adder").await;
        }
    }
    bail!("the neighbour's p99 went from {alone:?} to {beside:?}")
}

async fn neighbour(wharf: &Wharf, time: Duration) -> Result<Report> {
    let load = Load::start(wharf.listen(), 1, &one_to_four("adder"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    let begun = std::time::Instant::now();
    while begun.elapsed() < time {
        load.wait_for_answer(is_shifted_by(1.0)).await?;
    }
    let report = load.stop().await?;
    report.without_failure()?;
    Ok(report)
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
