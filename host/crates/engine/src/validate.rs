//! Checks the inputs of a request against what the model says.

use wharf_core::{Datatype, Error, Result, Tensor, TensorSpec};

/// The longest free dimension of an input without elements. Such an input takes no data, so nothing else bounds its rows, and
/// with them what a model, or the memory of a sequence, makes of each.
const MOST_OF_NOTHING: u64 = 1 << 16;

/// Brings the inputs into the model's order. Optional ones that are missing are left out.
///
/// # Errors
/// `InvalidArgument` with the input's name as the field: one that is missing, given twice or unknown, of another datatype,
/// rank or size.
pub(crate) fn in_order(specs: &[TensorSpec], inputs: Vec<Tensor>) -> Result<Vec<Tensor>> {
    // Nearly every request has its inputs in order already.
    let ordered = inputs.len() <= specs.len()
        && inputs
            .iter()
            .zip(specs)
            .all(|(tensor, spec)| tensor.name() == &*spec.name)
        && specs[inputs.len()..].iter().all(|spec| spec.optional);
    if ordered {
        for (tensor, spec) in inputs.iter().zip(specs) {
            check(spec, tensor)?;
        }
        return Ok(inputs);
    }
    let mut sorted = Vec::with_capacity(inputs.len());
    for (place, spec) in places(specs, inputs)?.into_iter().zip(specs) {
        match place {
            Some(tensor) => {
                check(spec, &tensor)?;
                sorted.push(tensor);
            }
            None if spec.optional => {}
            None => {
                let message = format!(
                    "this input is missing; give {} of shape {}",
                    spec.datatype,
                    shape(spec)
                );
                return Err(Error::invalid(spec.name.to_string(), message));
            }
        }
    }
    Ok(sorted)
}

/// Puts each input at the place of its name.
fn places(specs: &[TensorSpec], inputs: Vec<Tensor>) -> Result<Vec<Option<Tensor>>> {
    let mut places: Vec<Option<Tensor>> = specs.iter().map(|_| None).collect();
    for tensor in inputs {
        let name = tensor.name().to_owned();
        let Some(index) = specs.iter().position(|spec| *spec.name == *name) else {
            return Err(Error::invalid(
                name,
                format!(
                    "the model has no such input; its inputs are {}",
                    names(specs)
                ),
            ));
        };
        if places[index].replace(tensor).is_some() {
            return Err(Error::invalid(
                name,
                "this input is given twice; give it once",
            ));
        }
    }
    Ok(places)
}

fn check(spec: &TensorSpec, tensor: &Tensor) -> Result<()> {
    let wrong = |message: String| Err(Error::invalid(spec.name.to_string(), message));
    if tensor.datatype() != spec.datatype {
        return wrong(format!(
            "this input is {}, but {} was given",
            spec.datatype,
            tensor.datatype()
        ));
    }
    let fits = tensor.shape().len() == spec.shape.len()
        && tensor
            .shape()
            .iter()
            .zip(&spec.shape)
            .all(|(given, fixed)| match fixed {
                Some(fixed) => given == fixed,
                None => i64::try_from(*given).is_ok(),
            });
    if !fits {
        return wrong(format!(
            "this input has shape {}, but {} was given",
            shape(spec),
            tensor.shape()
        ));
    }
    let mut free = tensor.shape().iter().zip(&spec.shape);
    if tensor.shape().contains(&0)
        && free.any(|(given, fixed)| fixed.is_none() && *given > MOST_OF_NOTHING)
    {
        return wrong(format!(
            "this input has shape {} and no elements; dimensions of such an input are at most {MOST_OF_NOTHING}",
            tensor.shape()
        ));
    }
    if spec.datatype == Datatype::Bytes {
        let mut elements = tensor
            .elements()
            .map_err(|error| error.in_field(&spec.name))?;
        if elements.any(|element| element.contains(&0) || std::str::from_utf8(element).is_err()) {
            return wrong("the model takes text: elements must be UTF-8 without NUL".to_owned());
        }
    }
    Ok(())
}

