//! Models that are loaded, unloaded and switched by clients and by file, while others ask for them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use wharf_e2e::grpc::{self, Tensor};
use wharf_e2e::onnx::{External, adder, external_adder, heavy_adder, slow, unknown_operator};
use wharf_e2e::{Load, Protocol, Request, Response, Site, Wharf};

use crate::expect_recovered;
use crate::management::{load, load_configured, load_with, state_of, unload};

const ONE_TO_FOUR: [f32; 4] = [1.0, 2.0, 3.0, 4.0];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn models_come_and_go_over_the_api_without_a_failed_request() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.adder("other", 1, 9.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "");
    loads.wait_for(1.0).await?;
    let mut client = wharf.client();
    for (version, amount) in [(2, 2.0), (3, 3.0), (3, 4.0)] {
        let file = format!("file:{version}/model.onnx");
        load_with(&mut client, "adder", &[(&file, &adder(amount))])
            .await?
            .accepted()?;
        loads.wait_for(amount).await?;
        // Its neighbour is taken out and put back meanwhile.
        unload(&mut client, "other").await?.accepted()?;
        client.send(&infer("other", "")).await?.problem(404)?;
        load(&mut client, "other").await?.accepted()?;
        expect_sum(&client.send(&infer("other", "")).await?, 9.0)?;
    }
    loads.without_failure().await?;
    ensure!(
        site.path().join("models/adder/3/model.onnx").is_file(),
        "what a client loads is kept in the site"
    );
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_switch_by_file_without_a_failed_request() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "");
    loads.wait_for(1.0).await?;
    site.adder("adder", 2, 2.0)?;
    loads.wait_for(2.0).await?;
    site.write(
        "models/adder/model.toml",
        "[versions]\npolicy = \"listed\"\nlist = [1]\n",
    )?;
    loads.wait_for(1.0).await?;
    site.remove("models/adder/model.toml")?;
    loads.wait_for(2.0).await?;
    site.remove("models/adder/2")?;
    loads.wait_for(1.0).await?;
    loads.without_failure().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_label_is_switched_without_a_failed_request() -> Result<()> {
    let site = Site::empty()?;
    for version in [1_u16, 2, 3] {
        site.adder("adder", u64::from(version), f32::from(version))?;
    }
    let labelled = |stable: u64| {
        let settings = format!("[versions]\nlabels.stable = {stable}\n");
        site.write("models/adder/model.toml", settings)
    };
    labelled(1)?;
    let wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "stable");
    loads.wait_for(1.0).await?;
    for stable in [2_u16, 3, 1] {
        labelled(u64::from(stable))?;
        loads.wait_for(f32::from(stable)).await?;
    }
    loads.without_failure().await?;
    // The policy's version and the labelled one serve, and no other.
    let mut client = wharf.client();
    expect_sum(&client.send(&infer("adder", "")).await?, 3.0)?;
    expect_sum(&client.send(&infer("adder", "1")).await?, 1.0)?;
    client.send(&infer("adder", "2")).await?.problem(404)?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_explicit_mode_clients_say_what_is_loaded() -> Result<()> {
    let site = Site::empty()?;
    site.write(
        "wharf.toml",
        "[serving]\nmodel_control = \"explicit\"\nload_models = [\"adder\"]\n",
    )?;
    site.adder("adder", 1, 1.0)?;
    site.adder("other", 1, 9.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "");
    loads.wait_for(1.0).await?;
    let mut client = wharf.client();
    client.send(&infer("other", "")).await?.problem(404)?;
    ensure!(state_of(&mut client, "other", 1).await? != "READY");
    load(&mut client, "other").await?.accepted()?;
    ensure!(state_of(&mut client, "other", 1).await? == "READY");
    expect_sum(&client.send(&infer("other", "")).await?, 9.0)?;

    // New content waits for the next load.
    site.adder("adder", 2, 2.0)?;
    wharf.reload().await?;
    loads.wait_for(1.0).await?;
    load(&mut client, "adder").await?.accepted()?;
    loads.wait_for(2.0).await?;
    loads.without_failure().await?;
    unload(&mut client, "other").await?.accepted()?;
    client.send(&infer("other", "")).await?.problem(404)?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unload_waits_for_what_is_in_flight() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    site.write("models/slow/1/model.onnx", slow(300))?;
    let mut wharf = Wharf::serve(&site).await?;
    let mut client = wharf.client();
    let request = tokio::spawn(async move { client.send(&infer("slow", "")).await });
    wharf
        .wait_for_metrics("the request to be in flight", |metrics| {
            metrics.sum("serving_in_flight", &["endpoint=\"slow\""]) > 0.0
        })
        .await?;
    let mut client = wharf.client();
    unload(&mut client, "slow").await?.accepted()?;
    // Its answer may come to the other connection later than this one.
    let answered = wharf.metrics().await?.sum(
        "model_request_total",
        &["endpoint=\"slow\"", "outcome=\"ok\""],
    );
    ensure!(answered == 1.0, "the model was unloaded under its request");
    request.await??.ok()?;
    client.send(&infer("slow", "")).await?.problem(404)?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_while_a_client_loads_comes_back_with_old_or_new() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut serving = 1.0;
    for (round, moment_ms) in (0..12_u16).map(|round| (round, u64::from(round) * 15)) {
        let wharf = Wharf::serve(&site).await?;
        let amount = f32::from(round + 2);
        let model = heavy_adder(amount, 300_000);
        let mut client = wharf.client();
        // The version that serves is replaced in one round, and a new one is added in the next.
        let file = format!("file:{}/model.onnx", 1 + round / 2);
        let asked =
            tokio::spawn(async move { load_with(&mut client, "adder", &[(&file, &model)]).await });
        // No condition to wait for: the server is killed at this moment of the load, whatever it does then.
        tokio::time::sleep(Duration::from_millis(moment_ms)).await;
        wharf.kill().await?;
        let acknowledged = asked.await?.is_ok_and(|answer| answer.status == 200);

        let wharf = Wharf::serve(&site).await?;
        let found = sum(&wharf.client().send(&infer("adder", "")).await?)?;
        ensure!(
            found == amount || (found == serving && !acknowledged),
            "killed after {moment_ms} ms: {found} is neither {serving} nor {amount}; acknowledged: {acknowledged}"
        );
        serving = found;
        let errors = wharf.snapshot().await?;
        ensure!(
            errors["errors"].as_array().is_some_and(Vec::is_empty),
            "{errors:#}"
        );
        wharf.stop().await?;
        let check = wharf_e2e::check(&site)?;
        ensure!(check.status.success(), "{check:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_loaded_changes_nothing() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "");
    loads.wait_for(1.0).await?;
    let mut client = wharf.client();
    let whole = heavy_adder(2.0, 100_000);
    let unknown = unknown_operator();
    let external = |location| {
        external_adder(&External {
            location,
            offset: 0,
            length: 16,
        })
    };
    let outside = external("../../../wharf.toml");
    let broken: [&[u8]; 5] = [
        b"",
        b"garbage",
        &whole[..whole.len() / 2],
        &unknown,
        &outside,
    ];
    for model in broken {
        for file in ["file:1/model.onnx", "file:2/model.onnx"] {
            let answer = load_with(&mut client, "adder", &[(file, model)]).await?;
            ensure!(
                answer.status == 400 || answer.status == 422,
                "{}",
                answer.text()
            );
            answer.problem(answer.status.as_u16())?;
        }
    }
    for file in [
        "file:1/../../../../stolen.onnx",
        "file:../model.onnx",
        "file:/etc/stolen",
        "file:1/a/../../../b",
        "file:1/a\0b",
        "file:1/",
        "file:",
        "file:99999999999999999999/model.onnx",
        "file:-1/model.onnx",
    ] {
        load_with(&mut client, "adder", &[(file, &whole)])
            .await?
            .problem(400)
            .with_context(|| format!("the file {file:?}"))?;
    }
    let not_base64 = json!({"parameters": {"file:2/model.onnx": "*"}});
    client
        .post("/v2/repository/models/adder/load", &not_base64)
        .await?
        .problem(400)?;
    loads.wait_for(1.0).await?;
    loads.without_failure().await?;
    let versions = std::fs::read_dir(site.path().join("models/adder"))?.count();
    ensure!(versions == 1, "{versions} entries in the model's folder");

    let weights: Vec<u8> = [5_f32; 4].iter().flat_map(|x| x.to_le_bytes()).collect();
    let files: [(&str, &[u8]); 2] = [
        ("file:2/model.onnx", &external("weights.bin")),
        ("file:2/weights.bin", &weights),
    ];
    load_with(&mut client, "adder", &files).await?.accepted()?;
    expect_sum(&client.send(&infer("adder", "")).await?, 5.0)?;
    expect_recovered(&mut wharf, "adder").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_is_not_so_leaves_the_model_that_serves() -> Result<()> {
    let site = Site::empty()?;
    site.adder("adder", 1, 1.0)?;
    let mut wharf = Wharf::serve(&site).await?;
    let loads = Loads::start(&wharf, "adder", "");
    loads.wait_for(1.0).await?;
    let mut client = wharf.client();
    let new = adder(2.0);
    let new: [(&str, &[u8]); 1] = [("file:2/model.onnx", &new)];
    for (config, field) in [
        (
            json!({"max_batch_size": 4, "output": [{"name": "y", "dims": [5]}]}),
            "output[0].dims",
        ),
        (
            json!({"input": [{"name": "x", "data_type": "TYPE_INT64"}]}),
            "input[0].data_type",
        ),
        (json!({"platform": "tensorrt_plan"}), "platform"),
        (
            json!({"max_batch_size": 4, "dynamic_batching": {"max_queue_delay_microseconds": 20_000_000}}),
            "dynamic_batching",
        ),
        (
            json!({"dynamic_batching": {"max_queue_delay_microseconds": 100}}),
            "dynamic_batching",
        ),
    ] {
        for files in [&new[..], &[]] {
            let answer = load_configured(&mut client, "adder", Some(&config), files).await?;
            let problem = answer.problem(400)?;
            ensure!(
                problem["field"] == format!("parameters.config.{field}"),
                "{config}: {problem}"
            );
            let entries = std::fs::read_dir(site.path().join("models/adder"))?.count();
            ensure!(
                entries == 1,
                "{config}: {entries} entries in the model's folder"
            );
            ensure!(!site.path().join(".staging").exists(), "{config}");
            ensure!(state_of(&mut client, "adder", 1).await? == "READY");
        }
    }
    loads.wait_for(1.0).await?;

    let config = json!({
        "backend": "onnxruntime",
        "max_batch_size": 4,
        "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": [4]}],
        "dynamic_batching": {"max_queue_delay_microseconds": 100},
    });
    load_configured(&mut client, "adder", Some(&config), &new)
        .await?
        .accepted()?;
    loads.wait_for(2.0).await?;
    loads.without_failure().await?;
    let settings = std::fs::read_to_string(site.path().join("models/adder/model.toml"))?;
    ensure!(settings.contains("delay_ms = 0.1\n"), "{settings}");
    let asked = Request::get("/v2/models/adder/config");
    let told = client.send(&asked).await?.ok()?;
    let batching = &told["dynamic_batching"];
    ensure!(batching["max_queue_delay_microseconds"] == 100, "{told}");
    expect_recovered(&mut wharf, "adder").await
}

/// Clients that ask a model over REST and over gRPC.
struct Loads([Load; 2]);

impl Loads {
    fn start(wharf: &Wharf, model: &str, version: &str) -> Self {
        let shape = [1, 4];
        let data: Vec<u8> = ONE_TO_FOUR.iter().flat_map(|x| x.to_le_bytes()).collect();
        let call = grpc::infer(
            model,
            version,
            &[Tensor {
                name: "x",
                datatype: "FP32",
                shape: &shape,
                data: &data,
            }],
        );
        let start = |protocol, request| Load::start_over(protocol, wharf.listen(), 2, request);
        Self([
            start(Protocol::Http1, &infer(model, version)),
            start(Protocol::Http2, &call),
        ])
    }

    /// Waits until all of them are answered with [`ONE_TO_FOUR`] plus an amount.
    async fn wait_for(&self, amount: f32) -> Result<()> {
        let Self([rest, grpc]) = self;
        rest.wait_for_response(|answer| sum(answer).is_ok_and(|found| found == amount))
            .await?;
        let expected = ONE_TO_FOUR.map(|x| x + amount);
        grpc.wait_for_response(|answer| grpc::floats(answer).is_ok_and(|found| found == expected))
            .await
    }

    async fn without_failure(self) -> Result<()> {
        for load in self.0 {
            load.stop().await?.without_failure()?;
        }
        Ok(())
    }
}

/// A request of the protocol to an adder.
fn infer(model: &str, version: &str) -> Request {
    let version = match version {
        "" => String::new(),
        version => format!("/versions/{version}"),
    };
    let input = json!({"name": "x", "datatype": "FP32", "shape": [1, 4], "data": ONE_TO_FOUR});
    Request::json(
        format!("/v2/models/{model}{version}/infer"),
        &json!({"inputs": [input]}),
    )
}

/// The amount that an adder added.
fn sum(response: &Response) -> Result<f32> {
    let answer = response.ok()?;
    let output = &answer["outputs"][0]["data"];
    let found: Vec<f32> = serde_json::from_value(output.clone())?;
    let amount = found.first().context("no elements")? - ONE_TO_FOUR[0];
    ensure!(
        found == ONE_TO_FOUR.map(|x| x + amount),
        "half of one and half of another: {found:?}"
    );
    Ok(amount)
}

fn expect_sum(response: &Response, amount: f32) -> Result<()> {
    let found = sum(response)?;
    ensure!(found == amount, "{found} was added, not {amount}");
    Ok(())
}
