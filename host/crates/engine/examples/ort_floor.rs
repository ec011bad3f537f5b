//! Runs a model on ONNX Runtime alone, with nothing around it: the floor under every server. Each caller has a session of its
//! own. The library is the one that `WHARF_ONNXRUNTIME` or `ORT_DYLIB_PATH` names.

#[path = "floor/load.rs"]
mod load;

use std::sync::Mutex;

use ort::ep;
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{TensorRef, ValueType};

use load::Args;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    if args.dump.is_some() {
        return Err("only the engine writes outputs".into());
    }
    let named = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let library = named("WHARF_ONNXRUNTIME")
        .or_else(|| named("ORT_DYLIB_PATH"))
        .ok_or("set WHARF_ONNXRUNTIME to the libonnxruntime.so that is to be measured")?;
    let environment = ort::init_from(library)?.with_telemetry(false).build()?;
    let sessions: Vec<Session> = (0..args.callers)
        .map(|_| open(&environment, &args))
        .collect::<Result<_, _>>()?;
    let inputs = inputs(&sessions[0], args.batch)?;
    let sessions = Mutex::new(sessions);
    load::measure(&args, || {
        let mut sessions = sessions.lock().expect("no caller panics with the lock");
        let mut session = sessions.pop().expect("there is a session for each caller");
        drop(sessions);
        let inputs = inputs.clone();
        // The first run makes the memory of a session, and looks for kernels on a device.
        run(&mut session, &inputs);
        move || run(&mut session, &inputs)
    });
    Ok(())
}

/// A session as who measures would make it: as many threads as are said, which do not spin.
fn open(environment: &ort::environment::Environment, args: &Args) -> ort::Result<Session> {
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(args.threads.unwrap_or(1))?
        .with_intra_op_spinning(false)?;
    let mut builder = match cuda(args) {
        Some(index) => {
            let cuda = ep::CUDA::default().with_device_id(index);
            builder.with_execution_providers([cuda.build().error_on_failure()])?
        }
        None => builder,
    };
    builder.commit_from_file(&args.model)
}

/// The index of the CUDA device; none for the CPU.
fn cuda(args: &Args) -> Option<i32> {
    args.device.strip_prefix("cuda:")?.parse().ok()
}

/// A name, a shape and its numbers.
type Input = (String, Vec<i64>, Vec<f32>);

fn inputs(session: &Session, batch: u64) -> Result<Vec<Input>, String> {
    session
        .inputs()
        .iter()
        .map(|input| {
            let ValueType::Tensor { shape, .. } = input.dtype() else {
                return Err(format!("input {} is no tensor", input.name()));
            };
            let dimensions = shape.iter().map(|dimension| u64::try_from(*dimension).ok());
            let shape = load::shape(dimensions, batch);
            let numbers = load::ramp(shape.iter().product());
            let shape = shape.into_iter().map(|dimension| dimension as i64);
            Ok((input.name().to_owned(), shape.collect(), numbers))
        })
        .collect()
}

fn run(session: &mut Session, inputs: &[Input]) {
    let values: Vec<_> = inputs
        .iter()
        .map(|(name, shape, numbers)| {
            let view = TensorRef::from_array_view((shape.clone(), numbers.as_slice()));
            (name.as_str(), view.expect("the numbers fill the shape"))
        })
        .collect();
    session.run(values).expect("the model takes a ramp of FP32");
}
