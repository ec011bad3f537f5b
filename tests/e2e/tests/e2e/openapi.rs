//! The description of the API: true of the server, shown in a browser, and good enough to make clients of.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;
use wharf_e2e::{
    Client, Site, Wharf, execute, execute_within, interpreter, onnx, program, python, quickstart,
    repository,
};

/// The document that a server gives.
pub(crate) async fn document_of(client: &mut Client) -> Result<Value> {
    client.get("/openapi.json").await?.ok()
}

/// What `wharf openapi` writes.
fn written(arguments: &[&str]) -> Result<Value> {
    let output = program()?
        .arg("openapi")
        .args(arguments)
        // No model is run for it.
        .env("WHARF_ONNXRUNTIME", "/nowhere")
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).with_context(|| format!("no JSON: {said}"))
}

/// A site with the model `iris`.
fn iris() -> Result<Site> {
    let site = Site::empty()?;
    let model = std::fs::read(repository("examples/quickstart/models/iris/1/model.onnx"))?;
    site.write("models/iris/1/model.onnx", model)?;
    Ok(site)
}

/// A file with the document of a site, in a folder that goes with the test.
fn file_of(site: &Site) -> Result<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("wharf.json");
    let path = site.path().to_str().context("no UTF-8")?;
    std::fs::write(&file, written(&["--site", path])?.to_string())?;
    Ok((folder, file))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_writes_what_the_server_answers() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::serve(&site).await?;
    let path = site.path().to_str().context("no UTF-8")?;
    let of_site = written(&["--site", path])?;
    ensure!(of_site["paths"]["/v1/infer/digits"].is_object());
    ensure!(
        of_site == document_of(&mut wharf.client()).await?,
        "the documents differ"
    );
    let of_admin = written(&["--listener", "admin"])?;
    ensure!(
        of_admin == document_of(&mut wharf.admin()).await?,
        "the documents differ"
    );
    ensure!(written(&[])?["paths"].get("/v1/infer/digits").is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_of_a_site_is_said_and_the_rest_is_written() -> Result<()> {
    let site = iris()?;
    site.write("models/broken/1/model.onnx", "no model")?;
    let output = program()?
        .args(["openapi", "--site"])
        .arg(site.path())
        .output()?;
    ensure!(output.status.code() == Some(78), "{:?}", output.status);
    ensure!(String::from_utf8_lossy(&output.stderr).contains("models/broken/1/model.onnx"));
    let document: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(document["paths"]["/v1/infer/iris"].is_object());
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_example_is_what_it_is_an_example_of() -> Result<()> {
    let (folder, file) = file_of(&quickstart()?)?;
    let admin = folder.path().join("admin.json");
    std::fs::write(&admin, written(&["--listener", "admin"])?.to_string())?;
    for file in [file, admin] {
        python(
            "tests/generated/examples.py",
            &["document".as_ref(), file.as_os_str()],
        )
        .await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_made_in_typescript_works() -> Result<()> {
    let modules = from_setup("WHARF_TEST_TYPESCRIPT")?;
    let site = iris()?;
    let (folder, document) = file_of(&site)?;
    let source = repository("tests/generated/typescript");
    for file in ["client.ts", "package.json", "tsconfig.json"] {
        std::fs::copy(source.join(file), folder.path().join(file))?;
    }
    std::os::unix::fs::symlink(&modules, folder.path().join("node_modules"))?;
    let node = |script: &str| {
        let mut command = Command::new("node");
        command
            .current_dir(folder.path())
            .arg(folder.path().join(script));
        command
    };
    let types = folder.path().join("wharf.d.ts");
    let mut generate = node("node_modules/openapi-typescript/bin/cli.js");
    generate.arg(&document).arg("--output").arg(&types);
    execute("openapi-typescript", generate).await?;
    execute("tsc", node("node_modules/typescript/bin/tsc")).await?;

    let wharf = Wharf::serve(&site).await?;
    let mut client = node("out/client.js");
    client.arg(format!("http://{}", wharf.listen()));
    let said = execute("the TypeScript client", client).await?;
    ensure!(said.contains("the TypeScript client works"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_made_in_python_works() -> Result<()> {
    let site = iris()?;
    let (folder, document) = file_of(&site)?;
    let settings = folder.path().join("settings.yaml");
    // Nothing tidies what nobody reads. What has no JSON is bytes to the client.
    std::fs::write(
        &settings,
        "package_name_override: wharf_client\npost_hooks: []\ncontent_type_overrides:\n  \
         application/wasm: application/octet-stream\n  application/toml: application/octet-stream\n  \
         application/partial-upload: application/octet-stream\n",
    )?;
    let package = folder.path().join("package");
    let mut generate = interpreter()?;
    generate
        .args([
            "-m",
            "openapi_python_client",
            "generate",
            "--meta",
            "setup",
            "--fail-on-warning",
            "--path",
        ])
        .arg(&document)
        .arg("--config")
        .arg(&settings)
        .arg("--output-path")
        .arg(&package);
    execute("openapi-python-client", generate).await?;

    let wharf = Wharf::serve(&site).await?;
    let url = format!("http://{}", wharf.listen());
    let arguments = [
        "--package".as_ref(),
        package.as_os_str(),
        "--url".as_ref(),
        url.as_ref(),
    ];
    let said = python("tests/generated/python/client.py", &arguments).await?;
    ensure!(said.contains("the Python client works"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemathesis_finds_no_violation() -> Result<()> {
    let site = iris()?;
    // The one that the examples load and unload.
    let model = std::fs::read(site.path().join("models/iris/1/model.onnx"))?;
    site.write("models/digits/1/model.onnx", model)?;
    // Datatypes of every kind, with and without sizes that requests choose. That arrays are equally long is more than a schema says, so
    // none is free inside of another.
    let given: [onnx::Given<'_>; 7] = [
        ("flag", 9, &["flags"]),
        ("small", 3, &["rows", "2"]),
        ("large", 13, &[]),
        ("text", 8, &["1", "texts"]),
        ("half", 10, &["halves"]),
        ("real", 11, &["2"]),
        ("single", 1, &["singles", "2", "1"]),
    ];
    site.write("models/several/1/model.onnx", onnx::identity(&given))?;
    let mut wharf = Wharf::serve(&site).await?;
    let folder = tempfile::tempdir()?;
    for (address, what) in [(wharf.listen(), "public"), (wharf.admin_listen(), "admin")] {
        let mut tested = interpreter()?;
        tested
            .current_dir(folder.path())
            .args(["-m", "schemathesis.cli", "--config-file"])
            .arg(repository("tests/generated/schemathesis.toml"))
            .arg("run")
            .arg(format!("http://{address}/openapi.json"));
        // It sends thousands of requests, and thinks long about each.
        let patience = Duration::from_secs(900);
        execute_within(patience, &format!("schemathesis, {what}"), tested).await?;
    }
    ensure!(wharf.is_alive(), "the server has ended");
    let answer = wharf.client().get("/v2/health/live").await?;
    ensure!(answer.status == 200);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_shows_every_operation_and_complains_of_nothing() -> Result<()> {
    let browser = from_setup("WHARF_TEST_BROWSER")?;
    let site = iris()?;
    let wharf = Wharf::serve(&site).await?;
    for (address, operations) in [
        (
            wharf.listen(),
            ["/v1/infer/iris", "/v2/models/{model}/infer"],
        ),
        (wharf.admin_listen(), ["/admin/snapshot", "/metrics"]),
    ] {
        let profile = tempfile::tempdir()?;
        let mut look = Command::new(&browser);
        // Virtual time passes while nothing is loaded or computed: the page is written once it rests.
        look.args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--no-first-run",
            "--enable-logging=stderr",
            "--virtual-time-budget=15000",
            "--timeout=60000",
            "--dump-dom",
        ]);
        look.arg(format!("--user-data-dir={}", profile.path().display()));
        look.arg(format!("http://{address}/docs/"));
        let page = execute("chromium", look).await?;
        for operation in operations {
            ensure!(
                page.contains(&format!("data-path=\"{operation}\"")),
                "{operation} is not shown"
            );
        }
        if let Some(complaint) = page.lines().find(|line| line.contains(":CONSOLE")) {
            bail!("the page complains: {complaint}");
        }
    }
    Ok(())
}

/// What `cargo xtask test` installs and names.
fn from_setup(variable: &str) -> Result<OsString> {
    let found = std::env::var_os(variable);
    let found = found.filter(|value| !value.is_empty() && Path::new(value).file_name().is_some());
    found.with_context(|| {
        format!("{variable} is not set: `cargo xtask test` installs it and names it")
    })
}
