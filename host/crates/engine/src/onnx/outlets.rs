//! What a model's file says of its inputs and outputs, for whoever answers in the model's place without running it.

use std::collections::BTreeSet;

use wharf_core::Datatype;
use wharf_protobuf::{Field, Fields};

use super::OnnxError;

/// From this version of the format on, an input that has a value in the file too may be given, or left out.
const OVERRIDABLE_FROM: u64 = 4;

/// The inputs and outputs of a model, in the model's order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Outlets {
    pub(crate) inputs: Vec<Outlet>,
    pub(crate) outputs: Vec<Outlet>,
}

/// An input or an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outlet {
    pub(crate) name: String,
    pub(crate) datatype: Datatype,
    pub(crate) shape: Vec<Dimension>,
    /// Whether it has a value in the file, for requests that leave it out.
    pub(crate) optional: bool,
}

/// A dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Dimension {
    Fixed(u64),
    /// What each request chooses: dimensions of one name are equally long.
    Named(String),
    Free,
}

/// Reads the inputs and outputs of a model that was inspected: its graph is there, once.
///
/// # Errors
/// Where one has no name, or elements that are not served.
pub(crate) fn outlets(model: &[u8]) -> Result<Outlets, OnnxError> {
    let (mut version, mut graph) = (0, &[][..]);
    for field in Fields::of(model) {
        match field? {
            (1, Field::Varint(number)) => version = number,
            (7, Field::Bytes(bytes)) => graph = bytes,
            _ => {}
        }
    }
    let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
    let mut constants = BTreeSet::new();
    for field in Fields::of(graph) {
        match field? {
            (5, Field::Bytes(tensor)) => constants.extend(name_of(tensor, 8)?),
            (11, Field::Bytes(input)) => inputs.push(outlet("input", input)?),
            (12, Field::Bytes(output)) => outputs.push(outlet("output", output)?),
            // Its name is that of its values.
            (15, Field::Bytes(sparse)) => {
                for field in Fields::of(sparse) {
                    if let (1, Field::Bytes(values)) = field? {
                        constants.extend(name_of(values, 8)?);
                    }
                }
            }
            _ => {}
        }
    }
    for input in &mut inputs {
        input.optional = constants.contains(&*input.name);
    }
    inputs.retain(|input| !input.optional || version >= OVERRIDABLE_FROM);
    // Those that may be left out come last, as ONNX Runtime has them.
    inputs.sort_by_key(|input| input.optional);
    Ok(Outlets { inputs, outputs })
}

/// The text of a field: the last, where there are several.
fn name_of(message: &[u8], number: u64) -> Result<Option<&str>, OnnxError> {
    let mut name = None;
    for field in Fields::of(message) {
        match field? {
            (found, text @ Field::Bytes(_)) if found == number => name = Some(text.text()?),
            _ => {}
        }
    }
    Ok(name)
}

/// Reads a `ValueInfoProto`.
fn outlet(kind: &str, value_info: &[u8]) -> Result<Outlet, OnnxError> {
    let name = name_of(value_info, 1)?.unwrap_or_default().to_owned();
    if name.is_empty() {
        return Err(OnnxError::Refused(format!("an {kind} has no name")));
    }
    let (mut element, mut shape) = (0, Vec::new());
    for field in within(value_info, &[2, 1])? {
        match field {
            (1, Field::Varint(number)) => element = number,
            (2, Field::Bytes(dimensions)) => shape = self::shape(dimensions)?,
            _ => {}
        }
    }
    let datatype = datatype(element).ok_or_else(|| {
        OnnxError::Refused(format!(
            "{kind} {name:?} has elements of type {element}, which is not served"
        ))
    })?;
    Ok(Outlet {
        name,
        datatype,
        shape,
        optional: false,
    })
}

/// The fields of a message inside of others; none where one of them is not there.
fn within<'a>(message: &'a [u8], path: &[u64]) -> Result<Vec<(u64, Field<'a>)>, OnnxError> {
    let Some((number, path)) = path.split_first() else {
        return Ok(Fields::of(message).collect::<Result<_, _>>()?);
    };
    let mut inner = None;
    for field in Fields::of(message) {
        if let (found, Field::Bytes(bytes)) = field?
            && found == *number
            && inner.replace(bytes).is_some()
        {
            return Err(OnnxError::Refused(
                "an input or output says twice what it is".to_owned(),
            ));
        }
    }
    inner.map_or_else(|| Ok(Vec::new()), |inner| within(inner, path))
}

