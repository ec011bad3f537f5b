//! `{"input": ..}` to tensors.

use std::fmt;

use wharf_core::{Error, Result, Shape, Tensor, TensorSpec};

use super::cursor::Cursor;
use super::{Batch, Fault, Unplaced, array, shorten};

/// What a client posted.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// One for each of the specs that is given, in their order.
    pub(crate) tensors: Vec<Tensor>,
    /// `Strip` where every input came as one row.
    pub(crate) batch: Batch,
}

/// Reads the inputs that the specs ask for.
///
/// # Errors
/// `InvalidArgument`, with the place in the document as the field: `input[3][1]`, `input.mask[0]`.
pub(crate) fn decode(text: &[u8], specs: &[TensorSpec]) -> Result<Inputs> {
    let mut reading = Reading {
        specs,
        inputs: specs.iter().map(|_| None).collect(),
        key: None,
        named: false,
    };
    let mut cursor = Cursor::new(text);
    if cursor.peek().is_some_and(|first| first != b'{') {
        let message = "is not an object like {\"input\": [..]}";
        return Err(Error::invalid("body", message));
    }
    let read = cursor.members(|cursor, key| reading.member(cursor, key));
    let read = read.and_then(|()| Ok(cursor.end()?));
    read.map_err(|error: Unplaced| error.within(reading.key.unwrap_or("body")))?;
    reading.finish()
}

/// What has been read, and where the reader is.
struct Reading<'a> {
    specs: &'a [TensorSpec],
    inputs: Vec<Option<Tensor>>,
    /// The top-level key, once it was seen.
    key: Option<&'static str>,
    /// Whether the inputs are named.
    named: bool,
}

impl Reading<'_> {
    fn member(&mut self, cursor: &mut Cursor<'_>, key: &str) -> Result<(), Unplaced> {
        let known = match key {
            "input" => "input",
            "inputs" => "inputs",
            other => {
                let other = shorten(other);
                let message = format!("has the unknown key {other:?}; the only key is \"input\"");
                return Err(Fault::new(message).into());
            }
        };
        if self.key.is_some() {
            let message = "is given twice; send either input or inputs, once";
            return Err(Fault::new(message).into());
        }
        self.key = Some(known);
        match cursor.peek() {
            Some(b'{') => {
                self.named = true;
                cursor.members(|cursor, name| self.input(cursor, known, name))
            }
            Some(b'n') if cursor.plain()?.is_some() => {
                Err(Fault::new(format!("is null; {}", self.expectation())).into())
            }
            _ if self.specs.len() == 1 => {
                self.inputs[0] = Some(array::nested(cursor, &self.specs[0])?);
                Ok(())
            }
            _ => {
                let message = format!("does not name its inputs; {}", self.expectation());
                Err(Fault::new(message).into())
            }
        }
    }

    fn input(&mut self, cursor: &mut Cursor<'_>, key: &str, name: &str) -> Result<(), Unplaced> {
        let Some(index) = self.specs.iter().position(|spec| &*spec.name == name) else {
            let name = shorten(name);
            let message = format!("has no input {name:?}; {}", self.expectation());
            return Err(Fault::new(message).into());
        };
        let field = || format!("{key}.{name}");
        if self.inputs[index].is_some() {
            return Err(Error::invalid(field(), "is given twice").into());
        }
        let tensor = array::nested(cursor, &self.specs[index]);
        self.inputs[index] = Some(tensor.map_err(|fault| fault.within(field()))?);
        Ok(())
    }

    /// Checks that every input is there, and adds the batch dimension where every input lacks it.
    fn finish(mut self) -> Result<Inputs> {
        let Some(key) = self.key else {
            return Err(Error::invalid("input", self.expectation()));
        };
        let named = self.named || self.specs.len() != 1;
        let mut tensors = Vec::with_capacity(self.specs.len());
        let mut rows = 0;
        for (spec, input) in self.specs.iter().zip(std::mem::take(&mut self.inputs)) {
            let field = || {
                if named {
                    format!("{key}.{}", spec.name)
                } else {
                    key.to_owned()
                }
            };
            let Some(tensor) = input else {
                if spec.optional {
                    continue;
                }
                return Err(Error::invalid(
                    field(),
                    format!("is missing; {}", self.expectation()),
                ));
            };
            let (tensor, is_row) =
                fit(tensor, spec).map_err(|message| Error::invalid(field(), message))?;
            rows += usize::from(is_row);
            tensors.push(tensor);
        }
        let batch = if rows > 0 && rows == tensors.len() {
            Batch::Strip
        } else {
            Batch::Keep
        };
        Ok(Inputs { tensors, batch })
    }

    fn expectation(&self) -> String {
        match self.specs {
            [spec] => format!("send {{\"input\": [..]}} with {}", Expected(spec)),
            specs => {
                let inputs: Vec<_> = specs
                    .iter()
                    .map(|spec| format!("\"{}\": {}", spec.name, Expected(spec)))
                    .collect();
                format!("send {{\"input\": {{..}}}} with {}", inputs.join(", "))
            }
        }
    }
}

/// Gives a tensor the rank of its spec; says whether it was one row of a batch.
fn fit(tensor: Tensor, spec: &TensorSpec) -> Result<(Tensor, bool), String> {
    let is_row = tensor.shape().len() + 1 == spec.shape.len() && spec.shape[0].is_none();
    let tensor = if is_row {
        let shape: Shape = std::iter::once(1)
            .chain(tensor.shape().iter().copied())
            .collect();
        tensor
            .with_shape(shape)
            .map_err(|error| error.to_string())?
    } else {
        tensor
    };
    let fits = tensor.shape().len() == spec.shape.len()
        && tensor
            .shape()
            .iter()
            .zip(&spec.shape)
            .all(|(size, expected)| expected.is_none_or(|expected| expected == *size));
    if fits {
        Ok((tensor, is_row))
    } else if is_row {
        Err(format!(
            "is one row of shape {:?}, but takes {}",
            &tensor.shape()[1..],
            Expected(spec)
        ))
    } else {
        Err(format!(
            "has the shape {}, but takes {}",
            tensor.shape(),
            Expected(spec)
        ))
    }
}

/// Writes `FP32 [batch, 4]`-like: `FP32 [*, 4]`.
struct Expected<'a>(&'a TensorSpec);

impl fmt::Display for Expected<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [", self.0.datatype)?;
        for (index, size) in self.0.shape.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            match size {
                Some(size) => write!(f, "{comma}{size}")?,
                None => write!(f, "{comma}*")?,
            }
        }
        f.write_str("]")
    }
}
