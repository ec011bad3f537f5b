//! Plugins that are slow, greedy or curious.

use std::cell::Cell;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;
use wharf_e2e::{Client, Load, Site, Wharf, wait_for};

use crate::{expect_recovered, one_to_four};

/// A site with the model `adder`, `y = x + 1`, and the route `hostile`, which passes through the guest `hostile`.
pub(crate) fn site(behaviour: &str, limits: &str) -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.plugin("hostile", "hostile")?;
    site.write("plugins/hostile.toml", behaving(behaviour, limits))?;
    site.write("routes/hostile.toml", route("closed"))?;
    Ok(site)
}

/// The settings that make the guest `hostile` behave in one of its ways.
pub(crate) fn behaving(behaviour: &str, limits: &str) -> String {
    format!("[limits]\n{limits}\n[settings]\nbehaviour = \"{behaviour}\"\n")
}

pub(crate) fn route(on_failure: &str) -> String {
    format!(
        "model = \"adder\"\ninput = \"tensors\"\npre = [{{ plugin = \"hostile\", on_failure = \"{on_failure}\" }}]\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endless_loop_ends_at_its_limit_and_delays_no_neighbour() -> Result<()> {
    let site = site("spin", "call_ms = 200")?;
    let mut wharf = Wharf::serve(&site).await?;

    let shortest = Cell::new(Duration::MAX);
    let looping = async || {
        let begun = Instant::now();
        wharf
            .client()
            .send(&one_to_four("hostile"))
            .await?
            .problem(502)?;
        shortest.set(shortest.get().min(begun.elapsed()));
        Ok(())
    };
    // What else a machine does spoils a look, and what the loop does would spoil them all.
    let mut seen = Vec::new();
    loop {
        let alone = neighbours(&wharf, Duration::from_secs(2), async || Ok(())).await?;
        let beside = neighbours(&wharf, Duration::from_secs(2), &looping).await?;
        // The loop takes one of few cores; what must not happen is that neighbours wait until its call ends.
        if beside < (alone * 10).max(Duration::from_millis(100)) {
            break;
        }
        seen.push((alone, beside));
        ensure!(
            seen.len() < 5,
            "the neighbours' p99, alone and beside it: {seen:?}"
        );
    }
    ensure!(
        shortest.get() < Duration::from_secs(1),
        "the loop ran for {shortest:?}"
    );
    wharf.wait_for_log("limits.call_ms").await?;
    expect_recovered(&mut wharf, "adder").await
}

/// The p99 of a neighbour's requests while something else is done again and again.
async fn neighbours(
    wharf: &Wharf,
    time: Duration,
    meanwhile: impl AsyncFn() -> Result<()>,
) -> Result<Duration> {
    let load = Load::start(wharf.listen(), 2, &one_to_four("adder"));
    let begun = Instant::now();
    while begun.elapsed() < time {
        meanwhile().await?;
        load.wait_for_answer(|_| true).await?;
    }
    let report = load.stop().await?;
    report.without_failure()?;
    Ok(report.p99())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stage_that_may_be_skipped_fails_no_request() -> Result<()> {
    let site = site("trap", "")?;
    site.write("routes/hostile.toml", route("skip"))?;
    let mut wharf = Wharf::serve(&site).await?;
    for _ in 0..10 {
        crate::expect_shifted_by(&mut wharf.client(), "hostile", 1.0).await?;
    }
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greed_ends_at_the_limit_that_the_log_names() -> Result<()> {
    let limits = "memory_mb = 32\nhandles = 1000\noutput_mb = 1";
    for (behaviour, limit) in [
        ("hog", "limits.memory_mb"),
        ("handles", "limits.handles"),
        ("many-tensors", "limits.handles"),
        ("big-output", "limits."),
        ("huge-list", "limits."),
        ("recurse", "wasm trap"),
    ] {
        let site = site(behaviour, limits)?;
        let mut wharf = Wharf::serve(&site).await?;
        let before = wharf.resident_bytes()?;
        for _ in 0..20 {
            let answer = wharf.client().send(&one_to_four("hostile")).await?;
            answer
                .problem(502)
                .with_context(|| format!("the behaviour {behaviour}"))?;
        }
        wharf
            .wait_for_log(limit)
            .await
            .with_context(|| format!("the behaviour {behaviour}"))?;
        let growth = wharf.resident_bytes()?.saturating_sub(before);
        ensure!(
            growth < 400 << 20,
            "{behaviour}: the server grew by {} MiB",
            growth >> 20
        );
        expect_recovered(&mut wharf, "adder").await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gibibyte_ends_at_a_limit_before_the_host_copies_it() -> Result<()> {
    // The guest may have that much memory. What it makes of it is too much for one call of the host, or for an answer.
    let limits = "memory_mb = 3072\ncall_ms = 60000\nhost_call_mb = 64\noutput_mb = 64";
    for (behaviour, count, limit) in [
        ("huge-list", 1 << 27, "limits.host_call_mb = 64"),
        ("big-output", 1 << 30, "limits."),
    ] {
        let site = site(behaviour, limits)?;
        // The guest takes seconds to fill it: what ends the call is to be the limit, not the deadline.
        site.write(
            "routes/hostile.toml",
            format!("timeout_ms = 60000\n{}", route("closed")),
        )?;
        let mut wharf = Wharf::serve(&site).await?;
        let request = one_to_four("hostile").header("x-count", count.to_string());
        wharf
            .client()
            .send(&request)
            .await?
            .problem(502)
            .with_context(|| format!("the behaviour {behaviour}"))?;
        wharf.wait_for_log(limit).await?;
        expect_recovered(&mut wharf, "adder").await?;
        wait_for("the memory to be given back", async || {
            let resident = wharf.resident_bytes().ok()?;
            (resident < 256 << 20).then_some(())
        })
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_text_of_a_panic_is_for_the_operator_alone() -> Result<()> {
    let site = site("panic", "")?;
    let mut wharf = Wharf::serve(&site).await?;
    let request = one_to_four("hostile").header("x-message", "the inner secret");
    let problem = wharf.client().send(&request).await?.problem(502)?;
    ensure!(!problem.to_string().contains("inner secret"), "{problem}");
    wharf.wait_for_log("inner secret").await?;
    let metrics = wharf.metrics().await?;
    ensure!(
        metrics.sum("plugin_trap_total", &["plugin=\"hostile\""]) == 1.0,
        "the metric does not count it"
    );
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_request_leaves_in_a_guest_is_not_there_for_the_next() -> Result<()> {
    let site = site("pass", "")?;
    site.write(
        "routes/hostile.toml",
        "model = \"adder\"\npost = [\"hostile\"]\n",
    )?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let leak = one_to_four("hostile").header("x-behaviour-post", "leak-secret");
    let mut seen = async |secret: &str| -> Result<String> {
        let answer = client
            .send(&leak.clone().header("x-secret", secret))
            .await?;
        ensure!(answer.status == 200, "{}", answer.text());
        Ok(answer.text())
    };
    for request in 0..100 {
        assert_eq!(seen(&format!("secret {request}")).await?, "");
    }
    // Where the operator shares instances, the guest does see it: so the check above looks in the right place.
    site.write("plugins/hostile.toml", "isolation = \"shared\"\n")?;
    wharf.reload().await?;
    seen("shared").await?;
    wait_for("the secret in the shared instance", async || {
        seen("shared")
            .await
            .is_ok_and(|text| text == "shared")
            .then_some(())
    })
    .await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_free_their_instances() -> Result<()> {
    let site = site("spin", "call_ms = 100")?;
    let mut wharf = Wharf::serve(&site).await?;
    let address = wharf.listen();
    let mut clients = JoinSet::new();
    for client in 0..20_u64 {
        clients.spawn(async move {
            for request in 0..500 {
                let patience = Duration::from_millis((client + request) % 10);
                let mut client = Client::new(address);
                let _ = tokio::time::timeout(patience, client.send(&one_to_four("hostile"))).await;
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended?;
    }
    ensure!(!wharf.log().contains("panicked at"), "the host panicked");
    expect_recovered(&mut wharf, "adder").await
}
