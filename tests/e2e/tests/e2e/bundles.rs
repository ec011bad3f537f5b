//! Bundles: a plugin, its model and its route, released, tried and taken back as one.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::{Load, Request, Site, Wharf, check, guest, wait_for};

use crate::{expect_recovered, is_shifted_by, one_to_four};

const ROUTE: &str = "model = \"adder\"\ninput = \"tensors\"\npre = [\"hostile\"]\n";

/// Settings under which a trial ends soon.
const QUICK: &str =
    "share_percent = [20, 50]\nstep_s = 0\nmin_requests = 100\nmax_latency_ratio = 0\n";

/// Puts a release of the bundle `shop` in its place in one step, as `wharf bundle pull` does: its route `shop` adds `amount`, behind a
/// plugin that behaves in one of its ways.
fn release(site: &Site, number: u64, amount: f32, behaviour: &str) -> Result<()> {
    let coming = format!("bundles/shop/.{number}.coming");
    let model = wharf_e2e::onnx::adder(amount);
    site.write(&format!("{coming}/models/adder/1/model.onnx"), model)?;
    site.write(&format!("{coming}/plugins/hostile.wasm"), guest("hostile")?)?;
    // What is slow is not to fail for it.
    let settings = crate::plugins::behaving(behaviour, "call_ms = 60000");
    site.write(&format!("{coming}/plugins/hostile.toml"), settings)?;
    site.write(&format!("{coming}/routes/shop.toml"), ROUTE)?;
    let place = site.path().join(format!("bundles/shop/{number}"));
    std::fs::rename(site.path().join(coming), place)?;
    Ok(())
}

/// A site with the bundle in its first release, `y = x + 1`, and with the model `adder` of its own.
fn site(policy: &str) -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 100.0)?;
    site.write("bundles/shop/bundle.toml", policy)?;
    release(&site, 1, 1.0, "pass")?;
    Ok(site)
}

/// A release of the bundle, as the admin API shows it.
async fn shown(wharf: &Wharf, number: u64) -> Result<Value> {
    let bundles = wharf.admin().get("/admin/bundles").await?.ok()?;
    let releases = bundles["bundles"][0]["releases"].as_array();
    let releases = releases.context("no bundle")?;
    let release = releases
        .iter()
        .rev()
        .find(|release| release["release"] == number);
    release
        .cloned()
        .with_context(|| format!("no release {number}: {bundles}"))
}

