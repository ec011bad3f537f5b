//! What is known of a value of the graph.

use wharf_protobuf::{Field, Fields, varint};

use crate::onnx::{Dimension, OnnxError};

/// Tensors of more dimensions are no rows.
const MAX_RANK: usize = 16;
/// Numbers are read of constants of at most so many: axes and shapes.
const MAX_NUMBERS: usize = 2 * MAX_RANK;
/// `TensorProto.DataType` of INT64.
const INT64: u64 = 7;

/// The dimensions of rows after the first, as far as they are known.
pub(super) type Dimensions = Vec<Option<u64>>;

/// A value of the graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// The same for every request.
    Constant(Constant),
    /// Rows, with the dimensions after the first.
    Rows(Dimensions),
    /// Nothing is known of it.
    Mixed,
}

/// What is known of a constant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Constant {
    pub(super) dimensions: Option<Vec<u64>>,
    /// Its numbers, where these are few, and of INT64.
    pub(super) numbers: Option<Vec<i64>>,
}

impl Value {
    /// Rows of these further dimensions.
    pub(super) fn rows(dimensions: Dimensions) -> Self {
        if dimensions.len() < MAX_RANK {
            Self::Rows(dimensions)
        } else {
            Self::Mixed
        }
    }

    /// What an input of the model is.
    pub(super) fn of_input(shape: &[Dimension]) -> Self {
        match shape.split_first() {
            Some((Dimension::Named(_) | Dimension::Free, dimensions)) => Self::rows(
                dimensions
                    .iter()
                    .map(|dimension| match dimension {
                        Dimension::Fixed(size) => Some(*size),
                        Dimension::Named(_) | Dimension::Free => None,
                    })
                    .collect(),
            ),
            _ => Self::Mixed,
        }
    }

    pub(super) fn is_constant(&self) -> bool {
        matches!(self, Self::Constant(_))
    }

    /// The further dimensions of rows.
    pub(super) fn as_rows(&self) -> Option<&[Option<u64>]> {
        match self {
            Self::Rows(dimensions) => Some(dimensions),
            _ => None,
        }
    }

    pub(super) fn as_constant(&self) -> Option<&Constant> {
        match self {
            Self::Constant(constant) => Some(constant),
            _ => None,
        }
    }
}

impl Constant {
    /// Reads a `TensorProto`, and its name.
    pub(super) fn read(tensor: &[u8]) -> Result<(&str, Self), OnnxError> {
        let (mut name, mut element) = ("", 0);
        let (mut dimensions, mut numbers) = (Vec::new(), Vec::new());
        let (mut raw, mut elsewhere) = (None, false);
        for field in Fields::of(tensor) {
            match field? {
                (1, field) => integers(field, MAX_RANK, &mut dimensions)?,
                (2, Field::Varint(number)) => element = number,
                (7, field) => integers(field, MAX_NUMBERS, &mut numbers)?,
                (8, text @ Field::Bytes(_)) => name = text.text()?,
                (9, Field::Bytes(bytes)) => raw = Some(bytes),
                (13, _) => elsewhere = true,
                (14, Field::Varint(location)) => elsewhere |= location != 0,
                _ => {}
            }
        }
        if let Some(bytes) = raw
            && bytes.len() <= 8 * MAX_NUMBERS
        {
            let (words, _) = bytes.as_chunks();
            numbers = words.iter().map(|word| i64::from_le_bytes(*word)).collect();
        }
        let sizes = dimensions.into_iter().map(|size| u64::try_from(size).ok());
        let dimensions = sizes.collect::<Option<Vec<u64>>>();
        let dimensions = dimensions.filter(|sizes| sizes.len() <= MAX_RANK);
        let elements = dimensions
            .as_ref()
            .and_then(|sizes| product(sizes.iter().copied().map(Some)));
        // What was too long leaves another number of numbers.
        let is_whole = element == INT64 && !elsewhere && elements == Some(numbers.len() as u64);
        let constant = Self {
            dimensions,
            numbers: is_whole.then_some(numbers),
        };
        Ok((name, constant))
    }
}

/// The rows of the first input, where all others are constants.
pub(super) fn kept(inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let (first, others) = inputs.split_first()?;
    let dimensions = (*first)?.as_rows()?;
    let are_constant = others.iter().flatten().all(|value| value.is_constant());
    are_constant.then(|| dimensions.to_vec())
}

/// The place that an axis means among the dimensions of rows after the first; none where it means the first. It counts from the
/// end where it is negative.
pub(super) fn inner(axis: i64, dimensions: &[Option<u64>]) -> Option<usize> {
    let rank = i64::try_from(dimensions.len() + 1).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    // Below 0 is the first, or none at all.
    let place = usize::try_from(axis - 1).ok()?;
    (place < dimensions.len()).then_some(place)
}

/// The product of sizes; none where one is not known, or it overflows.
pub(super) fn product(sizes: impl IntoIterator<Item = Option<u64>>) -> Option<u64> {
    sizes
        .into_iter()
        .try_fold(1_u64, |product, size| product.checked_mul(size?))
}

/// One output that is rows, and no other.
pub(super) fn one(dimensions: Option<Dimensions>) -> Option<Vec<Dimensions>> {
    dimensions.map(|dimensions| vec![dimensions])
}

/// Adds the integers of a field, packed or one by one, up to one more than `limit`.
pub(super) fn integers(
    field: Field<'_>,
    limit: usize,
    numbers: &mut Vec<i64>,
) -> Result<(), OnnxError> {
    match field {
        Field::Varint(number) => numbers.push(number.cast_signed()),
        Field::Bytes(mut packed) => {
            while !packed.is_empty() && numbers.len() <= limit {
                numbers.push(varint(&mut packed)?.cast_signed());
            }
        }
        Field::Fixed32(_) | Field::Fixed64(_) => {}
    }
    numbers.truncate(limit + 1);
    Ok(())
}
