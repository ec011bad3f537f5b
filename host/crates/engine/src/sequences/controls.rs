//! Tensors that the engine makes for a request: control inputs, and states at the start.

use bytes::Bytes;
use wharf_core::{
    AlignedBytes, Datatype, Element, Error, Result, SequenceId, Shape, Tensor, TensorSpec,
};

/// The most bytes of one such tensor. Its size follows from the rows that a client gives.
const BYTES: u64 = 256 << 20;

/// What says whether a sequence begins or ends may be one of these.
pub(super) const FLAGS: [Datatype; 3] = [Datatype::Bool, Datatype::Int32, Datatype::Fp32];
/// What takes the name of a sequence may be one of these.
pub(super) const IDS: [Datatype; 5] = [
    Datatype::Int64,
    Datatype::Uint64,
    Datatype::Int32,
    Datatype::Uint32,
    Datatype::Bytes,
];

/// The shape of an input for so many rows: a free first dimension is the rows, other free ones are 1.
fn shape(spec: &TensorSpec, rows: u64) -> Shape {
    let dimensions = spec.shape.iter().enumerate();
    dimensions
        .map(|(index, fixed)| fixed.unwrap_or(if index == 0 { rows } else { 1 }))
        .collect()
}

/// The elements of a shape, whose data take no more than may be.
fn elements(shape: &Shape, size: usize) -> Result<usize> {
    shape
        .elements()
        .filter(|count| {
            count
                .checked_mul(size as u64)
                .is_some_and(|bytes| bytes <= BYTES)
        })
        .and_then(|count| usize::try_from(count).ok())
        .ok_or_else(|| {
            Error::new(
                wharf_core::ErrorKind::TooLarge,
                "the request has too many rows for the memory of a sequence; send fewer",
            )
        })
}

/// Zeros, or empty texts.
pub(super) fn zeros(spec: &TensorSpec, rows: u64) -> Result<Tensor> {
    let shape = shape(spec, rows);
    // Four zero bytes are also the length of an empty text.
    let size = spec.datatype.size().unwrap_or(4);
    let data: Bytes = AlignedBytes::zeroed(elements(&shape, size)? * size).into();
    Tensor::new(spec.name.clone(), spec.datatype, shape, data).map_err(Error::internal)
}

/// Ones or zeros.
pub(super) fn flag(spec: &TensorSpec, rows: u64, is_set: bool) -> Result<Tensor> {
    match spec.datatype {
        Datatype::Bool => {
            let shape = shape(spec, rows);
            let data = vec![u8::from(is_set); elements(&shape, 1)?];
            Tensor::new(spec.name.clone(), Datatype::Bool, shape, data.into())
                .map_err(Error::internal)
        }
        Datatype::Int32 => filled(spec, rows, i32::from(is_set)),
        _ => filled(spec, rows, f32::from(u8::from(is_set))),
    }
}

/// The name of the sequence.
pub(super) fn id(spec: &TensorSpec, rows: u64, id: &SequenceId) -> Result<Tensor> {
    let unfit =
        |what: &str| Error::invalid("parameters.sequence_id", format!("the model takes {what}"));
    if spec.datatype == Datatype::Bytes {
        let number;
        let text: &str = match id {
            SequenceId::Text(text) => text,
            SequenceId::Number(value) => {
                number = value.to_string();
                &number
            }
        };
        if text.contains('\0') {
            return Err(unfit("text without NUL"));
        }
        let shape = shape(spec, rows);
        let count = elements(&shape, 4 + text.len())?;
        return Tensor::from_elements(spec.name.clone(), shape, &vec![text; count])
            .map_err(Error::internal);
    }
    let SequenceId::Number(number) = id else {
        return Err(unfit("a number, not text"));
    };
    let too_large = |_| unfit("a smaller number");
    let number = number.get();
    match spec.datatype {
        Datatype::Int64 => filled(spec, rows, i64::try_from(number).map_err(too_large)?),
        Datatype::Int32 => filled(spec, rows, i32::try_from(number).map_err(too_large)?),
        Datatype::Uint32 => filled(spec, rows, u32::try_from(number).map_err(too_large)?),
        _ => filled(spec, rows, number),
    }
}

fn filled<T: Element>(spec: &TensorSpec, rows: u64, value: T) -> Result<Tensor> {
    let shape = shape(spec, rows);
    let count = elements(&shape, size_of::<T>())?;
    Tensor::from_vec(spec.name.clone(), shape, vec![value; count]).map_err(Error::internal)
}
