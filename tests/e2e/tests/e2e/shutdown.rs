//! How the server ends.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;
use wharf_e2e::{Site, Wharf, onnx, wait_for, wharf_command};

use crate::one_to_four;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_in_flight_is_answered_before_the_server_ends() -> Result<()> {
    let site = Site::empty()?;
    site.write("models/slow/1/model.onnx", onnx::slow(400))?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let request = tokio::spawn(async move { client.send(&one_to_four("slow")).await });
    wharf
        .wait_for_metrics("the request to be in flight", |metrics| {
            metrics.sum("serving_in_flight", &[]) > 0.0
        })
        .await?;
    let exit = wharf.stop().await?;
    request.await??.ok()?;
    ensure!(exit.status.success(), "{exit:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_connection_does_not_hold_up_the_end() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    client.send(&one_to_four("adder")).await?.ok()?;
    let address = wharf.listen();
    let exit = wharf.stop().await?;
    ensure!(exit.status.success(), "{exit:?}");
    ensure!(exit.took < Duration::from_secs(5), "{exit:?}");
    ensure!(
        wharf_e2e::Client::new(address)
            .send(&one_to_four("adder"))
            .await
            .is_err(),
        "somebody still answers"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warm_up_ends_with_the_server() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let wharf = Wharf::serve(&site).await?;
    site.write(
        "models/long/model.toml",
        "[warmup]\ntimeout_ms = 600000\n[[warmup.samples]]\ncount = 1000\ninputs = {}\n",
    )?;
    site.write("models/long/1/model.onnx", onnx::slow(400))?;
    let mut client = wharf.client();
    wait_for("the load to be under way", async || {
        let index = client.post("/v2/repository/index", &json!({})).await;
        let text = index.ok()?.text();
        text.contains("\"LOADING\"").then_some(())
    })
    .await?;
    let exit = wharf.stop().await?;
    ensure!(exit.status.success(), "{exit:?}");
    ensure!(exit.took < Duration::from_secs(5), "{exit:?}");
    Ok(())
}

#[test]
fn usage_errors_exit_with_2_and_configuration_errors_with_78() -> Result<()> {
    let site = Site::empty()?;
    let ready_file = site.path().join("ready.json");
    let mut usage = wharf_command(site.path(), &ready_file)?;
    let status = usage.arg("--no-such-flag").stderr(Stdio::null()).status()?;
    assert_eq!(status.code(), Some(2));

    for (settings, key) in [
        ("[server]\nlistn = 1\n", "server.listn"),
        // Found only when the listener is opened.
        (
            "[server]\nadmin_token_file = \"none\"\n",
            "server.admin_token_file",
        ),
    ] {
        site.write("wharf.toml", settings)?;
        let output = wharf_command(site.path(), &ready_file)?.output()?;
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(
            text.contains("wharf.toml") && text.contains(key),
            "{key}: {text}"
        );
    }
    Ok(())
}
