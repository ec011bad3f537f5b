//! The inputs of a request against what its route takes: both codecs fill them in as they read them.

use std::sync::{Arc, LazyLock};

use wharf_core::{Datatype, Error, Payload, Result, Shape, Tensor, TensorSpec};
use wharf_serving::RouteInput;

use super::{BODY, to_body};
use crate::json::shorten;

/// What stands for a body.
static BODY_SPEC: LazyLock<[TensorSpec; 1]> =
    LazyLock::new(|| [TensorSpec::new(BODY, Datatype::Bytes, vec![Some(1)])]);

/// The inputs of a request, while they are read.
#[derive(Debug)]
pub(crate) struct Inputs<'a> {
    specs: &'a [TensorSpec],
    is_body: bool,
    /// One for each of the specs.
    tensors: Vec<Option<Tensor>>,
    content_type: Option<Arc<str>>,
}

/// An input that a request has, checked against what the route takes.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    index: usize,
    /// The name, as the model has it.
    pub(crate) name: Arc<str>,
    pub(crate) datatype: Datatype,
    pub(crate) shape: Shape,
}

impl<'a> Inputs<'a> {
    /// Inputs of which none is read yet.
    pub(crate) fn of(input: RouteInput<'a>) -> Self {
        let (specs, is_body) = match input {
            RouteInput::Tensors(specs) => (specs, false),
            RouteInput::Body => (&BODY_SPEC[..], true),
        };
        Self {
            specs,
            is_body,
            tensors: specs.iter().map(|_| None).collect(),
            content_type: None,
        }
    }

    /// Finds the place of an input by what a request says of it, before its elements are read.
    ///
    /// # Errors
    /// `InvalidArgument` with `inputs.NAME` as the field, where there is no such input, it was there already, or its
    /// datatype or shape is another.
    pub(crate) fn slot(&self, name: &str, datatype: &str, shape: Shape) -> Result<Slot> {
        let wrong = |message: String| Error::invalid(field(name), message);
        let found = self.specs.iter().position(|spec| &*spec.name == name);
        let index = found.ok_or_else(|| {
            let there: Vec<&str> = self.specs.iter().map(|spec| &*spec.name).collect();
            wrong(format!("there is no such input, but {}", there.join(", ")))
        })?;
        let spec = &self.specs[index];
        if self.tensors[index].is_some() {
            return Err(wrong("is given twice".to_owned()));
        }
        if spec.datatype.name() != datatype {
            let datatype = shorten(datatype);
            return Err(wrong(format!("is {}, not {datatype:?}", spec.datatype)));
        }
        let fits = |(size, expected): (&u64, &Option<u64>)| expected.is_none_or(|e| e == *size);
        if shape.len() != spec.shape.len() || !shape.iter().zip(&spec.shape).all(fits) {
            let expected = dimensions(&spec.shape);
            return Err(wrong(format!(
                "has the shape {shape}, but takes {expected}"
            )));
        }
        Ok(Slot {
            index,
            name: Arc::clone(&spec.name),
            datatype: spec.datatype,
            shape,
        })
    }

    /// Fills in the elements of an input.
    pub(crate) fn fill(&mut self, slot: &Slot, tensor: Tensor) {
        self.tensors[slot.index] = Some(tensor);
    }

    /// Says what the body is.
    pub(crate) fn set_content_type(&mut self, content_type: Arc<str>) {
        self.content_type = Some(content_type);
    }

    /// Gives what the route takes.
    ///
    /// # Errors
    /// `InvalidArgument` with `inputs.NAME` as the field, where an input is missing that is not optional.
    pub(crate) fn finish(self) -> Result<Payload> {
        for (spec, tensor) in self.specs.iter().zip(&self.tensors) {
            if tensor.is_none() && !spec.optional {
                let expected = dimensions(&spec.shape);
                let message = format!("is missing; send {} {expected}", spec.datatype);
                return Err(Error::invalid(field(&spec.name), message));
            }
        }
        let mut tensors = self.tensors.into_iter().flatten();
        match (self.is_body, tensors.next()) {
            (true, Some(tensor)) => {
                to_body(&tensor, self.content_type.as_deref()).map(Payload::Body)
            }
            (_, first) => Ok(Payload::Tensors(first.into_iter().chain(tensors).collect())),
        }
    }
}

/// The field of an error about an input.
pub(crate) fn field(name: &str) -> String {
    format!("inputs.{}", shorten(name))
}

/// Writes `[-1, 4]`, as the protocol has it.
fn dimensions(shape: &[Option<u64>]) -> String {
    let sizes: Vec<String> = shape
        .iter()
        .map(|size| size.map_or_else(|| "-1".to_owned(), |size| size.to_string()))
        .collect();
    format!("[{}]", sizes.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> [TensorSpec; 2] {
        let mut mask = TensorSpec::new("mask", Datatype::Bool, vec![None]);
        mask.optional = true;
        [
            TensorSpec::new("x", Datatype::Fp32, vec![None, Some(2)]),
            mask,
        ]
    }

    #[test]
    fn inputs_are_matched_with_what_the_route_takes() {
        let specs = specs();
        let inputs = || Inputs::of(RouteInput::Tensors(&specs));
        for (name, datatype, shape, message) in [
            (
                "y",
                "FP32",
                &[1, 2][..],
                "inputs.y: there is no such input, but x, mask",
            ),
            ("x", "FP64", &[1, 2], "inputs.x: is FP32, not \"FP64\""),
            (
                "x",
                "FP32",
                &[2],
                "inputs.x: has the shape [2], but takes [-1, 2]",
            ),
            (
                "x",
                "FP32",
                &[1, 3],
                "inputs.x: has the shape [1, 3], but takes [-1, 2]",
            ),
        ] {
            let error = inputs().slot(name, datatype, shape.into()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        let error = inputs().finish().unwrap_err();
        assert_eq!(error.to_string(), "inputs.x: is missing; send FP32 [-1, 2]");
        let mut inputs = inputs();
        let slot = inputs.slot("x", "FP32", [1, 2].into()).unwrap();
        let tensor = Tensor::from_vec(slot.name.clone(), [1, 2], vec![1.0_f32, 2.0]).unwrap();
        inputs.fill(&slot, tensor);
        assert!(inputs.slot("x", "FP32", [1, 2].into()).is_err());
        let Payload::Tensors(tensors) = inputs.finish().unwrap() else {
            panic!("it is a body");
        };
        assert_eq!(tensors.len(), 1);
    }

    #[test]
    fn a_body_is_one_element() {
        let mut inputs = Inputs::of(RouteInput::Body);
        let slot = inputs.slot("body", "BYTES", [1].into()).unwrap();
        let tensor = Tensor::from_elements(slot.name.clone(), [1], &[b"abc"]).unwrap();
        inputs.fill(&slot, tensor);
        inputs.set_content_type("text/plain".into());
        let Payload::Body(body) = inputs.finish().unwrap() else {
            panic!("it is tensors");
        };
        assert_eq!(
            (&*body.media_type, &body.data[..]),
            ("text/plain", &b"abc"[..])
        );
    }
}
