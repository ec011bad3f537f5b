//! `{"input": ..}` to tensors.

mod input;

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use wharf_core::{Error, Result, Shape, Tensor, TensorSpec};

use super::Batch;
use super::array::Fault;
use input::InputValue;

/// What a client posted.
#[derive(Clone, Debug)]
pub(crate) struct Inputs {
    /// One for each of the specs, in their order.
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
        name: None,
        room: text.len() / 2,
        fault: Fault::default(),
    };
    let mut parser = serde_json::Deserializer::from_slice(text);
    let result = Document(&mut reading)
        .deserialize(&mut parser)
        .and_then(|()| parser.end());
    if let Err(error) = result {
        return Err(reading.fault(&error));
    }
    reading.finish()
}

/// What has been read, and where the reader is.
struct Reading<'a> {
    specs: &'a [TensorSpec],
    inputs: Vec<Option<Tensor>>,
    /// The top-level key being read, and the input in it where inputs are named.
    key: Option<&'static str>,
    named: bool,
    name: Option<usize>,
    /// The most elements that the document can hold: each takes two characters.
    room: usize,
    fault: Fault,
}

impl Reading<'_> {
    fn refuse<R: serde::de::Error>(&mut self, message: impl Into<String>) -> R {
        self.fault.message = Some(message.into());
        R::custom("refused")
    }

    fn fault(&mut self, error: &serde_json::Error) -> Error {
        match self.fault.message.take() {
            Some(message) => Error::invalid(self.field(), message),
            None => Error::invalid(
                if self.key.is_some() {
                    self.field()
                } else {
                    "body".to_owned()
                },
                format!("is not valid JSON: {error}"),
            ),
        }
    }

    /// The place in the document: `input.mask[3][1]`.
    fn field(&self) -> String {
        let mut field = self.key.unwrap_or("body").to_owned();
        if let Some(spec) = self.name.and_then(|name| self.specs.get(name)) {
            field.push('.');
            field.push_str(&spec.name);
        }
        for index in &self.fault.at {
            field.push('[');
            field.push_str(itoa::Buffer::new().format(*index));
            field.push(']');
        }
        field
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

/// The whole document.
struct Document<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object like {\"input\": [..]}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let key = match key {
                TopKey::Input(_) if self.0.key.is_some() => {
                    return Err(self
                        .0
                        .refuse("is given twice; send either input or inputs, once"));
                }
                TopKey::Input(key) => key,
                TopKey::Unknown(key) => {
                    return Err(self.0.refuse(format!(
                        "has the unknown key {key:?}; the only key is \"input\""
                    )));
                }
            };
            self.0.key = Some(key);
            map.next_value_seed(InputValue(self.0))?;
        }
        Ok(())
    }
}

/// A key of the document, read without a copy.
struct Key;

enum TopKey {
    Input(&'static str),
    /// The first characters of another key.
    Unknown(String),
}

impl<'de> DeserializeSeed<'de> for Key {
    type Value = TopKey;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TopKey, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = TopKey;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<R: serde::de::Error>(self, key: &str) -> Result<TopKey, R> {
        Ok(match key {
            "input" => TopKey::Input("input"),
            "inputs" => TopKey::Input("inputs"),
            other => TopKey::Unknown(shorten(other)),
        })
    }
}

/// What a message repeats of a name that a client made up.
fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}
