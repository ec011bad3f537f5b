//! Makes up tensors: the inputs of a request of the warm-up, and the outputs of a model that is not run.

use std::collections::BTreeMap;

use bytes::Bytes;
use fastrand::Rng;
use half::{bf16, f16};
use wharf_core::{AlignedBytes, Datatype, Shape, Tensor, TensorSpec};

/// A tensor takes no more than this.
const MAX_INPUT: usize = 1 << 30;
/// Random inputs are the same at every load: what was served once is served again.
const SEED: u64 = 0x5eed;

/// A tensor of zeros, or of empty texts.
pub(super) fn zeros(spec: &TensorSpec, given: Option<&[u64]>) -> Result<Tensor, String> {
    let (shape, len) = room(spec, given)?;
    // Four zero bytes are also the length of an empty text.
    tensor(spec, shape, AlignedBytes::zeroed(len).into())
}

/// An input as `model.toml` says: `zeros`, `random`, or a file, which is among those that were read.
pub(super) fn input(
    spec: &TensorSpec,
    given: Option<&[u64]>,
    data: &str,
    files: &BTreeMap<String, Bytes>,
) -> Result<Tensor, String> {
    let (shape, len) = match data {
        "zeros" => return zeros(spec, given),
        "random" => return random(spec, given, SEED),
        _ => room(spec, given)?,
    };
    let bytes = files
        .get(data)
        .ok_or_else(|| format!("{data:?} was not read"))?;
    if spec.datatype != Datatype::Bytes && bytes.len() != len {
        return Err(format!(
            "{data:?} has {} bytes, but {} of shape {shape} takes {len}; give the shape of what is in the file",
            bytes.len(),
            spec.datatype
        ));
    }
    tensor(spec, shape, bytes.clone())
}

/// A tensor of numbers that look like data: of one seed always the same.
pub(in crate::engine) fn random(
    spec: &TensorSpec,
    given: Option<&[u64]>,
    seed: u64,
) -> Result<Tensor, String> {
    let (shape, len) = room(spec, given)?;
    let mut numbers = Rng::with_seed(seed);
    if spec.datatype == Datatype::Bytes {
        let words: Vec<String> = (0..len / 4)
            .map(|_| format!("word{}", numbers.u8(..100)))
            .collect();
        return Tensor::from_elements(spec.name.clone(), shape, &words)
            .map_err(|error| error.to_string());
    }
    let mut data = AlignedBytes::zeroed(len);
    let size = spec.datatype.size().unwrap_or(1);
    for element in data.as_mut().chunks_exact_mut(size) {
        write(&mut numbers, spec.datatype, element);
    }
    tensor(spec, shape, data.into())
}

fn tensor(spec: &TensorSpec, shape: Shape, data: Bytes) -> Result<Tensor, String> {
    Tensor::new(spec.name.clone(), spec.datatype, shape, data).map_err(|error| error.to_string())
}

/// The shape of an input, whose free dimensions are 1 where none is given, and the bytes that it takes: four an element for
/// texts, which is the length of each.
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
    let size = spec.datatype.size().unwrap_or(4) as u64;
    let len = shape
        .elements()
        .and_then(|elements| elements.checked_mul(size))
        .and_then(|len| usize::try_from(len).ok())
        .filter(|len| *len <= MAX_INPUT)
        .ok_or_else(|| {
            format!("a tensor of shape {shape} is too large to be made up; give a smaller shape")
        })?;
    Ok((shape, len))
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
            let zeros = zeros(&spec(datatype), Some(&[4, 3])).unwrap();
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
