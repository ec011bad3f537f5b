//! `wharf mock`: the answers of a site without its models.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::net::TcpListener;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::{Client, Request, Site, Wharf, program, python, quickstart};

use crate::openapi::document_of;

/// Sends the example of each route that takes tensors, and checks the answer by the schema that the server's document has for it.
async fn answers_as_described(wharf: &Wharf) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("site.json");
    let document = document_of(&mut wharf.client()).await?;
    std::fs::write(&file, document.to_string())?;
    let url = format!("http://{}", wharf.listen());
    let arguments = [
        "answers".as_ref(),
        file.as_os_str(),
        "--url".as_ref(),
        url.as_ref(),
    ];
    python("tests/generated/examples.py", &arguments).await?;
    Ok(())
}

/// What each model takes and gives, by its name.
async fn models(client: &mut Client) -> Result<BTreeMap<String, [Value; 2]>> {
    let list = client.get("/v1/models").await?.ok()?;
    let models = list["models"].as_array().context("no models")?;
    let told = |model: &Value| {
        let name = model["name"].as_str().unwrap_or_default().to_owned();
        (name, [model["inputs"].clone(), model["outputs"].clone()])
    };
    // What is refused is listed too, and takes nothing.
    let serve = models.iter().filter(|model| model["state"] == "ready");
    Ok(serve.map(told).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_model_takes_and_gives_what_onnx_runtime_says() -> Result<()> {
    let site = Site::empty()?;
    let kinds: [&OsStr; 2] = ["simple".as_ref(), "pytorch-operator".as_ref()];
    let mut arguments = vec!["site".as_ref(), site.path().as_os_str()];
    arguments.extend(kinds);
    python("tests/conformance/conformance.py", &arguments).await?;
    let real = Wharf::serve(&site).await?;
    let mock = Wharf::mock(&site).await?;
    let served = models(&mut real.client()).await?;
    let mocked = models(&mut mock.client()).await?;
    ensure!(
        served.len() > 50,
        "only {} networks are served",
        served.len()
    );
    for (name, told) in &served {
        ensure!(
            mocked.get(name) == Some(told),
            "{name}: {:?}, not {told:?}",
            mocked.get(name)
        );
    }
    answers_as_described(&mock).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_answers_as_its_description_says_without_onnx_runtime() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::mock(&site).await?;
    let mut client = wharf.client();
    ensure!(client.get("/v2/health/ready").await?.status == 200);

    answers_as_described(&wharf).await?;

    // A route with plugins takes a picture, and its plugins make labels of what nobody computed.
    let picture = std::fs::read(site.path().join("images/7.png"))?;
    // The route's router keeps a user on one version of the model; without a name each request is drawn anew.
    let request =
        Request::post("/v1/infer/digits", "image/png", picture).header("x-user", "faithful");
    let first = client.send(&request).await?.ok()?;
    let again = client.send(&request).await?.ok()?;
    ensure!(first == again, "{first} is not {again}");
    ensure!(first.to_string().contains("label"), "{first} has no labels");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_protocol_is_answered_too_and_wrong_inputs_are_refused() -> Result<()> {
    let site = quickstart()?;
    let wharf = Wharf::mock(&site).await?;
    let mut client = wharf.client();
    let metadata = client.get("/v2/models/iris").await?.ok()?;
    ensure!(metadata["platform"] == "onnxruntime_onnx", "{metadata}");
    let input = &metadata["inputs"][0];
    let ask = |columns: usize| {
        json!({"inputs": [{
            "name": input["name"], "datatype": input["datatype"], "shape": [2, columns], "data": vec![0.5; 2 * columns],
        }]})
    };
    let answer = client.post("/v2/models/iris/infer", &ask(4)).await?.ok()?;
    let outputs = answer["outputs"].as_array().context("no outputs")?;
    for (output, told) in outputs
        .iter()
        .zip(metadata["outputs"].as_array().context("none")?)
    {
        ensure!(
            output["name"] == told["name"] && output["datatype"] == told["datatype"],
            "{output}"
        );
        ensure!(
            output["shape"][0] == 2,
            "{output} has not the rows of its input"
        );
    }
    client
        .post("/v2/models/iris/infer", &ask(3))
        .await?
        .problem(400)?;
    // Nothing of the site may change by what nobody tried.
    client
        .post("/v2/repository/models/iris/unload", &json!({}))
        .await?
        .problem(403)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_upstream_is_asked_for_anything() -> Result<()> {
    let peer = TcpListener::bind("127.0.0.1:0")?;
    peer.set_nonblocking(true)?;
    let address = peer.local_addr()?;
    let site = Site::empty()?;
    for (name, protocol) in [
        ("far", "oip-http"),
        ("farther", "oip-grpc"),
        ("score", "http"),
    ] {
        let text = format!("protocol = {protocol:?}\nendpoints = [\"http://{address}\"]\n");
        site.write(&format!("upstreams/{name}.toml"), text)?;
    }
    site.write("routes/remote.toml", "upstream = \"far\"\n")?;
    let path = site.path().to_str().context("no UTF-8")?;
    let written = program()?.args(["openapi", "--site", path]).output()?;
    let said = String::from_utf8_lossy(&written.stderr);
    ensure!(written.status.success(), "{said}");
    let document: Value = serde_json::from_slice(&written.stdout)?;
    let wharf = Wharf::mock(&site).await?;
    let mut client = wharf.client();
    ensure!(
        document == document_of(&mut client).await?,
        "the documents differ"
    );
    for route in ["remote", "far", "farther"] {
        let taken = &document["paths"][format!("/v1/infer/{route}")]["post"]["requestBody"];
        let schema = &taken["content"]["application/json"]["schema"]["$ref"];
        ensure!(schema == "#/components/schemas/NativeRequest", "{taken}");
        let request = json!({"input": [1.0]});
        let answer = client.post(&format!("/v1/infer/{route}"), &request).await?;
        let problem = answer.problem(503)?;
        ensure!(problem.to_string().contains("mock"), "{problem}");
    }
    let request = Request::post("/v1/infer/score", "text/plain", "mine");
    let answer = client.send(&request).await?;
    ensure!(answer.headers["x-wharf-mock"] == "true");
    ensure!(answer.ok()?["mock"].is_string());
    let connected = peer.accept();
    ensure!(connected.is_err(), "the upstream was asked");
    Ok(())
}
