//! What a peer says of its model.

use std::str::FromStr as _;

use wharf_core::{Datatype, TensorSpec};

use crate::fault::Fault;

/// The most inputs, and outputs, of a model; the longest name of one; the most dimensions.
const MAX_TENSORS: usize = 1_024;
const MAX_NAME: usize = 1_024;
const MAX_DIMENSIONS: usize = 32;

/// A model, as its server describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Metadata {
    pub(crate) inputs: Vec<TensorSpec>,
    pub(crate) outputs: Vec<TensorSpec>,
    /// Whether tensors may travel as binary data over REST.
    pub(crate) binary: bool,
}

/// Adds a tensor to the inputs or the outputs.
///
/// # Errors
/// Where it is none, or there is one of the name.
pub(crate) fn add(
    specs: &mut Vec<TensorSpec>,
    name: &str,
    datatype: &str,
    shape: &[i64],
) -> Result<(), Fault> {
    let lying = |what: &str| Fault::Lying(format!("the metadata has {what}"));
    if specs.len() >= MAX_TENSORS {
        return Err(lying("too many tensors"));
    }
    if name.is_empty() || name.len() > MAX_NAME {
        return Err(lying("a tensor without a name, or with one too long"));
    }
    if specs.iter().any(|spec| &*spec.name == name) {
        return Err(lying("two tensors of one name"));
    }
    let datatype = Datatype::from_str(datatype).map_err(|_| lying("an unknown datatype"))?;
    if shape.len() > MAX_DIMENSIONS {
        return Err(lying("a tensor with too many dimensions"));
    }
    // Negative is what each request chooses.
    let shape = shape.iter().map(|size| u64::try_from(*size).ok()).collect();
    specs.push(TensorSpec::new(name, datatype, shape));
    Ok(())
}
