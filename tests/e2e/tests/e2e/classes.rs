//! The names of a model's classes, as answers to clients that ask for `classification` have them, while the model is loaded
//! anew.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use wharf_e2e::grpc::{self, Tensor};
use wharf_e2e::onnx::{adder, unknown_operator};
use wharf_e2e::{Client, Load, Protocol, Request, Response, Site, Wharf};

use crate::admin::error_of;
use crate::expect_recovered;
use crate::management::load_configured;

const ROW: [f32; 4] = [1.0, 2.0, 3.0, 4.0];
const ANIMALS: &str = "ant\nbee\ncat\ndog\n";
const COLOURS: &str = "red\ngreen\nblue\nblack\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_load_changes_the_names_of_classes_without_a_failed_request() -> Result<()> {
    let site = site()?;
    site.write("models/adder/colours.txt", COLOURS)?;
    let wharf = Wharf::serve(&site).await?;
    let loads = [
        Load::start(wharf.listen(), 2, &over_rest()),
        Load::start_over(Protocol::Http2, wharf.listen(), 2, &over_grpc()),
    ];
    let expect = async |expected: &[&str]| -> Result<()> {
        for load in &loads {
            let named = |answer: &Response| texts(answer).is_ok_and(|found| found == expected);
            load.wait_for_response(named).await?;
        }
        Ok(())
    };
    expect(&["5.000000:3:dog", "4.000000:2:cat"]).await?;

    let mut client = wharf.client();
    let load = async |client: &mut Client, names: &str, files: &[(&str, &[u8])]| -> Result<()> {
        let answer = load_configured(client, "adder", Some(&named_by(names)), files).await?;
        answer.accepted()
    };
    // A file that lies there already.
    load(&mut client, "colours.txt", &[]).await?;
    expect(&["5.000000:3:black", "4.000000:2:blue"]).await?;
    let model = adder(10.0);
    // A file that comes with the load and its version. It has no name for the last class.
    let files: [(&str, &[u8]); 2] = [
        ("file:2/model.onnx", &model),
        ("file:2/names.txt", b"one\ntwo\nthree"),
    ];
    load(&mut client, "2/names.txt", &files).await?;
    expect(&["14.000000:3", "13.000000:2:three"]).await?;
    // Another file in its place.
    let files: [(&str, &[u8]); 2] = [
        ("file:2/model.onnx", &model),
        ("file:2/names.txt", b"uno\ndue\ntre\nquattro\n"),
    ];
    load(&mut client, "2/names.txt", &files).await?;
    let expected = ["14.000000:3:quattro", "13.000000:2:tre"];
    expect(&expected).await?;
    for load in loads {
        load.stop().await?.without_failure()?;
    }

    // What was loaded is the site's: the next process finds it.
    wharf.stop().await?;
    let wharf = Wharf::serve(&site).await?;
    expect_names(&wharf, &expected).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_of_classes_that_cannot_be_had_leave_the_old_ones() -> Result<()> {
    let site = site()?;
    site.write("secret.txt", "of the operator\n")?;
    let mut wharf = Wharf::serve(&site).await?;
    let old = ["5.000000:3:dog", "4.000000:2:cat"];
    expect_names(&wharf, &old).await?;
    let settings = site.read("models/adder/model.toml")?;

    let (good, broken) = (adder(10.0), unknown_operator());
    let with = |model, names| -> Vec<(&str, &[u8])> {
        vec![("file:2/model.onnx", model), ("file:2/names.txt", names)]
    };
    let (no_file, outside) = ("there is no such file", "in the model's folder");
    for (config, files, says) in [
        (named_by("missing.txt"), Vec::new(), no_file),
        (named_by("../../secret.txt"), Vec::new(), outside),
        (named_by("1/../../../secret.txt"), Vec::new(), outside),
        (named_by("/etc/hostname"), Vec::new(), outside),
        (named_by("1"), Vec::new(), "no regular file"),
        // With a version that is sound but for the names, and the other way round.
        (named_by("2/missing.txt"), with(&good, b"one\n"), no_file),
        (named_by("2/names.txt"), with(&good, b""), "is empty"),
        (named_by("2/names.txt"), with(&good, b"gr\xfcn\n"), "UTF-8"),
        (
            named_by("2/names.txt"),
            with(&broken, b"one\n"),
            "version 2: ",
        ),
        (
            output("z", "labels.txt"),
            Vec::new(),
            "\"field\":\"parameters.config.output[0].label_filename\"",
        ),
        (
            json!({"output": [{"name": "y", "label_filename": 7}]}),
            Vec::new(),
            "output[0].label_filename",
        ),
    ] {
        let mut client = wharf.client();
        let answer = load_configured(&mut client, "adder", Some(&config), &files).await?;
        let refused = answer.status == 400 || answer.status == 422;
        ensure!(refused, "{config}: {}", answer.text());
        let problem = answer.problem(answer.status.as_u16())?.to_string();
        ensure!(
            problem.contains(says)
                && !problem.contains("of the operator")
                && !problem.contains("models/"),
            "{config}: {problem}"
        );
        expect_names(&wharf, &old).await.context(config)?;
    }
    ensure!(site.read("models/adder/model.toml")? == settings);
    ensure!(!site.path().join("models/adder/2").exists());

    // Nor does a file that an operator spoils.
    site.write("models/adder/labels.txt", b"gr\xfcn\n")?;
    error_of(&wharf.reload().await?, "models/adder")?;
    expect_names(&wharf, &old).await?;
    site.write("models/adder/labels.txt", COLOURS)?;
    wharf.reload().await?;
    expect_names(&wharf, &["5.000000:3:black", "4.000000:2:blue"]).await?;
    expect_recovered(&mut wharf, "adder").await
}

