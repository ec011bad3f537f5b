//! The first-party routers in front of models that run.

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Client, Load, Request, Site, Wharf, onnx, wait_for};

use crate::{expect_recovered, is_shifted_by, one_to_four, output};

/// Two candidates, by a router.
fn route(router: &str, models: [&str; 2]) -> String {
    let candidate =
        |model: &str| format!("[[candidates]]\nmodel = \"{model}\"\nlabels = [\"{model}\"]\n");
    format!(
        "router = \"{router}\"\n{}{}",
        candidate(models[0]),
        candidate(models[1])
    )
}

/// By how much the route's model shifts its input.
async fn shift(client: &mut Client, request: &Request) -> Result<f64> {
    let answer = client.send(request).await?.ok()?;
    let first = output(&answer).first().copied();
    first.map(|first| first - 1.0).context("an empty output")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_experiment_keeps_its_users_through_reloads_and_moves_only_those_it_must() -> Result<()>
{
    let site = Site::empty()?;
    site.adder("old", 1, 1.0)?;
    site.adder("new", 1, 2.0)?;
    site.plugin("ab-test", "ab-test")?;
    let settings = |weight: u32| {
        format!(
            "[settings]\nexperiment = \"ranker\"\nsticky_by = \"header\"\nsticky_header = \"x-user\"\nforce_header = \"x-variant\"\n\
             [settings.variants]\ncontrol = {{ label = \"old\", weight = 80 }}\ntreatment = {{ label = \"new\", weight = {weight} }}\n"
        )
    };
    site.write("plugins/ab-test.toml", settings(20))?;
    site.write("routes/rank.toml", route("ab-test", ["old", "new"]))?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let of = |user: u32| one_to_four("rank").header("x-user", user.to_string());

    let mut before = Vec::new();
    for user in 0..60 {
        before.push(shift(&mut client, &of(user)).await?);
    }
    let treated = before.iter().filter(|shift| **shift == 2.0).count();
    ensure!((2..30).contains(&treated), "{treated} of 60 are treated");
    let metrics = wharf.metrics().await?;
    let exposures = metrics.sum("plugin_ab_test_treatment_exposures_total", &[]);
    ensure!(exposures == treated as f64, "{exposures} of {treated}");

    site.write("plugins/ab-test.toml", settings(80))?;
    wharf.reload().await?;
    let mut moved = 0;
    for (user, before) in (0..60).zip(before) {
        let after = shift(&mut client, &of(user)).await?;
        ensure!(after >= before, "user {user} moved away from what grew");
        moved += usize::from(after > before);
    }
    ensure!(moved > 0, "nobody moved");

    let forced = of(1).header("x-variant", "treatment");
    ensure!(shift(&mut client, &forced).await? == 2.0, "not forced");
    let unknown = of(1).header("x-variant", "placebo");
    let problem = client.send(&unknown).await?.problem(400)?;
    ensure!(problem["field"] == "x-variant", "{problem}");
    expect_recovered(&mut wharf, "old").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_model_helps_out_while_the_preferred_one_is_dead() -> Result<()> {
    let far = Site::empty()?;
    far.adder("large", 1, 2.0)?;
    let peer = Wharf::serve(&far).await?;
    let site = Site::empty()?;
    site.adder("small", 1, 1.0)?;
    let endpoint = peer.listen();
    site.write(
        "upstreams/large.toml",
        format!(
            "protocol = \"oip-http\"\nendpoints = [\"http://{endpoint}\"]\n\
             [breaker]\nconsecutive_failures = 3\nopen_ms = 60000\nmax_open_ms = 60000\n"
        ),
    )?;
    site.plugin("fallback", "fallback")?;
    site.write(
        "plugins/fallback.toml",
        "[settings]\norder = [\"large\", \"small\"]\nlimits.max_queue_depth = 100\n",
    )?;
    let route =
        route("fallback", ["large", "small"]).replace("model = \"large\"", "upstream = \"large\"");
    site.write("routes/chat.toml", route)?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    ensure!(shift(&mut client, &one_to_four("chat")).await? == 2.0);

    peer.kill().await?;
    let mut refused = 0;
    while client.send(&one_to_four("chat")).await?.status != 200 {
        refused += 1;
        ensure!(refused <= 3, "the dead one is still chosen");
    }
    for _ in 0..20 {
        ensure!(shift(&mut client, &one_to_four("chat")).await? == 1.0);
    }
    expect_recovered(&mut wharf, "small").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_model_helps_out_while_the_preferred_one_is_busy() -> Result<()> {
    let site = Site::empty()?;
    site.write("models/large/1/model.onnx", onnx::slow(20))?;
    site.adder("small", 1, 1.0)?;
    site.plugin("fallback", "fallback")?;
    site.write(
        "plugins/fallback.toml",
        "[settings]\norder = [\"large\", \"small\"]\nlimits.max_in_flight = 0\n",
    )?;
    site.write("routes/chat.toml", route("fallback", ["large", "small"]))?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    ensure!(shift(&mut client, &one_to_four("chat")).await? == 0.0);

    let busy = Load::start(wharf.listen(), 2, &one_to_four("large"));
    let chat = Load::start(wharf.listen(), 1, &one_to_four("chat"));
    chat.wait_for_answer(is_shifted_by(1.0)).await?;
    busy.stop().await?.without_failure()?;
    chat.wait_for_answer(is_shifted_by(0.0)).await?;
    chat.stop().await?.without_failure()?;

    let metrics = wharf.metrics().await?;
    for metric in ["large_chosen", "small_chosen", "passed_over_in_flight"] {
        let count = metrics.sum(&format!("plugin_fallback_{metric}_total"), &[]);
        ensure!(count > 0.0, "{metric} is {count}");
    }
    wait_for("the preferred one to be idle", async || {
        let shift = shift(&mut wharf.client(), &one_to_four("chat")).await;
        shift.is_ok_and(|shift| shift == 0.0).then_some(())
    })
    .await?;
    expect_recovered(&mut wharf, "small").await
}
