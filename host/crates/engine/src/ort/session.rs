//! A session: one instance of a model.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ort::environment::Environment;
use ort::ep;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{RunOptions, SessionInputValue};
use ort::value::{Outlet, ValueType};
use wharf_core::{Tensor, TensorSpec};

use super::value::{self, ValueError};
use crate::settings::Device;

/// How a session is built.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionOptions {
    pub(crate) device: Device,
    pub(crate) intra_threads: u32,
    pub(crate) inter_threads: u32,
    pub(crate) arena: bool,
}

/// A session, with what the model says of its inputs and outputs.
pub(crate) struct Session {
    session: ort::session::Session,
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
}

/// Why a run gave no outputs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error("the run was terminated")]
    Terminated,
    #[error(transparent)]
    Value(#[from] ValueError),
    #[error("the model failed: {0}")]
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
    let session = catch_unwind(AssertUnwindSafe(|| {
        commit(environment, model, external, options)
    }))
    .map_err(|_| "the model's inputs or outputs have types that cannot be served".to_owned())?
    .map_err(|error| format!("ONNX Runtime refuses the model: {error}"))?;
    let inputs = session
        .inputs()
        .iter()
        .map(|outlet| spec("input", outlet))
        .collect::<Result<_, _>>()?;
    let outputs = session
        .outputs()
        .iter()
        .map(|outlet| spec("output", outlet))
        .collect::<Result<_, _>>()?;
    Ok(Session {
        session,
        inputs,
        outputs,
    })
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
        Device::Cuda(index) => {
            let index = i32::try_from(index).unwrap_or(i32::MAX);
            vec![
                ep::CUDA::default()
                    .with_device_id(index)
                    .build()
                    .error_on_failure(),
                cpu,
            ]
        }
    };
    Ok(builder.with_execution_providers(providers)?)
}

fn spec(kind: &str, outlet: &Outlet) -> Result<TensorSpec, String> {
    let name = outlet.name();
    if name.is_empty() {
        return Err(format!("an {kind} has no name"));
    }
    let ValueType::Tensor { ty, shape, .. } = outlet.dtype() else {
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
    /// Runs the model on inputs in any order. `options` may be terminated from another thread.
    pub(crate) fn run(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
    ) -> Result<Vec<Tensor>, RunError> {
        catch_unwind(AssertUnwindSafe(|| self.run_unguarded(inputs, options)))
            .unwrap_or(Err(RunError::Panicked))
    }

    fn run_unguarded(
        &mut self,
        inputs: &[Tensor],
        options: &RunOptions,
    ) -> Result<Vec<Tensor>, RunError> {
        let borrowed: Vec<Range<usize>> = inputs
            .iter()
            .map(|tensor| {
                let range = tensor.data().as_ptr_range();
                range.start as usize..range.end as usize
            })
            .collect();
        let mut values: Vec<(Cow<'_, str>, SessionInputValue<'_>)> =
            Vec::with_capacity(inputs.len());
        for tensor in inputs {
            values.push((Cow::Borrowed(tensor.name()), value::input(tensor)?));
        }
        let produced = self
            .session
            .run_with_options(values, options)
            .map_err(|error| {
                if error.to_string().contains("terminate flag") {
                    RunError::Terminated
                } else {
                    RunError::Failed(error)
                }
            })?;
        self.outputs
            .iter()
            .zip(produced)
            .map(|(spec, (_, value))| {
                Ok(value::output(&spec.name, spec.datatype, value, &borrowed)?)
            })
            .collect()
    }
}
