//! Runs a model through the engine, without a server around it: what scheduling costs over ONNX Runtime alone, see
//! `ort_floor`, and what a model leaves behind. It prints the resident memory of the process, in MiB, at every step.

#[path = "floor/load.rs"]
mod load;

use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use wharf_core::{
    Cancel, Engine, Headers, Model, ModelFolder, Name, RequestContext, Scheduling, Tensor,
};
use wharf_engine::{Config, OnnxEngine};

use load::Args;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let meters = SdkMeterProvider::default();
    let engine = OnnxEngine::new(Config::default(), &meters.meter("floor"))?;
    let site = tempfile::tempdir()?;
    let folder = site.path().join("models/m/1");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(&args.model, folder.join("model.onnx"))?;
    std::fs::write(folder.with_file_name("model.toml"), settings(&args))?;

    // What the library takes once is no model's.
    println!("start_mib={}", resident());
    let began = Instant::now();
    let versions = engine.versions(&ModelFolder {
        site: site.path().to_owned(),
        name: Name::new("m")?,
    })?;
    let model = engine.load(&versions.serve[0], &Cancel::default())?;
    println!("load_ms={}", began.elapsed().as_millis());
    println!("loaded_mib={}", resident());
    println!("device={}", model.info().device);
    println!("instances={}", model.info().instances);
    serve(&args, &model)?;
    println!("served_mib={}", resident());
    drop(model);
    println!("unloaded_mib={}", resident());
    Ok(())
}

fn settings(args: &Args) -> String {
    let threads = args
        .threads
        .map_or_else(String::new, |threads| format!("intra = {threads}"));
    format!(
        "[instances]\ndevice = \"{}\"\n[threads]\n{threads}\n[batching]\nqueue_wait_ms = 60000\n",
        args.device
    )
}

fn serve(args: &Args, model: &Arc<dyn Model>) -> Result<(), Box<dyn std::error::Error>> {
    let inputs: Vec<Tensor> = model
        .info()
        .inputs
        .iter()
        .filter(|input| !input.optional)
        .map(|input| {
            let shape = load::shape(input.shape.iter().copied(), args.batch);
            let numbers = load::ramp(shape.iter().product());
            Tensor::from_vec(Arc::clone(&input.name), shape.as_slice(), numbers)
        })
        .collect::<Result<_, _>>()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let outputs = runtime.block_on(infer(model, &inputs))?;
    if let Some(path) = &args.dump {
        let numbers = outputs
            .iter()
            .filter_map(|output| output.as_slice::<f32>().ok());
        let bytes: Vec<u8> = numbers
            .flatten()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        std::fs::write(path, bytes)?;
    }
    load::measure(args, || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime of one thread can be made");
        let inputs = inputs.clone();
        move || {
            runtime
                .block_on(infer(model, &inputs))
                .map(drop)
                .expect("the model answers");
        }
    });
    Ok(())
}

async fn infer(model: &Arc<dyn Model>, inputs: &[Tensor]) -> wharf_core::Result<Vec<Tensor>> {
    let request = RequestContext {
        id: "floor".into(),
        route: "m".into(),
        tenant: None,
        headers: Headers::default(),
        deadline: Instant::now() + Duration::from_secs(60),
        timeout: Duration::from_secs(60),
        scheduling: Scheduling::default(),
        depth: 0,
    };
    Ok(model.infer(&request, inputs.to_vec()).await?.outputs)
}

/// The resident memory of this process, in MiB; 0 where the system does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
        .map_or(0, |kibibytes| kibibytes / 1024)
}
