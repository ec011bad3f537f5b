//! Requests that went wrong: recorded by a server that serves, and run again by an author.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use wharf_e2e::{Site, Wharf, program};

use crate::{expect_recovered, one_to_four};

/// A site with a guest before a model that does wrong where the request says so.
fn site(settings: &str) -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.plugin("hostile", "hostile")?;
    site.write("plugins/hostile.toml", settings)?;
    site.write(
        "routes/route.toml",
        "model = \"adder\"\ninput = \"tensors\"\npre = [\"hostile\"]\n",
    )?;
    Ok(site)
}

/// The recordings. What is half written or half removed has no name of one.
fn recordings(site: &Site) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(site.path().join("recordings/hostile"))? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with('.') {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The digest of the plugin's release in force.
async fn release(wharf: &Wharf) -> Result<Value> {
    let plugins = wharf.snapshot().await?["plugins"].take();
    let plugin = plugins.as_array().and_then(|plugins| plugins.first());
    Ok(plugin.context("no plugin")?["digest"].clone())
}

async fn wait_for_recordings(wharf: &Wharf, count: f64) -> Result<()> {
    wharf
        .wait_for_metrics("the recordings", |metrics| {
            metrics.sum("plugin_recording_total", &["outcome=\"written\""]) >= count
        })
        .await
}

fn replay(site: &Site, recording: &Path, flags: &[&str]) -> Result<Output> {
    let output = program()?
        .args(["plugin", "replay"])
        .arg(recording)
        .arg(site.path().join("plugins/hostile.wasm"))
        .arg("--site")
        .arg(site.path())
        .args(flags)
        .output()?;
    eprintln!("{}", String::from_utf8_lossy(&output.stdout));
    eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    Ok(output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_is_recorded_and_replayed_with_its_backtrace() -> Result<()> {
    let site = site("[record]\nkeep = 4\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let unlucky = one_to_four("route")
        .header("x-request-id", "lost-1")
        .header("x-behaviour", "panic")
        .header("x-message", "out of luck")
        .header("authorization", "Bearer hunter2")
        .header("cookie", "id=hunter2")
        .header("x-auth-token", "hunter2");
    client.send(&one_to_four("route")).await?.ok()?;
    client.send(&unlucky).await?.problem(502)?;
    wait_for_recordings(&wharf, 1.0).await?;
    let found = recordings(&site)?;
    let [recording] = &found[..] else {
        anyhow::bail!("not one recording: {found:?}");
    };
    ensure!(
        recording.to_string_lossy().ends_with("-lost-1"),
        "{recording:?}"
    );
    for file in fs::read_dir(recording)? {
        let file = file?.path();
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        ensure!(!text.contains("hunter2"), "{}: {text}", file.display());
    }

    let replayed = replay(&site, recording, &[])?;
    assert_eq!(replayed.status.code(), Some(1));
    let text = String::from_utf8(replayed.stdout)?;
    for part in [
        "plugin-fault",
        "recorded of hostile: fault",
        "it came out as recorded",
    ] {
        ensure!(text.contains(part), "{part} is missing:\n{text}");
    }
    // Once as it was, once as it is: with the names of the guest's functions.
    ensure!(
        text.matches("hostile::behaviour::Behaviour").count() >= 2,
        "{text}"
    );
    ensure!(text.matches("hostile: out of luck").count() >= 2, "{text}");
    let doubts = String::from_utf8(replayed.stderr)?;
    ensure!(
        doubts.contains("x-auth-token") && !doubts.contains("another release"),
        "{doubts}"
    );

    // With other settings it is another release, and it says so.
    site.write("plugins/hostile.toml", "[record]\nkeep = 5\n")?;
    let other = replay(&site, recording, &["--json"])?;
    let document: Value = serde_json::from_slice(&other.stdout)?;
    assert_eq!(document["recorded"]["same_release"], false);
    assert_eq!(
        document["recorded"]["differences"],
        Value::Array(Vec::new())
    );
    let doubts = String::from_utf8(replay(&site, recording, &[])?.stderr)?;
    ensure!(doubts.contains("another release"), "{doubts}");
    ensure!(recordings(&site)?.len() == 1, "a replay was recorded");
    // Recordings in the site are no change of it.
    ensure!(wharf.snapshot().await?["errors"] == Value::Array(Vec::new()));
    wharf.reload().await?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_comes_and_goes_switches_recording() -> Result<()> {
    let site = site("")?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let unlucky = one_to_four("route").header("x-behaviour", "trap");
    client.send(&unlucky).await?.problem(502)?;
    site.write("plugins/hostile.toml", "[record]\nkeep = 3\n")?;
    wharf.reload().await?;
    for _ in 0..20 {
        client.send(&unlucky).await?.problem(502)?;
    }
    wharf
        .wait_for_metrics("all to be accounted for", |metrics| {
            metrics.sum("plugin_recording_total", &[]) >= 20.0
        })
        .await?;
    ensure!(recordings(&site)?.len() == 3, "{:?}", recordings(&site)?);
    let release = release(&wharf).await?;
    site.remove("plugins/hostile.toml")?;
    wharf.reload().await?;
    for _ in 0..5 {
        client.send(&unlucky).await?.problem(502)?;
    }
    wharf.expect_idle().await?;
    let exit = wharf.stop().await?;
    ensure!(exit.status.success(), "{exit:?}");
    // The release before is asked the same, off the request's way, and it records: all is there once the server has ended.
    for recording in recordings(&site)? {
        let text = fs::read(recording.join("recording.json"))?;
        let document: Value = serde_json::from_slice(&text)?;
        let digest = document["digest"].as_str().context("no digest")?;
        assert_eq!(release, format!("sha256:{digest}"), "{document}");
    }
    Ok(())
}

#[test]
fn a_folder_that_is_served_from_holds_no_recordings() -> Result<()> {
    let site = site("[record]\n")?;
    site.write(
        "wharf.toml",
        "[plugins]\nrecordings_folder = \"models/kept\"\n",
    )?;
    let checked = wharf_e2e::check(&site)?;
    let text = String::from_utf8(checked.stdout)?;
    assert_eq!(checked.status.code(), Some(78), "{text}");
    text.contains("plugins.recordings_folder")
        .then_some(())
        .with_context(|| text)
}
