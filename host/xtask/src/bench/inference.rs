//! Inference through the Open Inference Protocol: beside bare servers, beside ONNX Runtime alone, and with batches.

use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use wharf_protobuf::Message;

use super::Ground;
use super::generator::{self, Generator};
use super::load::{self, Load};
use super::models::BenchModel;
use super::process::{Bare, Wharf};
use super::report::{Report, Target};
use super::site::ModelSite;

/// The path of the tiny model.
pub(super) const TINY_PATH: &str = "/v2/models/tiny/infer";

/// A request for the tiny model.
pub(super) const TINY_BODY: &str =
    r#"{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]}]}"#;

/// What comes before a row of the MLP: 784 floats, as bytes.
const MLP_HEADER: &str = r#"{"inputs":[{"name":"x","shape":[1,784],"datatype":"FP32","parameters":{"binary_data_size":3136}}],"parameters":{"binary_data_output":true}}"#;

/// The method of gRPC that infers.
const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";

/// Long enough to see whether requests succeed, on a busy machine too.
const LOOK: Duration = Duration::from_secs(1);

/// The 4-float model over REST as JSON, beside a bare hyper server that answers the same bytes.
pub(super) fn rest(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?.with(BenchModel::Tiny, "", ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let answer = wharf.post(TINY_PATH, TINY_BODY)?;
    let bare = Bare::start(&ground.binaries.example("bare_hyper"), &[&answer])?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ground.rounds {
        theirs.push(ground.load().post(&bare.url(TINY_PATH), TINY_BODY)?);
        ours.push(ground.load().post(&wharf.url(TINY_PATH), TINY_BODY)?);
    }
    let failed = load::failed(ours.iter().chain(&theirs));
    ensure!(failed == 0, "{failed} requests failed under load");
    let [ours, theirs] = [&ours, &theirs].map(|samples| load::median_rate(samples));
    report.rate("REST, 4 floats, JSON", ours);
    report.ratio(
        "REST, 4 floats, JSON / bare hyper",
        ours / theirs,
        Target::AtLeast(0.60),
    );
    Ok(())
}

/// The 4-float model over gRPC, beside a bare tonic server that answers the same message.
pub(super) fn grpc(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?.with(BenchModel::Tiny, "", ground.paths)?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let bare = Bare::start(&ground.binaries.example("bare_tonic"), &["tiny", "y", "3"])?;
    let folder = tempfile::tempdir()?;
    let (message, frame) = (folder.path().join("message"), folder.path().join("frame"));
    let request = infer_request();
    let mut framed = vec![0];
    framed.extend(u32::try_from(request.len())?.to_be_bytes());
    framed.extend(&request);
    std::fs::write(&message, request)?;
    std::fs::write(&frame, framed)?;

    let h2load = generator::has_h2load();
    if !h2load {
        eprintln!(
            "bench: h2load is missing (apt-get install nghttp2-client); wharf bench takes its place and costs more"
        );
    }
    let rate = |url: &dyn Fn(&str) -> String| -> Result<f64> {
        if !h2load {
            return by_wharf_bench(ground, &url(""), &message, ground.load().duration);
        }
        // A look at the answers first: h2load does not read the status of gRPC.
        by_wharf_bench(ground, &url(""), &message, LOOK)?;
        generator::h2load(&url(INFER), &frame, &ground.load())
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ground.rounds {
        theirs.push(rate(&|path| bare.url(path))?);
        ours.push(rate(&|path| wharf.url(path))?);
    }
    let [ours, theirs] = [ours, theirs].map(|rates| load::median(rates.into_iter()));
    report.rate("bare tonic", theirs);
    report.rate("gRPC, 4 floats", ours);
    report.ratio(
        "gRPC, 4 floats / bare tonic",
        ours / theirs,
        Target::AtLeast(0.60),
    );
    Ok(())
}

/// The rate by `wharf bench`.
fn by_wharf_bench(ground: &Ground<'_>, url: &str, message: &Path, time: Duration) -> Result<f64> {
    let connections = ground.load().connections.to_string();
    let (message, time) = (message.to_string_lossy(), seconds(time));
    let flags = ["--protocol", "grpc", "--body", &message, "--warmup", "0"];
    let flags = [
        &flags[..],
        &["--connections", &connections, "--duration", &time],
    ]
    .concat();
    let outcome = Generator::new(&ground.binaries, url, "tiny").run(&flags)?;
    Ok(outcome.all_succeeded()?.throughput)
}

/// `ModelInferRequest` for the tiny model, its numbers raw.
fn infer_request() -> Vec<u8> {
    let numbers: Vec<u8> = [5.1_f32, 3.5, 1.4, 0.2]
        .iter()
        .flat_map(|number| number.to_le_bytes())
        .collect();
    let input = Message::new()
        .bytes(1, "x")
        .bytes(2, "FP32")
        .packed(3, &[1, 4]);
    let request = Message::new().bytes(1, "tiny").message(5, &input);
    request.bytes(7, &numbers).into_bytes()
}

/// The CNN at saturation with default settings, beside ONNX Runtime alone in its best arrangement.
pub(super) fn cnn(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let model = BenchModel::Cnn.file(ground.paths)?;
    let site = ModelSite::new()?.with(BenchModel::Cnn, "", ground.paths)?;
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let mut arrangements = vec![(cores, 1), (1, cores)];
    if cores >= 4 {
        arrangements.push((cores / 2, 2));
    }
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let generator = Generator::new(&ground.binaries, &wharf.url(""), "cnn");
    let (connections, duration) = ((2 * cores).to_string(), seconds(ground.load().duration));
    let rate = |data: &str| -> Result<f64> {
        let load = ["--connections", &connections, "--duration", &duration];
        let outcome = generator.run(&[&load[..], &["--warmup", "1s", "--data", data]].concat())?;
        Ok(outcome.all_succeeded()?.throughput)
    };
    let mut floors = vec![Vec::new(); arrangements.len()];
    let (mut binary, mut json) = (Vec::new(), Vec::new());
    for _ in 0..ground.rounds {
        for (rates, arrangement) in floors.iter_mut().zip(&arrangements) {
            let seconds = ground.load().duration.as_secs();
            rates.push(ground.binaries.ort_floor(&model, *arrangement, seconds)?);
        }
        binary.push(rate("binary")?);
        json.push(rate("json")?);
    }
    for (rates, (callers, threads)) in floors.iter().zip(&arrangements) {
        let what = format!("CNN, ONNX Runtime alone, {callers} sessions of {threads} threads");
        report.rate(&what, load::median(rates.iter().copied()));
    }
    let floors = floors
        .into_iter()
        .map(|rates| load::median(rates.into_iter()));
    let floor = floors.fold(f64::NAN, f64::max);
    let [binary, json] = [binary, json].map(|rates| load::median(rates.into_iter()));
    report.rate("CNN, binary, at saturation", binary);
    report.ratio(
        "CNN, binary / ONNX Runtime alone at its best",
        binary / floor,
        Target::AtLeast(0.97),
    );
    report.ratio("CNN, JSON / binary", json / binary, Target::AtLeast(0.80));
    Ok(())
}

/// The MLP with and without batches, side by side in one server.
pub(super) fn batching(ground: &Ground<'_>, report: &mut Report) -> Result<()> {
    let site = ModelSite::new()?
        .with(BenchModel::Mlp, "[batching]\nmax_rows = 64\n", ground.paths)?
        .with_name(
            "mlp-single",
            BenchModel::Mlp,
            "[batching]\nmax_rows = 1\n",
            ground.paths,
        )?;
    let wharf = Wharf::start(&ground.binaries, site.path())?;
    let row: Vec<u8> = (0..784_u16)
        .flat_map(|index| (f32::from(index % 256) / 256.0).to_le_bytes())
        .collect();
    let duration = ground.load().duration;
    let run = |model: &str, connections: u32| {
        let load = Load {
            connections,
            duration,
        };
        load.post_binary(
            &wharf.url(&format!("/v2/models/{model}/infer")),
            MLP_HEADER,
            &row,
        )
    };
    let mut figures = [const { Vec::new() }; 4];
    for _ in 0..ground.rounds {
        figures[0].push(run("mlp", 64)?);
        figures[1].push(run("mlp-single", 64)?);
        figures[2].push(run("mlp", 1)?);
        figures[3].push(run("mlp-single", 1)?);
    }
    let failed = load::failed(figures.iter().flatten());
    ensure!(failed == 0, "{failed} requests failed under load");
    let [batched, single] = [&figures[0], &figures[1]].map(|samples| load::median_rate(samples));
    let [alone, alone_single] = [&figures[2], &figures[3]].map(|samples| load::median_p50(samples));
    report.rate("MLP, 64 connections, without batches", single);
    report.rate("MLP, 64 connections, with batches", batched);
    report.ratio(
        "MLP, with batches / without",
        batched / single,
        Target::AtLeast(2.5),
    );
    report.ratio(
        "MLP, p50 at 1 connection, with batches / without",
        alone.as_secs_f64() / alone_single.as_secs_f64(),
        Target::AtMost(1.05),
    );
    Ok(())
}

/// A time as `wharf bench` reads it.
pub(super) fn seconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}
