//! Makes up tensors: the inputs of a request of the warm-up, and the outputs of a model that is not run.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use half::{bf16, f16};
use wharf_core::{AlignedBytes, Datatype, Shape, Tensor, TensorSpec};

/// A tensor that is made up takes no more than this, and neither do the inputs of one request of the warm-up together.
pub(super) const MAX_BYTES: usize = 256 << 20;
/// What a text that is made up takes: its length, and up to `word99`.
const TEXT: usize = 10;
/// Random inputs are the same at every load: what was served once is served again.
const SEED: u64 = 0x5eed;

/// An input of a request of the warm-up: checked, and made when it is run.
pub(super) struct Input<'a> {
    spec: &'a TensorSpec,
    shape: Shape,
    elements: usize,
    content: Content,
}

enum Content {
    Zeros,
    Random,
    File(Bytes),
}

impl<'a> Input<'a> {
    /// Zeros, or empty texts.
    pub(super) fn zeros(spec: &'a TensorSpec, given: Option<&[u64]>) -> Result<Self, String> {
        Self::new(spec, given, Content::Zeros)
    }

    /// An input as `model.toml` says: `zeros`, `random`, or a file, which is among those that were read.
    pub(super) fn of(
        spec: &'a TensorSpec,
        given: Option<&[u64]>,
        data: &str,
        files: &BTreeMap<String, Bytes>,
    ) -> Result<Self, String> {
        let bytes = match data {
            "zeros" => return Self::zeros(spec, given),
            "random" => return Self::new(spec, given, Content::Random),
            _ => files
                .get(data)
                .ok_or_else(|| format!("{data:?} was not read"))?,
        };
        let input = Self::new(spec, given, Content::File(bytes.clone()))?;
        let wanted = spec.datatype.size().map(|size| input.elements * size);
        match wanted.filter(|wanted| *wanted != bytes.len()) {
            Some(wanted) => Err(format!(
                "{data:?} has {} bytes, but {} of shape {} takes {wanted}; give the shape of what is in the file",
                bytes.len(),
                spec.datatype,
                input.shape
            )),
            None => Ok(input),
        }
    }

    fn new(spec: &'a TensorSpec, given: Option<&[u64]>, content: Content) -> Result<Self, String> {
        let (shape, elements) = room(spec, given)?;
        Ok(Self {
            spec,
            shape,
            elements,
            content,
        })
    }

    /// The most bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        match &self.content {
            Content::File(bytes) => bytes.len(),
            Content::Zeros | Content::Random => self.elements * size(self.spec),
        }
    }

    /// Makes the tensor.
    pub(super) fn make(&self) -> Result<Tensor, String> {
        match &self.content {
            Content::Zeros => {
                // Four zero bytes are also the length of an empty text.
                let size = self.spec.datatype.size().unwrap_or(4);
                let data = AlignedBytes::zeroed(self.elements * size);
                tensor(self.spec, self.shape.clone(), data.into())
            }
            Content::Random => numbers(self.spec, (self.shape.clone(), self.elements), SEED),
            Content::File(bytes) => tensor(self.spec, self.shape.clone(), bytes.clone()),
        }
    }
}

/// A tensor of numbers that look like data: of one seed always the same.
pub(in crate::engine) fn random(
    spec: &TensorSpec,
    given: Option<&[u64]>,
    seed: u64,
) -> Result<Tensor, String> {
    numbers(spec, room(spec, given)?, seed)
}

fn numbers(
    spec: &TensorSpec,
    (shape, elements): (Shape, usize),
    seed: u64,
) -> Result<Tensor, String> {
    let mut numbers = Rng::with_seed(seed);
    let Some(size) = spec.datatype.size() else {
        let mut data = Vec::with_capacity(elements * TEXT);
        for _ in 0..elements {
            let word = format!("word{}", numbers.u8(..100));
            data.extend((word.len() as u32).to_le_bytes());
            data.extend(word.as_bytes());
        }
        return tensor(spec, shape, data.into());
    };
    let mut data = AlignedBytes::zeroed(elements * size);
    for element in data.as_mut().chunks_exact_mut(size) {
        write(&mut numbers, spec.datatype, element);
    }
    tensor(spec, shape, data.into())
}

fn tensor(spec: &TensorSpec, shape: Shape, data: Bytes) -> Result<Tensor, String> {
    Tensor::new(spec.name.clone(), spec.datatype, shape, data).map_err(|error| error.to_string())
}

/// The most bytes of an element that is made up.
fn size(spec: &TensorSpec) -> usize {
    spec.datatype.size().unwrap_or(TEXT)
}

