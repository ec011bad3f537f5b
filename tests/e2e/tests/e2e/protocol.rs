//! The Open Inference Protocol, as the clients that people use speak it: scripts in `tests/conformance` and in `examples`.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use wharf_e2e::{Site, Wharf, execute, help, python, quickstart, repository};

const FOLDER: &str = "tests/conformance";

/// Each network of the package `onnx`, over REST with JSON, REST with binary data, and gRPC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_networks_of_onnx_give_what_they_must() -> Result<()> {
    let site = Site::empty()?;
    let script = format!("{FOLDER}/conformance.py");
    python(&script, &["site".as_ref(), site.path().as_os_str()]).await?;
    let wharf = Wharf::serve(&site).await?;
    let url = wharf.listen().to_string();
    let output = python(&script, &["check", "--url", &url]).await?;
    ensure!(
        output.contains("networks over 3 protocols, 0 wrong"),
        "{output}"
    );
    wharf.expect_idle().await
}

/// Each operator of ONNX, as the package `onnx` tests it, whose rows the server joins without being asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_are_joined_unasked_do_not_depend_on_each_other() -> Result<()> {
    let site = Site::empty()?;
    let script = format!("{FOLDER}/rows.py");
    python(&script, &["site".as_ref(), site.path().as_os_str()]).await?;
    let wharf = Wharf::serve(&site).await?;
    let url = wharf.listen().to_string();
    let output = python(&script, &["check", "--url", &url]).await?;
    ensure!(output.contains("joined by rows, 0 wrong"), "{output}");
    wharf.expect_idle().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tritonclient_works_over_http() -> Result<()> {
    tritonclient("tritonclient_http.py").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tritonclient_works_over_grpc() -> Result<()> {
    tritonclient("tritonclient_grpc.py").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_messages_over_grpc_are_those_of_tritonclient() -> Result<()> {
    let site = Site::empty()?;
    let wharf = Wharf::serve(&site).await?;
    let url = wharf.listen().to_string();
    let output = python(&format!("{FOLDER}/descriptors.py"), &["--url", &url]).await?;
    expect_all_checks(&output)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tritonclient_works_against_the_quickstart_site() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let url = wharf.listen().to_string();
    let images = site.path().join("images");
    let images = images.to_str().context("an odd path")?;
    let script = format!("{FOLDER}/quickstart.py");
    let output = python(&script, &["--url", &url, "--images", images]).await?;
    expect_all_checks(&output)?;
    wharf.expect_idle().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_examples_of_clients_work() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let url = wharf.listen().to_string();
    for script in ["triton_http.py", "triton_grpc.py"] {
        let output = python(&format!("examples/clients/{script}"), &[&url]).await?;
        ensure!(
            output.contains("\"label\":\"7\"") && output.contains("iris: setosa"),
            "{script} wrote:\n{output}"
        );
    }
    // It needs `sh` and `curl` on PATH.
    let mut curl = Command::new("sh");
    curl.arg(repository("examples/clients/curl.sh")).arg(&url);
    let output = execute("curl.sh", curl).await?;
    ensure!(
        output.contains("probabilities") && output.contains("\"label\":\"7\""),
        "curl.sh wrote:\n{output}"
    );
    wharf.expect_idle().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_manifests_for_kserve_name_what_the_program_has() -> Result<()> {
    let folder = repository("examples/kserve").into_os_string();
    let script = format!("{FOLDER}/manifests.py");
    let arguments = ["--folder".into(), folder.clone(), "--environment".into()];
    let environment = python(&script, &arguments).await?;
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let site = Site::empty()?;
    let wharf = Wharf::serve_with(&site, |command| {
        command.envs(variables);
    })
    .await?;
    site.write("help.txt", help("serve")?)?;
    let arguments = [
        "--folder".into(),
        folder,
        "--help-text".into(),
        site.path().join("help.txt").into_os_string(),
        "--url".into(),
        wharf.listen().to_string().into(),
        "--admin".into(),
        wharf.admin_listen().to_string().into(),
    ];
    expect_all_checks(&python(&script, &arguments).await?)
}

async fn tritonclient(script: &str) -> Result<()> {
    let site = Site::empty()?;
    python(&format!("{FOLDER}/models.py"), &[site.path()]).await?;
    // There are settings of traces where there is somebody to send them to; nobody has to be there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?;
    let collector = format!("http://{}", nobody.local_addr()?);
    let wharf = Wharf::serve_with(&site, |command| {
        command.env("WHARF_TELEMETRY__OTLP_ENDPOINT", collector);
    })
    .await?;
    let url = wharf.listen().to_string();
    let output = python(&format!("{FOLDER}/{script}"), &["--url", &url]).await?;
    expect_all_checks(&output)?;
    wharf.expect_idle().await
}

/// A script that ends well says how many checks it made.
fn expect_all_checks(output: &str) -> Result<()> {
    ensure!(output.contains(" checks, 0 failed"), "{output}");
    Ok(())
}
