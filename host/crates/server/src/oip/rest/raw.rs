//! Raw requests: the whole body is the only input.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Body, Datatype, Error, Payload, Result, Scheduling, Shape, Tensor, TensorSpec};
use wharf_serving::RouteInput;

use super::Request;
use crate::oip::InferRequest;

/// Makes the body the only input: the body itself, or the elements of a tensor.
///
/// # Errors
/// `InvalidArgument` where the route takes more than one input, or the body does not fit it.
pub(super) fn read(
    bytes: Bytes,
    input: RouteInput<'_>,
    media_type: Option<Arc<str>>,
) -> Result<Request> {
    let input = match input {
        RouteInput::Body => Payload::Body(Body {
            media_type: media_type.unwrap_or_else(|| "application/octet-stream".into()),
            data: bytes,
        }),
        RouteInput::Tensors([spec]) => Payload::Tensors(vec![tensor(bytes, spec)?]),
        RouteInput::Tensors(specs) => {
            let message = format!(
                "is 0: a raw request, whose body is the only input; but the model takes {} inputs",
                specs.len()
            );
            return Err(Error::invalid(super::framing::FIELD, message));
        }
    };
    Ok(Request {
        request: InferRequest {
            id: String::new(),
            scheduling: Scheduling::default(),
            input,
            outputs: Vec::new(),
        },
        binary_output: true,
    })
}

fn tensor(bytes: Bytes, spec: &TensorSpec) -> Result<Tensor> {
    let field = || crate::oip::inputs::field(&spec.name);
    let wrong = |message: String| Error::invalid(field(), message);
    let elements = match spec.datatype.size() {
        Some(size) if bytes.len().is_multiple_of(size) => (bytes.len() / size) as u64,
        Some(size) => {
            let (length, datatype) = (bytes.len(), spec.datatype);
            return Err(wrong(format!(
                "has {length} bytes, but an element of {datatype} has {size}"
            )));
        }
        None => 1,
    };
    let shape = shape(spec, elements).ok_or_else(|| {
        wrong(format!(
            "has {elements} elements, which give the model's shape no sizes; send the shape in JSON"
        ))
    })?;
    let name = Arc::clone(&spec.name);
    let tensor = match spec.datatype {
        Datatype::Bytes => Tensor::from_elements(name, shape, &[bytes]),
        datatype => Tensor::new(name, datatype, shape, bytes),
    };
    tensor.map_err(|error| wrong(error.to_string()))
}

/// The sizes that the model leaves open: the one that so many elements give; of several the first is the batch, of one.
fn shape(spec: &TensorSpec, elements: u64) -> Option<Shape> {
    let is_batch_open = matches!(spec.shape.first(), Some(None));
    let open = spec.shape.iter().filter(|size| size.is_none()).count();
    let batch_of_one = is_batch_open && (open > 1 || spec.datatype == Datatype::Bytes);
    let sizes = spec.shape.iter().enumerate();
    let sizes = sizes.map(|(index, size)| match index {
        0 if batch_of_one => Some(1),
        _ => *size,
    });
    let sizes: Vec<Option<u64>> = sizes.collect();
    let known = sizes.iter().flatten();
    let known = known.fold(1_u64, |product, size| product.saturating_mul(*size));
    match sizes.iter().filter(|size| size.is_none()).count() {
        0 => {}
        1 if known > 0 && elements.is_multiple_of(known) => {}
        _ => return None,
    }
    let deduced = elements.checked_div(known).unwrap_or(0);
    Some(sizes.iter().map(|size| size.unwrap_or(deduced)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_size_is_what_the_body_gives() {
        let sizes = |shape: &[Option<u64>], datatype, elements| {
            let spec = TensorSpec::new("x", datatype, shape.to_vec());
            shape_of(&spec, elements)
        };
        let fp32 = Datatype::Fp32;
        assert_eq!(sizes(&[None, Some(4)], fp32, 4), Some(vec![1, 4]));
        assert_eq!(sizes(&[None, Some(4)], fp32, 8), Some(vec![2, 4]));
        assert_eq!(sizes(&[None, Some(4)], fp32, 6), None);
        assert_eq!(sizes(&[None, None], fp32, 6), Some(vec![1, 6]));
        assert_eq!(sizes(&[None, None, None], fp32, 6), None);
        assert_eq!(sizes(&[None, Some(0)], fp32, 0), None);
        // What does not fit is refused when the tensor is made.
        assert_eq!(sizes(&[Some(2), Some(3)], fp32, 5), Some(vec![2, 3]));
        assert_eq!(sizes(&[], fp32, 1), Some(vec![]));
        assert_eq!(
            sizes(&[None, Some(1)], Datatype::Bytes, 1),
            Some(vec![1, 1])
        );
    }

    fn shape_of(spec: &TensorSpec, elements: u64) -> Option<Vec<u64>> {
        shape(spec, elements).map(|shape| shape.to_vec())
    }

    #[test]
    fn a_body_is_one_element_of_bytes() {
        let specs = [TensorSpec::new("w", Datatype::Bytes, vec![None])];
        let input = RouteInput::Tensors(&specs);
        let request = read(Bytes::from_static(b"abc"), input, None).unwrap();
        let Payload::Tensors(tensors) = request.request.input else {
            panic!("it is a body");
        };
        let elements: Vec<_> = tensors[0].elements().unwrap().collect();
        assert_eq!(elements, [b"abc"]);
        assert!(request.binary_output);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let specs = [
            TensorSpec::new("x", Datatype::Fp32, vec![Some(2)]),
            TensorSpec::new("y", Datatype::Fp32, vec![Some(2)]),
        ];
        for (length, specs, field) in [
            (8, &specs[..], "inference-header-content-length"),
            (7, &specs[..1], "inputs.x"),
            (4, &specs[..1], "inputs.x"),
            (8, &[], "inference-header-content-length"),
        ] {
            let bytes = Bytes::from(vec![0; length]);
            let Err(error) = read(bytes, RouteInput::Tensors(specs), None) else {
                panic!("{length} bytes are read");
            };
            assert_eq!(error.field(), Some(field), "{length}");
        }
    }
}
