//! What a model that is not run answers.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use wharf_core::{Datatype, Error, ErrorKind, Result, Tensor, TensorSpec};

use super::MockModel;
use crate::engine::warmup::sample;
use crate::onnx::{Dimension, Outlet};

/// Makes up the outputs of a request: of the shapes that its inputs give them, and of values that change with the inputs
/// alone.
///
/// # Errors
/// `Unprocessable` with the output as the field, where it would be too large.
pub(super) fn outputs(model: &MockModel, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
    let sizes = Sizes::of(model, inputs);
    let seed = seed(model, inputs);
    let outputs = model.outputs.iter().zip(&model.info.outputs);
    outputs
        .map(|(outlet, spec)| {
            let shape = sizes.shape(outlet);
            let made = match spec.classes.as_deref() {
                Some(classes) if is_index_or_text(spec.datatype) => {
                    chosen(spec, &shape, classes, seed)
                }
                _ => sample::random(spec, Some(&shape), seed),
            };
            made.map_err(|message| {
                Error::new(ErrorKind::Unprocessable, message).with_field(spec.name.to_string())
            })
        })
        .collect()
}

/// The sizes that a request gives dimensions.
struct Sizes<'a> {
    named: BTreeMap<&'a str, u64>,
    /// The first dimension of the first input where it is free: the batch.
    rows: u64,
}

impl<'a> Sizes<'a> {
    fn of(model: &'a MockModel, inputs: &[Tensor]) -> Self {
        let mut named = BTreeMap::new();
        let mut rows = None;
        for tensor in inputs {
            let outlet = model.inputs.iter().find(|one| one.name == tensor.name());
            let Some(outlet) = outlet else { continue };
            let dimensions = outlet.shape.iter().zip(tensor.shape().iter());
            for (index, (dimension, size)) in dimensions.enumerate() {
                if let Dimension::Named(name) = dimension {
                    named.entry(name.as_str()).or_insert(*size);
                }
                if index == 0 && !matches!(dimension, Dimension::Fixed(_)) {
                    rows.get_or_insert(*size);
                }
            }
        }
        Self {
            named,
            rows: rows.unwrap_or(1),
        }
    }

    /// What the inputs do not say is as long as the batch in the first dimension, and 1 in others.
    fn shape(&self, outlet: &Outlet) -> Vec<u64> {
        let size = |(index, dimension): (usize, &Dimension)| match dimension {
            Dimension::Fixed(size) => *size,
            Dimension::Named(name) if self.named.contains_key(name.as_str()) => {
                self.named[name.as_str()]
            }
            Dimension::Named(_) | Dimension::Free if index == 0 => self.rows,
            Dimension::Named(_) | Dimension::Free => 1,
        };
        outlet.shape.iter().enumerate().map(size).collect()
    }
}

/// The same for the same model and inputs.
fn seed(model: &MockModel, inputs: &[Tensor]) -> u64 {
    let mut hasher = DefaultHasher::new();
    model.info.name.hash(&mut hasher);
    model.info.version.hash(&mut hasher);
    for tensor in inputs {
        tensor.name().hash(&mut hasher);
        tensor.data().hash(&mut hasher);
    }
    hasher.finish()
}

/// Whether an element can say which class it is.
fn is_index_or_text(datatype: Datatype) -> bool {
    !matches!(
        datatype,
        Datatype::Bool | Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64
    )
}

/// A tensor whose elements are classes: their names where it has texts, else their indices.
fn chosen(
    spec: &TensorSpec,
    shape: &[u64],
    classes: &[std::sync::Arc<str>],
    seed: u64,
) -> Result<Tensor, String> {
    // Its length is checked there.
    let made = sample::random(spec, Some(shape), seed)?;
    let count = made.shape().elements().unwrap_or(0);
    let mut numbers = fastrand::Rng::with_seed(seed);
    let indices = (0..count).map(|_| numbers.usize(..classes.len()));
    let tensor = match spec.datatype.size() {
        None => {
            let names: Vec<&str> = indices.map(|index| &*classes[index]).collect();
            Tensor::from_elements(spec.name.clone(), shape, &names)
        }
        Some(size) => {
            // Little-endian, as all tensors are: what does not fit wraps, in a datatype that could not name the class either.
            let data: Vec<u8> = indices
                .flat_map(|index| (index as u64).to_le_bytes().into_iter().take(size))
                .collect();
            Tensor::new(spec.name.clone(), spec.datatype, shape, data.into())
        }
    };
    tensor.map_err(|error| error.to_string())
}