/// A site with a model `adder`, `y = x + 1`, whose classes are [`ANIMALS`].
fn site() -> Result<Site> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write("models/adder/labels.txt", ANIMALS)?;
    site.write(
        "models/adder/model.toml",
        "[outputs.y]\nclasses = \"labels.txt\"\n",
    )?;
    Ok(site)
}

/// A configuration that names the file of the classes.
fn named_by(file: &str) -> Value {
    output("y", file)
}

fn output(name: &str, file: &str) -> Value {
    json!({"output": [{"name": name, "label_filename": file}]})
}

/// Checks which two classes the model finds in [`ROW`], over both protocols.
async fn expect_names(wharf: &Wharf, expected: &[&str]) -> Result<()> {
    for (protocol, request) in [
        (Protocol::Http1, over_rest()),
        (Protocol::Http2, over_grpc()),
    ] {
        let mut client = Client::with_protocol(wharf.listen(), protocol);
        let found = texts(&client.send(&request).await?)?;
        ensure!(
            found == expected,
            "over {protocol:?} {found:?} came, not {expected:?}"
        );
    }
    Ok(())
}

fn over_rest() -> Request {
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ROW});
    let output = json!({"name": "y", "parameters": {"classification": 2}});
    Request::json(
        "/v2/models/adder/infer",
        &json!({"inputs": [input], "outputs": [output]}),
    )
}

fn over_grpc() -> Request {
    let data: Vec<u8> = ROW.iter().flat_map(|x| x.to_le_bytes()).collect();
    let input = Tensor {
        name: "x",
        datatype: "FP32",
        shape: &[1, 4],
        data: &data,
    };
    grpc::classify("adder", &[input], "y", 2)
}

/// The elements of the one output of an answer over either protocol.
fn texts(response: &Response) -> Result<Vec<String>> {
    if !response.trailers.is_empty() || response.headers.contains_key("grpc-status") {
        return grpc::texts(response);
    }
    let answer = response.ok()?;
    let output = &answer["outputs"][0];
    ensure!(output["datatype"] == "BYTES", "{output}");
    Ok(serde_json::from_value(output["data"].clone())?)
}
