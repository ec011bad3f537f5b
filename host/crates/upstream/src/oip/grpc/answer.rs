//! `ModelInferResponse` and `ModelMetadataResponse`, read in place.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Tensor, TensorSpec};
use wharf_protobuf::{Field, Fields, Malformed, varint};

use crate::fault::Fault;
use crate::oip::check::{self, Outputs, lying};
use crate::oip::elements::Elements;
use crate::oip::{Metadata, metadata};

/// The most dimensions of a tensor.
const MAX_DIMENSIONS: usize = 32;

/// A tensor, as a message tells of it.
#[derive(Default)]
struct Described<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Vec<i64>,
    contents: Option<&'a [u8]>,
}

/// Reads what a peer says of its model.
///
/// # Errors
/// Where it is no such message.
pub(super) fn metadata(message: &[u8]) -> Result<Metadata, Fault> {
    let mut found = Metadata::default();
    for field in Fields::of(message) {
        let (number, field) = field.map_err(malformed)?;
        let specs = match number {
            4 => &mut found.inputs,
            5 => &mut found.outputs,
            _ => continue,
        };
        let tensor = described(field.bytes().map_err(malformed)?)?;
        metadata::add(specs, tensor.name, tensor.datatype, &tensor.shape)?;
    }
    Ok(found)
}

/// Reads the answer to an inference: the outputs that were asked for, each once, in the model's order.
///
/// # Errors
/// Where it is anything else.
pub(super) fn outputs(message: &Bytes, specs: &[TensorSpec]) -> Result<Vec<Tensor>, Fault> {
    let (mut tensors, mut raw) = (Vec::new(), Vec::new());
    for field in Fields::of(message) {
        let (number, field) = field.map_err(malformed)?;
        let list = match number {
            5 => &mut tensors,
            6 => &mut raw,
            _ => continue,
        };
        // Before there are many: each takes more room here than in the message.
        if list.len() >= specs.len() {
            return Err(lying("more outputs than the model has"));
        }
        list.push(field.bytes().map_err(malformed)?);
    }
    if !raw.is_empty() && raw.len() != tensors.len() {
        return Err(lying("not as many contents as outputs"));
    }
    let mut outputs = Outputs::of(specs);
    for (index, tensor) in tensors.into_iter().enumerate() {
        let tensor = described(tensor)?;
        let shape = check::shape(&tensor.shape)?;
        let place = check::place(specs, tensor.name, tensor.datatype, &shape)?;
        let spec = &specs[place];
        let data = match (raw.get(index), tensor.contents) {
            (Some(raw), None) => message.slice_ref(raw),
            (None, Some(contents)) => read_contents(contents)?.into_bytes(spec.datatype)?,
            (None, None) => Bytes::new(),
            (Some(_), Some(_)) => return Err(lying("an output with data twice")),
        };
        let tensor = Tensor::new(Arc::clone(&spec.name), spec.datatype, shape, data);
        outputs.put(place, tensor)?;
    }
    outputs.complete()
}

/// Name, datatype and shape have the same numbers in all messages; contents are an output's alone.
fn described(message: &[u8]) -> Result<Described<'_>, Fault> {
    let mut tensor = Described::default();
    for field in Fields::of(message) {
        match field.map_err(malformed)? {
            (1, field) => tensor.name = field.text().map_err(malformed)?,
            (2, field) => tensor.datatype = field.text().map_err(malformed)?,
            (3, field) => each_varint(field, |size| {
                if tensor.shape.len() >= MAX_DIMENSIONS {
                    return Err(lying("a tensor with too many dimensions"));
                }
                tensor.shape.push(size.cast_signed());
                Ok(())
            })?,
            (5, field) => tensor.contents = Some(field.bytes().map_err(malformed)?),
            _ => {}
        }
    }
    Ok(tensor)
}

/// Reads `InferTensorContents`.
fn read_contents(message: &[u8]) -> Result<Elements, Fault> {
    let mut elements = Elements::default();
    for field in Fields::of(message) {
        let (number, field) = field.map_err(malformed)?;
        match number {
            1 => each_varint(field, |value| elements.boolean(value != 0).map_err(lying))?,
            2 | 3 => each_varint(field, |value| {
                elements.integer(value.cast_signed()).map_err(lying)
            })?,
            4 | 5 => each_varint(field, |value| elements.natural(value).map_err(lying))?,
            6 => each_fixed(field, |bytes: [u8; 4]| {
                elements.number(f32::from_le_bytes(bytes).into())
            })?,
            7 => each_fixed(field, |bytes: [u8; 8]| {
                elements.number(f64::from_le_bytes(bytes))
            })?,
            8 => {
                let text = field.bytes().map_err(malformed)?;
                elements.text(text).map_err(lying)?;
            }
            _ => {}
        }
    }
    Ok(elements)
}

