//! Requests and answers against what the peer says of its model.

use wharf_core::{Error, Shape, Tensor, TensorSpec};

use crate::fault::Fault;

/// Checks what is to be sent. What is missing is the peer's to say: its metadata does not tell which inputs must be there.
///
/// # Errors
/// `InvalidArgument` with the name of the input.
pub(crate) fn check_inputs(inputs: &[Tensor], specs: &[TensorSpec]) -> Result<(), Error> {
    for (index, input) in inputs.iter().enumerate() {
        let wrong = |message: String| Err(Error::invalid(input.name().to_owned(), message));
        let Some(spec) = specs.iter().find(|spec| *spec.name == *input.name()) else {
            return wrong("there is no such input".to_owned());
        };
        if inputs[..index].iter().any(|it| it.name() == input.name()) {
            return wrong("the input is there twice".to_owned());
        }
        if input.datatype() != spec.datatype {
            let message = format!("the input is {}, not {}", spec.datatype, input.datatype());
            return wrong(message);
        }
        if !fits(input.shape(), &spec.shape) {
            return wrong(format!(
                "the shape {} does not fit the model",
                input.shape()
            ));
        }
    }
    Ok(())
}

/// Finds the place of an output among those that were asked for, before its data is read.
///
/// # Errors
/// Where nobody asked for it, or not for such a one.
pub(crate) fn place(
    specs: &[TensorSpec],
    name: &str,
    datatype: &str,
    shape: &Shape,
) -> Result<usize, Fault> {
    let place = specs.iter().position(|spec| &*spec.name == name);
    let place = place.ok_or_else(|| lying("an output that the model does not have"))?;
    let spec = &specs[place];
    if datatype != spec.datatype.name() {
        return Err(lying("an output of another datatype than the model's"));
    }
    if !fits(shape, &spec.shape) {
        return Err(lying("an output of a shape that the model cannot give"));
    }
    Ok(place)
}

/// The shape as it was written.
///
/// # Errors
/// Where a dimension is negative.
pub(crate) fn shape(dimensions: &[i64]) -> Result<Shape, Fault> {
    dimensions
        .iter()
        .map(|size| u64::try_from(*size).map_err(|_| lying("a negative dimension")))
        .collect()
}

/// The outputs that came, each once, in the model's order.
pub(crate) struct Outputs<'a> {
    specs: &'a [TensorSpec],
    found: Vec<Option<Tensor>>,
}

impl<'a> Outputs<'a> {
    pub(crate) fn of(specs: &'a [TensorSpec]) -> Self {
        Self {
            specs,
            found: specs.iter().map(|_| None).collect(),
        }
    }

    /// Puts an output in its place.
    ///
    /// # Errors
    /// Where it was there already, or its data does not fit its shape.
    pub(crate) fn put(
        &mut self,
        place: usize,
        tensor: Result<Tensor, wharf_core::TensorError>,
    ) -> Result<(), Fault> {
        let tensor = tensor.map_err(|error| Fault::Lying(format!("an output: {error}")))?;
        match self.found.get_mut(place) {
            Some(slot @ None) => *slot = Some(tensor),
            _ => return Err(lying("an output twice")),
        }
        Ok(())
    }

    /// Whether an output is there.
    pub(crate) fn has(&self, place: usize) -> bool {
        self.found.get(place).is_some_and(Option::is_some)
    }

    /// All of them.
    ///
    /// # Errors
    /// Where one is missing.
    pub(crate) fn complete(self) -> Result<Vec<Tensor>, Fault> {
        let missing =
            |spec: &TensorSpec| Fault::Lying(format!("the output {} is missing", spec.name));
        let found = self.found.into_iter().zip(self.specs);
        found
            .map(|(tensor, spec)| tensor.ok_or_else(|| missing(spec)))
            .collect()
    }
}

fn fits(shape: &Shape, wanted: &[Option<u64>]) -> bool {
    shape.len() == wanted.len()
        && shape
            .iter()
            .zip(wanted)
            .all(|(size, wanted)| wanted.is_none_or(|wanted| wanted == *size))
}

pub(crate) fn lying(what: &str) -> Fault {
    Fault::Lying(what.to_owned())
}
