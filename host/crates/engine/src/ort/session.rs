//! A session: one instance of a model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use ort::environment::Environment;
use ort::ep::{self, ArenaExtendStrategy};
use ort::session::RunOptions;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::value::ValueType;
use smallvec::SmallVec;
use wharf_core::{Tensor, TensorSpec};

use super::bound::Bound;
use super::call::{self, Graph, Value};
use super::usual::Usual;
use super::value::{self, ValueError};
use super::words::words;
use crate::memory;
use crate::settings::Device;

/// How a session is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    pub(crate) device: Device,
    pub(crate) intra_threads: u32,
    pub(crate) inter_threads: u32,
    pub(crate) arena: bool,
    /// The most memory of a CUDA device that the session's arena may take, in bytes.
    pub(crate) device_limit: Option<u64>,
}

/// An instance of a model, with what the model says of its inputs and outputs. The optional inputs are the last.
pub(crate) struct Session {
    runner: Runner,
    usual: Usual,
    pub(crate) inputs: Arc<[TensorSpec]>,
    pub(crate) outputs: Arc<[TensorSpec]>,
}

/// What runs the model.
enum Runner {
    /// The CPU, where the data of requests are used as they lie.
    Host(Arc<Graph>),
    /// A device, which data are copied to and from.
    Device(Box<Bound>),
}

/// Why a run gave no outputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the run was terminated")]
    Terminated,
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("the model failed: {}", words(&.0.to_string()))]
    Failed(ort::Error),
    #[error("the runtime panicked")]
    Panicked,
}

/// Builds a session from bytes that were walked before. It opens no file.
///
/// # Errors
/// What is wrong with the model, for the operator.
pub(crate) fn build(
    environment: &Environment,
    model: &[u8],
    external: &BTreeMap<String, Arc<[u8]>>,
    options: SessionOptions,
) -> Result<Session, String> {
    // The model is not trusted, and `ort` takes some of what ONNX Runtime may say of it for impossible.
    catch_unwind(AssertUnwindSafe(|| {
        let session = commit(environment, model, external, options).map_err(|error| {
            format!(
                "ONNX Runtime refuses the model: {}",
                words(&error.to_string())
            )
        })?;
        Session::new(session, options)
    }))
    .map_err(|_| "the model's inputs or outputs have types that cannot be served".to_owned())?
}

fn commit(
    environment: &Environment,
    model: &[u8],
    external: &BTreeMap<String, Arc<[u8]>>,
    options: SessionOptions,
) -> ort::Result<ort::session::Session> {
    let mut builder = ort::session::Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(options.intra_threads as usize)?
        .with_inter_threads(options.inter_threads as usize)?
        .with_parallel_execution(options.inter_threads > 1)?
        // Threads that spin while they wait take the cores from the server and from other instances.
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        // The bytes were walked as ONNX; let nothing in them choose another format.
        .with_config_entry("session.load_model_format", "ONNX")?
        // A few bytes of a model can describe a constant of gigabytes, which would be made while it is loaded.
        .with_config_entry(
            "optimization.constant_folding_max_output_size_in_bytes",
            "67108864",
        )?;
    builder = with_provider(builder, options)?;
    for (location, bytes) in external {
        builder = builder.with_external_initializer_file_in_memory(location, Arc::clone(bytes))?;
    }
    builder.commit_from_memory(model)
}

fn with_provider(builder: SessionBuilder, options: SessionOptions) -> ort::Result<SessionBuilder> {
    let cpu = ep::CPU::default()
        .with_arena_allocator(options.arena)
        .build()
        .error_on_failure();
    let providers = match options.device {
        Device::Cpu => vec![cpu],
        Device::Cuda(index) => vec![cuda(index, options).build().error_on_failure(), cpu],
    };
    Ok(builder.with_execution_providers(providers)?)
}

/// Each session has a stream of its own, which is the provider's default.
fn cuda(index: u32, options: SessionOptions) -> ep::CUDA {
    let provider = ep::CUDA::default()
        .with_device_id(i32::try_from(index).unwrap_or(i32::MAX))
        // Doubling would take half of a device for one large request.
        .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
        // An exhaustive search would be made anew for every number of rows.
        .with_conv_algorithm_search(ep::cuda::ConvAlgorithmSearch::Heuristic);
    match options.device_limit {
        Some(limit) => provider.with_memory_limit(usize::try_from(limit).unwrap_or(usize::MAX)),
        None => provider,
    }
}

fn spec(kind: &str, name: &str, dtype: &ValueType) -> Result<TensorSpec, String> {
    if name.is_empty() {
        return Err(format!("an {kind} has no name"));
    }
    let ValueType::Tensor { ty, shape, .. } = dtype else {
        return Err(format!(
            "{kind} {name:?} is no tensor, and only tensors are served"
        ));
    };
    let datatype = value::datatype(*ty)
        .ok_or_else(|| format!("{kind} {name:?} has element type {ty}, which is not served"))?;
    let shape = shape
        .iter()
        .map(|dimension| u64::try_from(*dimension).ok())
        .collect();
    Ok(TensorSpec::new(name, datatype, shape))
}