/// Writes `[?, 3]`, a `?` for a dimension that the request chooses.
pub(crate) fn shape(spec: &TensorSpec) -> String {
    let dimensions: Vec<String> = spec
        .shape
        .iter()
        .map(|dimension| dimension.map_or_else(|| "?".to_owned(), |fixed| fixed.to_string()))
        .collect();
    format!("[{}]", dimensions.join(", "))
}

fn names(specs: &[TensorSpec]) -> String {
    let names: Vec<String> = specs
        .iter()
        .map(|spec| format!("{:?}", &*spec.name))
        .collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs() -> Vec<TensorSpec> {
        vec![
            TensorSpec::new("x", Datatype::Fp32, vec![None, Some(2)]),
            TensorSpec::new("text", Datatype::Bytes, vec![None]),
        ]
    }

    fn x(shape: [u64; 2]) -> Tensor {
        Tensor::from_vec("x", shape, vec![0_f32; (shape[0] * shape[1]) as usize]).unwrap()
    }

    fn text(element: &[u8]) -> Tensor {
        Tensor::from_elements("text", [1], &[element]).unwrap()
    }

    #[test]
    fn inputs_come_in_any_order() {
        let inputs = in_order(&specs(), vec![text(b"hi"), x([3, 2])]).unwrap();
        assert_eq!(inputs[0].name(), "x");
        assert_eq!(inputs[1].name(), "text");
    }

    #[test]
    fn optional_inputs_may_be_missing() {
        let mut specs = specs();
        specs.push(TensorSpec {
            optional: true,
            ..TensorSpec::new("scale", Datatype::Fp32, vec![Some(1)])
        });
        let scale = || Tensor::from_vec("scale", [1], vec![2.0_f32]).unwrap();
        for (inputs, order) in [
            (vec![x([1, 2]), text(b"a")], &["x", "text"][..]),
            (vec![text(b"a"), x([1, 2])], &["x", "text"]),
            (
                vec![scale(), x([1, 2]), text(b"a")],
                &["x", "text", "scale"],
            ),
            (
                vec![x([1, 2]), text(b"a"), scale()],
                &["x", "text", "scale"],
            ),
        ] {
            let names: Vec<_> = in_order(&specs, inputs)
                .unwrap()
                .into_iter()
                .map(|tensor| tensor.name().to_owned())
                .collect();
            assert_eq!(names, order);
        }
        let error = in_order(&specs, vec![x([1, 2]), scale()]).unwrap_err();
        assert_eq!(error.field(), Some("text"));
    }

    #[test]
    fn every_refusal_names_the_input() {
        for (inputs, field, says) in [
            (vec![x([1, 2])], "text", "missing; give BYTES of shape [?]"),
            (vec![x([1, 2]), x([1, 2])], "x", "twice"),
            (
                vec![x([1, 2]), text(b"a"), x([1, 2]).with_name("y")],
                "y",
                "its inputs are \"x\", \"text\"",
            ),
            (
                vec![x([1, 3]), text(b"a")],
                "x",
                "has shape [?, 2], but [1, 3] was given",
            ),
            (vec![x([1, 2]), text(b"\xff")], "text", "UTF-8"),
            (vec![x([1, 2]), text(b"a\0")], "text", "UTF-8"),
            (
                vec![text(b"a").with_name("x"), text(b"a")],
                "x",
                "is FP32, but BYTES was given",
            ),
        ] {
            let error = in_order(&specs(), inputs).unwrap_err();
            assert_eq!(error.field(), Some(field), "{error}");
            assert!(error.message().contains(says), "{error}");
        }
    }

    #[test]
    fn an_input_without_elements_has_no_endless_rows() {
        let specs = [TensorSpec::new("x", Datatype::Fp32, vec![None, None])];
        let empty = |shape: [u64; 2]| Tensor::from_vec("x", shape, Vec::<f32>::new()).unwrap();
        for shape in [[0, 0], [0, 5], [1 << 16, 0]] {
            in_order(&specs, vec![empty(shape)]).unwrap();
        }
        for shape in [[(1 << 16) + 1, 0], [0, 1 << 60]] {
            let error = in_order(&specs, vec![empty(shape)]).unwrap_err();
            assert_eq!(error.field(), Some("x"), "{error}");
            assert!(error.message().contains("at most 65536"), "{error}");
        }
    }
}
