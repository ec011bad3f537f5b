//! The elements of an input: raw or typed, to a tensor.

use bytes::{BufMut as _, Bytes, BytesMut};
use wharf_core::{Datatype, Element, Error, Result, Tensor, TensorError};
use wharf_protobuf::{Field, Fields, Malformed, varint};

use crate::oip::inputs::{Slot, field};

/// Makes a tensor of raw contents: they are shared where they are aligned, and copied once where not.
///
/// # Errors
/// `InvalidArgument` with `inputs.NAME` as the field, where the bytes do not fit the shape.
pub(super) fn raw(slot: &Slot, contents: Bytes) -> Result<Tensor> {
    let tensor = Tensor::new(
        slot.name.clone(),
        slot.datatype,
        slot.shape.clone(),
        contents,
    );
    tensor.map_err(|error| in_field(slot, &error))
}

/// Makes a tensor of typed contents: `InferTensorContents` in its encoding, a part of the message.
///
/// # Errors
/// As [`raw`], where the list is not the one of the datatype, or an element is none that the datatype can hold.
pub(super) fn typed(slot: &Slot, contents: &[u8], message: &Bytes) -> Result<Tensor> {
    let lists = Lists {
        slot,
        contents,
        number: list_of(slot)?,
    };
    match slot.datatype {
        Datatype::Bool => lists.fixed(1, message),
        Datatype::Fp32 => lists.fixed(4, message),
        Datatype::Fp64 => lists.fixed(8, message),
        Datatype::Int8 => lists.integers(|value| i8::try_from(value as i32).ok()),
        Datatype::Int16 => lists.integers(|value| i16::try_from(value as i32).ok()),
        // More bits than the type has are cut off, as the encoding says.
        Datatype::Int32 => lists.integers(|value| Some(value as i32)),
        Datatype::Int64 => lists.integers(|value| Some(value as i64)),
        Datatype::Uint8 => lists.integers(|value| u8::try_from(value as u32).ok()),
        Datatype::Uint16 => lists.integers(|value| u16::try_from(value as u32).ok()),
        Datatype::Uint32 => lists.integers(|value| Some(value as u32)),
        Datatype::Uint64 => lists.integers(Some),
        Datatype::Bytes => lists.bytes(),
        // `list_of` refuses them.
        Datatype::Fp16 | Datatype::Bf16 => Err(raw_only(slot)),
    }
}

/// The list of a datatype: its number in `InferTensorContents`.
fn list_of(slot: &Slot) -> Result<u64> {
    Ok(match slot.datatype {
        Datatype::Bool => 1,
        Datatype::Int8 | Datatype::Int16 | Datatype::Int32 => 2,
        Datatype::Int64 => 3,
        Datatype::Uint8 | Datatype::Uint16 | Datatype::Uint32 => 4,
        Datatype::Uint64 => 5,
        Datatype::Fp32 => 6,
        Datatype::Fp64 => 7,
        Datatype::Bytes => 8,
        Datatype::Fp16 | Datatype::Bf16 => return Err(raw_only(slot)),
    })
}

/// The names of the lists, by their numbers.
const LISTS: [&str; 9] = [
    "",
    "bool_contents",
    "int_contents",
    "int64_contents",
    "uint_contents",
    "uint64_contents",
    "fp32_contents",
    "fp64_contents",
    "bytes_contents",
];

/// The lists of an input, of which one is that of its datatype.
struct Lists<'a> {
    slot: &'a Slot,
    contents: &'a [u8],
    number: u64,
}