impl Session {
    fn new(session: ort::session::Session, options: SessionOptions) -> Result<Self, String> {
        let required = session
            .inputs()
            .iter()
            .map(|input| spec("input", input.name(), input.dtype()));
        // Inputs that have a value in the file too.
        let overridable = session.overridable_initializers();
        let optional = overridable.iter().map(|input| {
            let spec = spec("input", input.name(), input.dtype())?;
            Ok(TensorSpec {
                optional: true,
                ..spec
            })
        });
        let inputs: Arc<[TensorSpec]> = required.chain(optional).collect::<Result<_, String>>()?;
        let outputs: Arc<[TensorSpec]> = session
            .outputs()
            .iter()
            .map(|output| spec("output", output.name(), output.dtype()))
            .collect::<Result<_, _>>()?;
        let runner = match options.device {
            Device::Cpu => Graph::new((session, options.arena), names(&inputs), names(&outputs))
                .map(|graph| Runner::Host(Arc::new(graph))),
            Device::Cuda(index) => {
                Bound::pinned(session, index).map(|bound| Runner::Device(Box::new(bound)))
            }
        }
        .map_err(|error| {
            format!(
                "ONNX Runtime refuses the model: {}",
                words(&error.to_string())
            )
        })?;
        Ok(Self {
            runner,
            usual: Usual::default(),
            inputs,
            outputs,
        })
    }

    /// Another instance on the same weights, kernels and memory; none on a device, whose provider allows one run of a session
    /// at a time.
    pub(crate) fn sharing(&self) -> Option<Self> {
        let Runner::Host(graph) = &self.runner else {
            return None;
        };
        Some(Self {
            runner: Runner::Host(Arc::clone(graph)),
            usual: Usual::default(),
            inputs: Arc::clone(&self.inputs),
            outputs: Arc::clone(&self.outputs),
        })
    }

    /// Runs the model on inputs in any order. `options` may be terminated from another thread.
    pub(crate) fn run(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
    ) -> Result<Vec<Tensor>, RunError> {
        let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let unusual = self.usual.is_exceeded_by(bytes);
        let surplus = match &self.runner {
            Runner::Host(graph) => graph.surplus(),
            Runner::Device(_) => None,
        };
        let surplus = surplus
            .filter(|surplus| unusual || surplus.load(Relaxed))
            .cloned();
        if let Some(surplus) = &surplus {
            surplus.store(false, Relaxed);
            call::shrink_after(options).map_err(RunError::Failed)?;
        }
        // Outputs are in use when the run ends: their memory is surplus later.
        let later = surplus.as_ref().filter(|_| unusual);
        let outputs = catch_unwind(AssertUnwindSafe(|| {
            self.run_unguarded(inputs, options, later)
        }))
        .unwrap_or(Err(RunError::Panicked));
        if surplus.is_some() {
            memory::trim();
        }
        outputs
    }

    fn run_unguarded(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
        surplus: Option<&Arc<AtomicBool>>,
    ) -> Result<Vec<Tensor>, RunError> {
        let values = match &mut self.runner {
            Runner::Host(graph) => {
                let mut values: SmallVec<[(usize, Value<'_>); 6]> = SmallVec::new();
                for (place, tensor) in inputs.iter().enumerate() {
                    let index = index_of(&self.inputs, tensor.name(), place)?;
                    values.push((index, value::input(tensor, graph.host())?));
                }
                graph.run(&values, options)
            }
            Runner::Device(bound) => bound.run(inputs, &self.outputs, options)?,
        }
        .map_err(explain)?;
        let borrowed: SmallVec<[Range<usize>; 6]> = inputs
            .iter()
            .map(|tensor| {
                let range = tensor.data().as_ptr_range();
                range.start as usize..range.end as usize
            })
            .collect();
        self.outputs
            .iter()
            .zip(values)
            .map(|(spec, value)| Ok(value::output(spec, value, &borrowed, surplus)?))
            .collect()
    }
}

/// The index of an input among the model's. Nearly every request has them in the model's order.
fn index_of(specs: &[TensorSpec], name: &str, likely: usize) -> Result<usize, RunError> {
    if specs.get(likely).is_some_and(|spec| *spec.name == *name) {
        return Ok(likely);
    }
    specs
        .iter()
        .position(|spec| *spec.name == *name)
        .ok_or_else(|| RunError::Failed(ort::Error::new("the model has no such input")))
}

fn names(specs: &[TensorSpec]) -> impl Iterator<Item = &str> {
    specs.iter().map(|spec| &*spec.name)
}

fn explain(error: ort::Error) -> RunError {
    if error.to_string().contains("terminate flag") {
        RunError::Terminated
    } else {
        RunError::Failed(error)
    }
}