async fn wait_for_state(wharf: &Wharf, number: u64, state: &str) -> Result<Value> {
    wait_for(&format!("release {number} to be {state}"), async || {
        let release = shown(wharf, number).await.ok()?;
        (release["state"] == state).then_some(release)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_is_tried_and_promoted_under_traffic_without_a_failed_request() -> Result<()> {
    let site = site(QUICK)?;
    let mut wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), 4, &one_to_four("shop"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    release(&site, 2, 2.0, "pass")?;
    let promoted = wait_for_state(&wharf, 2, "in-force").await?;
    assert_eq!(promoted["share_percent"], 100.0);
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    load.stop().await?.without_failure()?;
    let snapshot = wharf.snapshot().await?;
    let events = snapshot["events"].as_array().context("no events")?;
    let kinds = events
        .iter()
        .filter(|event| event["file"] == "bundles/shop/2");
    let kinds: Vec<_> = kinds
        .map(|event| event["kind"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["tried", "tried", "promoted"]);
    wharf
        .wait_for_metrics("the old release to be dropped", |metrics| {
            metrics.sum("serving_live_generations", &["kind=\"plugin\""]) == 1.0
        })
        .await?;
    let metrics = wharf.metrics().await?;
    assert_eq!(metrics.sum("bundle_share_ratio", &["release=\"2\""]), 1.0);
    assert_eq!(
        metrics.sum("bundle_verdict_total", &["verdict=\"promoted\""]),
        1.0
    );
    // The model of that name is still the site's.
    crate::expect_shifted_by(&mut wharf.client(), "adder", 100.0).await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_whose_plugin_traps_is_rolled_back_after_few_failed_requests() -> Result<()> {
    let site = site(QUICK)?;
    let wharf = Wharf::serve(&site).await?;
    // One client: the more there are, the more requests fail before a busy machine comes to the roll-back.
    let load = Load::start(wharf.listen(), 1, &one_to_four("shop"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    release(&site, 2, 2.0, "trap")?;
    let rolled_back = wait_for_state(&wharf, 2, "rolled-back").await?;
    ensure!(
        rolled_back["reason"]
            .to_string()
            .contains("requests failed"),
        "{rolled_back}"
    );
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    let report = load.stop().await?;
    ensure!(report.failed > 0, "the trapping release was never asked");
    ensure!(report.failed < 100, "{} requests failed", report.failed);
    eprintln!(
        "{} of {} requests failed",
        report.failed,
        report.failed + report.answered
    );
    // It stays out, and so it does after a restart.
    wharf.reload().await?;
    wait_for_state(&wharf, 2, "rolled-back").await?;
    wharf.stop().await?;
    let mut wharf = Wharf::serve(&site).await?;
    wait_for_state(&wharf, 2, "rolled-back").await?;
    crate::expect_shifted_by(&mut wharf.client(), "shop", 1.0).await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_that_is_slow_is_rolled_back_without_a_failed_request() -> Result<()> {
    let site = site("share_percent = [20]\nstep_s = 3600\n")?;
    let wharf = Wharf::serve(&site).await?;
    // The new release writes so many lines; the other one does not.
    let request = one_to_four("shop").header("x-count", "50000");
    let load = Load::start(wharf.listen(), 2, &request);
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    release(&site, 2, 2.0, "chatty")?;
    let rolled_back = wait_for_state(&wharf, 2, "rolled-back").await?;
    ensure!(
        rolled_back["reason"].to_string().contains("1.5 times"),
        "{rolled_back}"
    );
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_with_a_broken_part_changes_nothing_and_is_said() -> Result<()> {
    let site = site(QUICK)?;
    release(&site, 2, 2.0, "pass")?;
    site.write("bundles/shop/2/models/adder/1/model.onnx", "no model")?;
    release(&site, 3, 3.0, "pass")?;
    site.write(
        "bundles/shop/3/plugins/hostile.toml",
        "[settings]\nself_test = \"trap\"\n",
    )?;
    let wharf = Wharf::serve(&site).await?;
    crate::expect_shifted_by(&mut wharf.client(), "shop", 1.0).await?;
    for (number, file) in [
        (2, "bundles/shop/2/models/adder/1/model.onnx"),
        (3, "bundles/shop/3/plugins/hostile.wasm"),
    ] {
        let release = shown(&wharf, number).await?;
        assert_eq!(release["state"], "refused", "{release}");
        ensure!(release["reason"].to_string().contains(file), "{release}");
    }
    let output = check(&site)?;
    assert_eq!(output.status.code(), Some(78));
    let text = String::from_utf8(output.stdout)?;
    ensure!(
        text.contains("bundles/shop/3/plugins/hostile.wasm"),
        "{text}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_may_name_a_release_and_operators_promote_it() -> Result<()> {
    let site = site("mode = \"manual\"\nshare_percent = []\n")?;
    release(&site, 2, 2.0, "pass")?;
    site.write("bundles/shop/state.toml", "promoted = 1\n")?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let metadata = client.get("/v2/models/shop").await?.ok()?;
    assert_eq!(metadata["versions"], json!(["1", "2"]));
    let input = json!({"inputs": [{"name": "x", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]});
    for (path, version, first) in [
        ("/v2/models/shop/infer", "1", 2.0),
        ("/v2/models/shop/versions/1/infer", "1", 2.0),
        ("/v2/models/shop/versions/2/infer", "2", 3.0),
    ] {
        let answer = client.send(&Request::json(path, &input)).await?.ok()?;
        assert_eq!(answer["model_version"], version, "{path}");
        assert_eq!(answer["outputs"][0]["data"][0], first, "{path}");
    }
    client
        .send(&Request::json("/v2/models/shop/versions/3/infer", &input))
        .await?
        .problem(404)?;
    let mut admin = wharf.admin();
    admin
        .post("/admin/bundles/nothing/promote", &json!({}))
        .await?
        .problem(404)?;
    admin
        .post("/admin/bundles/shop/promote?release=x", &json!({}))
        .await?
        .problem(400)?;
    let elsewhere = Request::json("/admin/bundles/shop/promote", &json!({}));
    let elsewhere = elsewhere.header("origin", "http://elsewhere.example");
    admin.send(&elsewhere).await?.problem(403)?;
    admin
        .post("/admin/bundles/shop/promote", &json!({}))
        .await?
        .ok()?;
    crate::expect_shifted_by(&mut client, "shop", 2.0).await?;
    admin
        .post("/admin/bundles/shop/promote", &json!({}))
        .await?
        .problem(409)?;
    admin
        .post("/admin/bundles/shop/rollback", &json!({}))
        .await?
        .ok()?;
    crate::expect_shifted_by(&mut client, "shop", 1.0).await?;
    assert_eq!(shown(&wharf, 2).await?["state"], "rolled-back");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_at_any_moment_leaves_the_old_release_or_the_new_one() -> Result<()> {
    let site =
        site("share_percent = [50]\nstep_s = 0\nmin_requests = 10\nmax_latency_ratio = 0\n")?;
    let mut amount = 1.0;
    for round in 0..4_u8 {
        let number = u64::from(round) + 2;
        let wharf = Wharf::serve(&site).await?;
        let before = amount;
        amount = f32::from(round) + 2.0;
        let load = Load::start(wharf.listen(), 2, &one_to_four("shop"));
        release(&site, number, amount, "pass")?;
        // Before, in the middle of and behind the promotion.
        let state = ["on-trial", "in-force", "on-trial", "in-force"][usize::from(round)];
        wait_for(&format!("{state} or later"), async || {
            let release = shown(&wharf, number).await.ok()?;
            (release["state"] == state || release["state"] == "in-force").then_some(())
        })
        .await?;
        wharf.kill().await?;
        drop(load);
        let wharf = Wharf::serve(&site).await?;
        let answer = wharf
            .client()
            .send(&one_to_four("shop"))
            .await?
            .ok()?
            .to_string();
        let old_or_new = [before, amount].map(|amount| is_shifted_by(f64::from(amount))(&answer));
        ensure!(old_or_new.contains(&true), "round {round}: {answer}");
        let record = site.read("bundles/shop/state.toml")?;
        ensure!(
            record.lines().any(|line| line.starts_with("promoted = ")),
            "{record}"
        );
        // The next round begins with what is in force now.
        wharf
            .admin()
            .post(
                &format!("/admin/bundles/shop/promote?release={number}"),
                &json!({}),
            )
            .await?;
        crate::expect_shifted_by(&mut wharf.client(), "shop", f64::from(amount)).await?;
        wharf.stop().await?;
    }
    Ok(())
}