/// The shape of an input, whose free dimensions are 1 where none is given, and the number of its elements.
fn room(spec: &TensorSpec, given: Option<&[u64]>) -> Result<(Shape, usize), String> {
    let shape: Shape = match given {
        Some(given) => Shape::from(given),
        None => spec
            .shape
            .iter()
            .map(|dimension| dimension.unwrap_or(1))
            .collect(),
    };
    let fits = shape.len() == spec.shape.len()
        && shape
            .iter()
            .zip(&spec.shape)
            .all(|(given, fixed)| fixed.is_none_or(|fixed| fixed == *given));
    if !fits {
        return Err(format!(
            "the input has shape {}, which {shape} does not fit",
            crate::validate::shape(spec)
        ));
    }
    let elements = shape
        .elements()
        .and_then(|elements| usize::try_from(elements).ok())
        .filter(|elements| {
            let bytes = elements.checked_mul(size(spec));
            bytes.is_some_and(|bytes| bytes <= MAX_BYTES)
        })
        .ok_or_else(|| {
            format!("a tensor of shape {shape} is too large to be made up; give a smaller shape")
        })?;
    Ok((shape, elements))
}

/// Writes an element: fractions from 0 to 1, small whole numbers that are an index in most tables, any byte.
fn write(random: &mut Rng, datatype: Datatype, element: &mut [u8]) {
    let (fraction, small) = (random.f32(), random.u8(..10));
    match datatype {
        Datatype::Bool => element.copy_from_slice(&[small % 2]),
        Datatype::Uint8 | Datatype::Int8 => element.copy_from_slice(&[random.u8(..)]),
        Datatype::Uint16 | Datatype::Int16 => {
            element.copy_from_slice(&u16::from(small).to_le_bytes());
        }
        Datatype::Uint32 | Datatype::Int32 => {
            element.copy_from_slice(&u32::from(small).to_le_bytes());
        }
        Datatype::Uint64 | Datatype::Int64 => {
            element.copy_from_slice(&u64::from(small).to_le_bytes());
        }
        Datatype::Fp16 => {
            element.copy_from_slice(&f16::from_f32(fraction).to_le_bytes());
        }
        Datatype::Bf16 => {
            element.copy_from_slice(&bf16::from_f32(fraction).to_le_bytes());
        }
        Datatype::Fp32 => element.copy_from_slice(&fraction.to_le_bytes()),
        Datatype::Fp64 => element.copy_from_slice(&f64::from(fraction).to_le_bytes()),
        // It has no elements of one size.
        Datatype::Bytes => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: Datatype) -> TensorSpec {
        TensorSpec::new("x", datatype, vec![None, Some(3)])
    }

    fn input(
        spec: &TensorSpec,
        given: Option<&[u64]>,
        data: &str,
        files: &BTreeMap<String, Bytes>,
    ) -> Result<Tensor, String> {
        let input = Input::of(spec, given, data, files)?;
        let made = input.make()?;
        assert!(made.data().len() <= input.bytes());
        Ok(made)
    }

    #[test]
    fn every_datatype_is_made_in_a_sane_range() {
        for datatype in [
            Datatype::Bool,
            Datatype::Uint8,
            Datatype::Int16,
            Datatype::Uint32,
            Datatype::Int64,
            Datatype::Fp16,
            Datatype::Bf16,
            Datatype::Fp32,
            Datatype::Fp64,
            Datatype::Bytes,
        ] {
            let made = input(&spec(datatype), Some(&[4, 3]), "random", &BTreeMap::new()).unwrap();
            assert_eq!((made.datatype(), made.shape()[..].len()), (datatype, 2));
            let again = input(&spec(datatype), Some(&[4, 3]), "random", &BTreeMap::new()).unwrap();
            assert_eq!(made.data(), again.data(), "{datatype} is the same again");
            let zeros = input(&spec(datatype), Some(&[4, 3]), "zeros", &BTreeMap::new()).unwrap();
            assert_ne!(made.data(), zeros.data(), "{datatype} is no zeros");
        }
        let floats = random(&spec(Datatype::Fp32), Some(&[100, 3]), SEED).unwrap();
        assert!(
            floats
                .as_slice::<f32>()
                .unwrap()
                .iter()
                .all(|number| (0.0..1.0).contains(number))
        );
        let whole = random(&spec(Datatype::Int64), Some(&[100, 3]), SEED).unwrap();
        assert!(
            whole
                .as_slice::<i64>()
                .unwrap()
                .iter()
                .all(|number| (0..10).contains(number))
        );
    }

    #[test]
    fn a_file_must_fill_its_shape() {
        let files = BTreeMap::from([("a.bin".to_owned(), Bytes::from(vec![0; 24]))]);
        let made = input(&spec(Datatype::Fp32), Some(&[2, 3]), "a.bin", &files).unwrap();
        assert_eq!(made.data().len(), 24);
        for (shape, says) in [
            (Some(&[1, 3][..]), "has 24 bytes"),
            (Some(&[2, 4]), "does not fit"),
            (None, "takes 12"),
            (Some(&[1 << 40, 3]), "too large"),
        ] {
            let why = input(&spec(Datatype::Fp32), shape, "a.bin", &files).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let why = input(&spec(Datatype::Bytes), None, "a.bin", &files).unwrap_err();
        assert!(why.contains("BYTES") || why.contains("elements"), "{why}");
    }
}
