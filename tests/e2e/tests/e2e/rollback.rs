//! A new release of a plugin that keeps trapping.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_e2e::{Load, Wharf, wait_for};

use crate::plugins::{behaving, route, site};
use crate::{expect_recovered, is_shifted_by, one_to_four};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_keeps_trapping_is_rolled_back() -> Result<()> {
    let site = site("pass", "")?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("hostile"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;

    site.write("plugins/hostile.toml", behaving("trap", ""))?;
    let rejected = wait_for("the roll-back", async || {
        rejected(&wharf).await.ok().flatten()
    })
    .await?;
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    let report = load.stop().await?;
    ensure!(report.failed > 0, "the trapping release was never asked");
    crate::admin::event_of(&wharf.snapshot().await?, "plugins/hostile")?;

    // The release that was rolled back stays out until its content changes.
    wharf.reload().await?;
    assert_eq!(self::rejected(&wharf).await?, Some(rejected));
    crate::expect_shifted_by(&mut wharf.client(), "hostile", 1.0).await?;
    site.write("plugins/hostile.toml", behaving("pass", "handles = 1000"))?;
    wharf.reload().await?;
    assert_eq!(self::rejected(&wharf).await?, None);
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_that_falls_back_on_the_release_before_fails_no_request() -> Result<()> {
    let site = site("pass", "")?;
    site.write("routes/hostile.toml", route("previous"))?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 2, &one_to_four("hostile"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    site.write("plugins/hostile.toml", behaving("trap", ""))?;
    wait_for("the roll-back", async || {
        rejected(&wharf).await.ok().flatten()
    })
    .await?;
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()?;
    expect_recovered(&mut wharf, "adder").await
}

/// The digest of the release of `hostile` that was rolled back.
async fn rejected(wharf: &Wharf) -> Result<Option<String>> {
    let snapshot = wharf.snapshot().await?;
    let plugins = snapshot["plugins"].as_array().context("no plugins")?;
    let plugin = plugins
        .iter()
        .find(|plugin| plugin["name"] == "hostile")
        .context("no plugin `hostile`")?;
    Ok(plugin
        .get("rejected_digest")
        .and_then(Value::as_str)
        .map(str::to_owned))
}