/// The numbers of a list, packed or one by one.
fn each_varint(
    field: Field<'_>,
    mut take: impl FnMut(u64) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let Field::Bytes(mut packed) = field else {
        return take(field.varint().map_err(malformed)?);
    };
    while !packed.is_empty() {
        take(varint(&mut packed).map_err(malformed)?)?;
    }
    Ok(())
}

fn each_fixed<const N: usize>(
    field: Field<'_>,
    mut take: impl FnMut([u8; N]) -> Result<(), &'static str>,
) -> Result<(), Fault> {
    let single;
    let packed = match field {
        Field::Bytes(packed) => packed,
        Field::Fixed32(bits) => {
            single = u64::from(bits).to_le_bytes();
            &single[..4]
        }
        Field::Fixed64(bits) => {
            single = bits.to_le_bytes();
            &single[..]
        }
        Field::Varint(_) => return Err(malformed(Malformed::OTHER_TYPE)),
    };
    let (elements, rest) = packed.as_chunks::<N>();
    if !rest.is_empty() {
        return Err(lying("a list that ends within an element"));
    }
    elements
        .iter()
        .try_for_each(|bytes| take(*bytes).map_err(lying))
}

fn malformed(error: Malformed) -> Fault {
    Fault::Lying(format!("it is no such message: {error}"))
}

#[cfg(test)]
mod tests {
    use wharf_core::Datatype;
    use wharf_protobuf::Message;

    use super::*;

    fn specs() -> Vec<TensorSpec> {
        vec![TensorSpec::new("y", Datatype::Fp32, vec![None])]
    }

    fn tensor(name: &str, datatype: &str, shape: &[i64]) -> Message {
        Message::new()
            .bytes(1, name)
            .bytes(2, datatype)
            .packed(3, shape)
    }

    fn read(message: Message) -> Result<Vec<Tensor>, Fault> {
        outputs(&message.into_bytes().into(), &specs())
    }

    #[test]
    fn outputs_are_read_raw_or_by_their_kind() {
        let two = [1_f32.to_le_bytes(), 2_f32.to_le_bytes()].concat();
        let raw = Message::new()
            .message(5, &tensor("y", "FP32", &[2]))
            .bytes(6, &two);
        let kind = tensor("y", "FP32", &[2]).message(5, &Message::new().bytes(6, &two));
        for message in [raw, Message::new().message(5, &kind)] {
            let outputs = read(message).unwrap();
            assert_eq!(outputs[0].as_slice::<f32>().unwrap(), [1.0, 2.0]);
        }
    }

    #[test]
    fn every_lie_is_found() {
        let y = tensor("y", "FP32", &[1]);
        let data = 1_f32.to_le_bytes();
        for message in [
            Message::new(),
            Message::new().message(5, &y),
            Message::new().message(5, &y).bytes(6, [0; 3]),
            Message::new().message(5, &y).bytes(6, data).bytes(6, data),
            Message::new()
                .message(5, &y)
                .message(5, &y)
                .bytes(6, data)
                .bytes(6, data),
            Message::new()
                .message(5, &tensor("z", "FP32", &[1]))
                .bytes(6, data),
            Message::new()
                .message(5, &tensor("y", "INT32", &[1]))
                .bytes(6, data),
            Message::new()
                .message(5, &tensor("y", "FP32", &[-1]))
                .bytes(6, data),
            Message::new()
                .message(5, &tensor("y", "FP32", &[1; 40]))
                .bytes(6, data),
            Message::new()
                .message(5, &tensor("y", "FP32", &[i64::MAX]))
                .bytes(6, data),
            Message::new().varint(5, 1),
        ] {
            let fault = read(message.clone()).expect_err(&format!("{message:?}"));
            assert!(matches!(fault, Fault::Lying(_)));
        }
        let garbage = Bytes::from_static(b"\x2a\xff\xff\xff\xff\x0f");
        assert!(outputs(&garbage, &specs()).is_err());
    }

    #[test]
    fn metadata_is_read() {
        let message = Message::new()
            .bytes(1, "m")
            .message(4, &tensor("x", "FP32", &[-1, 3]))
            .message(5, &tensor("y", "BYTES", &[]));
        let found = metadata(message.as_ref()).unwrap();
        assert_eq!(found.inputs[0].shape, [None, Some(3)]);
        assert_eq!(found.outputs[0].datatype, Datatype::Bytes);
        let twice = tensor("x", "FP32", &[1]);
        let message = Message::new().messages(4, &[twice.clone(), twice]);
        assert!(metadata(message.as_ref()).is_err());
    }
}
