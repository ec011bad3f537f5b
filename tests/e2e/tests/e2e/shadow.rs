//! The plugin `shadow`: another model sees the traffic, and no client sees the other model.

use anyhow::{Result, ensure};
use wharf_e2e::{Site, Wharf, onnx, wait_for};

use crate::{expect_recovered, expect_shifted_by, one_to_four};

/// The route `rank` in front of `old`, `y = x + 1`, whose traffic `next` sees, `y = x + 2`.
fn site(settings: &str) -> Result<Site> {
    let site = Site::empty()?;
    site.adder("old", 1, 1.0)?;
    site.adder("next", 1, 2.0)?;
    site.plugin("shadow", "shadow")?;
    site.write(
        "plugins/shadow.toml",
        format!(
            "[grants.model]\ntargets = [\"next\"]\n[settings]\ntarget = \"next\"\n{settings}\n"
        ),
    )?;
    site.write(
        "routes/rank.toml",
        "model = \"old\"\ninput = \"tensors\"\npre = [{ plugin = \"shadow\", on_failure = \"skip\" }]\n",
    )?;
    Ok(site)
}

async fn count(wharf: &Wharf, metric: &str, labels: &[&str]) -> Result<f64> {
    Ok(wharf.metrics().await?.sum(metric, labels))
}

/// Waits until so many mirrored requests have ended well.
async fn mirrored(wharf: &Wharf, wanted: f64) -> Result<()> {
    let labels = ["endpoint=\"next\"", "outcome=\"ok\""];
    wait_for("the mirrored requests to end", async || {
        let count = count(wharf, "mirrored_request_total", &labels).await;
        count.is_ok_and(|count| count == wanted).then_some(())
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_model_gets_every_request_and_clients_get_none_of_its_answers() -> Result<()> {
    let mut wharf = Wharf::serve(&site("percent = 100")?).await?;
    let mut client = wharf.client();
    for done in 1..=20 {
        expect_shifted_by(&mut client, "rank", 1.0).await?;
        // One by one, so that there is room for each.
        mirrored(&wharf, f64::from(done)).await?;
    }
    let exposures = count(
        &wharf,
        "plugin_shadow_mirrored_total",
        &["plugin=\"shadow\""],
    )
    .await?;
    ensure!(exposures == 20.0, "{exposures} exposures");
    expect_recovered(&mut wharf, "old").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_share_has_the_same_users_each_time() -> Result<()> {
    let mut wharf = Wharf::serve(&site("percent = 50\nsticky_header = \"x-user\"")?).await?;
    let mut client = wharf.client();
    let mut seen = Vec::new();
    let mut total = 0.0;
    for user in (0..20).chain(0..20) {
        let request = one_to_four("rank").header("x-user", user.to_string());
        client.send(&request).await?.ok()?;
        let exposures = count(&wharf, "plugin_shadow_mirrored_total", &[]).await?;
        seen.push(exposures > total);
        total = exposures;
        mirrored(&wharf, total).await?;
    }
    ensure!(seen[..20] == seen[20..], "{seen:?}");
    ensure!((10.0..32.0).contains(&total), "{total} of 40");
    expect_recovered(&mut wharf, "old").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_that_is_slow_or_gone_is_noticed_by_no_client() -> Result<()> {
    let site = site("percent = 100")?;
    site.write("models/next/1/model.onnx", onnx::slow(200))?;
    site.write("wharf.toml", "[serving]\nmax_mirrored = 2\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    // Far more than the target can answer meanwhile.
    for _ in 0..50 {
        expect_shifted_by(&mut client, "rank", 1.0).await?;
    }
    let full = count(&wharf, "plugin_shadow_full_total", &[]).await?;
    ensure!(full > 0.0, "all of them were mirrored");

    site.remove("models/next")?;
    wharf.reload().await?;
    expect_shifted_by(&mut client, "rank", 1.0).await?;
    let refused = count(&wharf, "plugin_shadow_refused_total", &[]).await?;
    ensure!(refused > 0.0, "it is refused without a target");
    wharf.wait_for_log("a request was not mirrored").await?;
    expect_recovered(&mut wharf, "old").await
}
