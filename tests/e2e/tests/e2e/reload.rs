//! Changes of a site under load: the answers change, and no request fails.

use anyhow::Result;
use wharf_e2e::{Load, Site, Wharf, guest};

use crate::{is_shifted_by, one_to_four};

const CLIENTS: usize = 4;

/// A site with `route`: the plugin `scale` before the model `adder`, `y = factor * x + 1`.
fn site() -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.plugin("scale", "scale")?;
    site.write("plugins/scale.toml", scaled_by(1.0))?;
    site.write("routes/route.toml", ROUTE)?;
    Ok(site)
}

const ROUTE: &str = "model = \"adder\"\ninput = \"tensors\"\npre = [\"scale\"]\n";

fn scaled_by(factor: f64) -> String {
    format!("[settings]\nfactor = {factor:.1}\n")
}

/// Whether the answer is `factor * x + 1` for `x` of 1 to 4.
fn is_scaled_by(factor: f64) -> impl Fn(&str) -> bool {
    let expected: Vec<_> = [1.0, 2.0, 3.0, 4.0]
        .iter()
        .map(|x| x * factor + 1.0)
        .collect();
    move |answer| {
        serde_json::from_str(answer).is_ok_and(|answer| crate::output(&answer) == expected)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_settings_of_a_plugin_take_effect_without_a_failed_request() -> Result<()> {
    let site = site()?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), CLIENTS, &one_to_four("route"));
    load.wait_for_answer(is_scaled_by(1.0)).await?;
    for factor in [2.0, 3.0, 4.0] {
        site.write("plugins/scale.toml", scaled_by(factor))?;
        load.wait_for_answer(is_scaled_by(factor)).await?;
    }
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_component_takes_effect_without_a_failed_request() -> Result<()> {
    let site = site()?;
    site.write("plugins/scale.toml", "")?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), CLIENTS, &one_to_four("route"));
    // Without settings `scale` doubles, and `echo` passes on.
    load.wait_for_answer(is_scaled_by(2.0)).await?;
    site.plugin("scale", "echo")?;
    load.wait_for_answer(is_scaled_by(1.0)).await?;
    site.write_in_place("plugins/scale.wasm", guest("scale")?)?;
    load.wait_for_answer(is_scaled_by(2.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_of_a_model_come_and_go_without_a_failed_request() -> Result<()> {
    let site = site()?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), CLIENTS, &one_to_four("adder"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    site.adder("adder", 2, 2.0)?;
    load.wait_for_answer(is_shifted_by(2.0)).await?;
    site.adder("adder", 2, 3.0)?;
    load.wait_for_answer(is_shifted_by(3.0)).await?;
    site.remove("models/adder/2")?;
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_route_file_takes_effect_without_a_failed_request() -> Result<()> {
    let site = site()?;
    site.adder("other", 1, 5.0)?;
    let wharf = Wharf::serve(&site).await?;
    let load = Load::start(wharf.listen(), CLIENTS, &one_to_four("route"));
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    site.write("routes/route.toml", "model = \"other\"\n")?;
    load.wait_for_answer(is_shifted_by(5.0)).await?;
    site.write_in_place("routes/route.toml", ROUTE)?;
    load.wait_for_answer(is_shifted_by(1.0)).await?;
    load.stop().await?.without_failure()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_generations_are_given_back_after_reloads() -> Result<()> {
    let site = site()?;
    let wharf = Wharf::serve(&site).await?;
    let before = wharf
        .metrics()
        .await?
        .sum("serving_live_generations", &["kind=\"model\""]);
    let load = Load::start(wharf.listen(), CLIENTS, &one_to_four("adder"));
    for amount in [2.0, 3.0, 4.0] {
        site.adder("adder", 1, amount)?;
        load.wait_for_answer(is_shifted_by(f64::from(amount)))
            .await?;
    }
    load.stop().await?.without_failure()?;
    wharf
        .wait_for_metrics("the old models to be dropped", |metrics| {
            metrics.sum("serving_live_generations", &["kind=\"model\""]) == before
        })
        .await
}