impl<'a> Lists<'a> {
    /// The pieces of the list: a list may be cut in several, and elements may stand alone.
    fn pieces(&self) -> impl Iterator<Item = Result<Field<'a>>> + use<'a, '_> {
        Fields::of(self.contents).filter_map(|field| match field {
            Err(malformed) => Some(Err(self.malformed(malformed))),
            Ok((number, field)) if number == self.number => Some(Ok(field)),
            Ok((number @ 1..9, _)) => Some(Err(self.wrong(format!(
                "has {}, but the elements of {} are in {}",
                LISTS[number as usize], self.slot.datatype, LISTS[self.number as usize]
            )))),
            // From a later version of the protocol.
            Ok(_) => None,
        })
    }

    /// Elements that are written as they stand in memory.
    fn fixed(&self, size: usize, message: &Bytes) -> Result<Tensor> {
        let mut pieces = self.pieces();
        let first = pieces.next().transpose()?;
        let second = pieces.next().transpose()?;
        // One list, as every client writes it, is as good as raw contents.
        if let (Some(Field::Bytes(bytes)), None) = (first, second) {
            return self.tensor(bytes.len() / size, |_| {
                raw(self.slot, message.slice_ref(bytes))
            });
        }
        drop(pieces);
        let mut elements = BytesMut::new();
        for piece in self.pieces() {
            match (size, piece?) {
                (_, Field::Bytes(bytes)) => elements.extend_from_slice(bytes),
                (1, Field::Varint(value)) => elements.put_u8(u8::from(value != 0)),
                (4, Field::Fixed32(bits)) => elements.put_u32_le(bits),
                (8, Field::Fixed64(bits)) => elements.put_u64_le(bits),
                _ => return Err(self.malformed(Malformed::OTHER_TYPE)),
            }
        }
        self.tensor(elements.len() / size, |_| raw(self.slot, elements.freeze()))
    }

    /// Elements that are written as varints, each checked and narrowed.
    fn integers<T: Element>(&self, narrow: impl Fn(u64) -> Option<T>) -> Result<Tensor> {
        // No more than there can be: each takes a byte at least.
        let room = self.contents.len() as u64;
        let count = self.slot.shape.elements().unwrap_or(u64::MAX).min(room) as usize;
        let mut elements: Vec<T> = Vec::with_capacity(count);
        let mut surplus = 0;
        let mut push = |value| -> Result<()> {
            if elements.len() == count {
                surplus += 1;
                return Ok(());
            }
            let element = narrow(value).ok_or_else(|| {
                let index = elements.len();
                self.wrong(format!(
                    "element {index} is not in the range of {}",
                    T::DATATYPE
                ))
            })?;
            elements.push(element);
            Ok(())
        };
        for piece in self.pieces() {
            match piece? {
                Field::Varint(value) => push(value)?,
                Field::Bytes(mut bytes) => {
                    while !bytes.is_empty() {
                        push(varint(&mut bytes).map_err(|error| self.malformed(error))?)?;
                    }
                }
                _ => return Err(self.malformed(Malformed::OTHER_TYPE)),
            }
        }
        self.tensor(elements.len() + surplus, |slot| {
            Tensor::from_vec(slot.name.clone(), slot.shape.clone(), elements)
                .map_err(|error| in_field(slot, &error))
        })
    }

    fn bytes(&self) -> Result<Tensor> {
        let (mut count, mut size) = (0, 0);
        for piece in self.pieces() {
            let element = piece?.bytes().map_err(|error| self.malformed(error))?;
            count += 1;
            size += 4 + element.len();
        }
        self.tensor(count, |slot| {
            let mut data = BytesMut::with_capacity(size);
            for piece in self.pieces() {
                let element = piece?.bytes().map_err(|error| self.malformed(error))?;
                // A message is shorter than 4 GiB.
                data.put_u32_le(element.len() as u32);
                data.put_slice(element);
            }
            raw(slot, data.freeze())
        })
    }

    /// Makes the tensor, where the count is that of the shape.
    fn tensor(&self, count: usize, make: impl FnOnce(&Slot) -> Result<Tensor>) -> Result<Tensor> {
        let shape = &self.slot.shape;
        match shape.elements() {
            Some(expected) if expected == count as u64 => make(self.slot),
            Some(expected) => Err(in_field(
                self.slot,
                &TensorError::ElementCount {
                    shape: shape.clone(),
                    expected,
                    actual: count as u64,
                },
            )),
            None => Err(in_field(
                self.slot,
                &TensorError::ShapeOverflow {
                    shape: shape.clone(),
                },
            )),
        }
    }

    fn wrong(&self, message: String) -> Error {
        Error::invalid(field(&self.slot.name), message)
    }

    fn malformed(&self, _: Malformed) -> Error {
        self.wrong("its contents are not in the encoding of protobuf".to_owned())
    }
}

fn in_field(slot: &Slot, error: &TensorError) -> Error {
    Error::invalid(field(&slot.name), error.to_string())
}

fn raw_only(slot: &Slot) -> Error {
    let message = format!(
        "the protocol has no typed contents for {}; send it in raw_input_contents",
        slot.datatype
    );
    Error::invalid(field(&slot.name), message)
}