/// Reads a `TensorShapeProto`.
fn shape(dimensions: &[u8]) -> Result<Vec<Dimension>, OnnxError> {
    let mut shape = Vec::new();
    for field in Fields::of(dimensions) {
        let (1, Field::Bytes(dimension)) = field? else {
            continue;
        };
        let mut read = Dimension::Free;
        for field in Fields::of(dimension) {
            match field? {
                // One below 0 is a varint above `i64::MAX`, and stands for what is not known.
                (1, Field::Varint(size)) if i64::try_from(size).is_ok() => {
                    read = Dimension::Fixed(size);
                }
                (2, name @ Field::Bytes(_)) => read = Dimension::Named(name.text()?.to_owned()),
                _ => {}
            }
        }
        shape.push(read);
    }
    Ok(shape)
}

/// The datatype of a `TensorProto.DataType`; none where it is not served.
fn datatype(element: u64) -> Option<Datatype> {
    Some(match element {
        1 => Datatype::Fp32,
        2 => Datatype::Uint8,
        3 => Datatype::Int8,
        4 => Datatype::Uint16,
        5 => Datatype::Int16,
        6 => Datatype::Int32,
        7 => Datatype::Int64,
        8 => Datatype::Bytes,
        9 => Datatype::Bool,
        10 => Datatype::Fp16,
        11 => Datatype::Fp64,
        12 => Datatype::Uint32,
        13 => Datatype::Uint64,
        16 => Datatype::Bf16,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use wharf_protobuf::Message;

    use super::*;

    fn value(name: &str, element: u64, dimensions: &[Message]) -> Message {
        let shape = Message::new().messages(1, dimensions);
        let tensor = Message::new().varint(1, element).message(2, &shape);
        Message::new()
            .bytes(1, name)
            .message(2, &Message::new().message(1, &tensor))
    }

    fn model(version: u64, graph: &Message) -> Vec<u8> {
        let model = Message::new().varint(1, version);
        model.message(7, graph).into_bytes()
    }

    #[test]
    fn names_datatypes_and_dimensions_are_read() {
        let batch = || Message::new().bytes(2, "batch");
        let input = value("x", 1, &[batch(), Message::new().varint(1, 4)]);
        let unknown = Message::new().int(1, -1);
        let output = value("y", 7, &[batch(), Message::new(), unknown]);
        let graph = Message::new().message(11, &input).message(12, &output);
        let read = outlets(&model(8, &graph)).unwrap();
        assert_eq!(
            read.inputs,
            [Outlet {
                name: "x".to_owned(),
                datatype: Datatype::Fp32,
                shape: vec![Dimension::Named("batch".to_owned()), Dimension::Fixed(4)],
                optional: false,
            }]
        );
        assert_eq!(read.outputs[0].datatype, Datatype::Int64);
        assert_eq!(
            read.outputs[0].shape[1..],
            [Dimension::Free, Dimension::Free]
        );
    }

    #[test]
    fn an_input_with_a_value_may_be_left_out_and_in_old_files_is_none() {
        let graph = Message::new()
            .message(11, &value("a", 1, &[]))
            .message(11, &value("b", 1, &[]))
            .message(5, &Message::new().bytes(8, "a"));
        let read = outlets(&model(4, &graph)).unwrap();
        let names: Vec<_> = read
            .inputs
            .iter()
            .map(|one| (&*one.name, one.optional))
            .collect();
        assert_eq!(names, [("b", false), ("a", true)]);
        assert_eq!(outlets(&model(3, &graph)).unwrap().inputs.len(), 1);
    }

    #[test]
    fn what_is_not_served_is_refused_by_name() {
        for (input, says) in [
            (value("", 1, &[]), "no name"),
            (value("z", 14, &[]), "\"z\""),
        ] {
            let graph = Message::new().message(11, &input);
            let error = outlets(&model(8, &graph)).unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
