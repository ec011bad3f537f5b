//! The inputs of a model, made up from its metadata: random, zeros, or from a file.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use fastrand::Rng;
use wharf_core::Datatype;

/// The most bytes that one input may have.
const MOST_BYTES: usize = 1 << 30;

/// The same numbers in every run, so that runs compare.
const SEED: u64 = 0x5eed;

/// How many letters an element of `BYTES` has.
const WORD: usize = 8;

/// An input as the server describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputMetadata {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    /// Negative where a dimension is free.
    pub(super) shape: Vec<i64>,
}

/// What `--input NAME=...` and `--shape NAME=...` ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputSpec {
    name: String,
    wish: Wish,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Wish {
    Shape(Vec<u64>),
    Content(Content),
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Content {
    #[default]
    Random,
    Zeros,
    File(PathBuf),
}

/// A tensor with its elements as they go over the wire: little-endian, row by row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct InputTensor {
    pub(super) name: String,
    pub(super) datatype: Datatype,
    pub(super) shape: Vec<u64>,
    pub(super) data: Bytes,
}

impl FromStr for InputSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = named(text)?;
        let wish = match value {
            "random" => Wish::Content(Content::Random),
            "zeros" => Wish::Content(Content::Zeros),
            _ => match value.split_once(':') {
                Some(("shape", dimensions)) => Wish::Shape(shape(dimensions)?),
                Some(("file", path)) if !path.is_empty() => {
                    Wish::Content(Content::File(path.into()))
                }
                _ => {
                    return Err(format!(
                        "{value:?} is none of random, zeros, file:PATH and shape:1x3x224x224"
                    ));
                }
            },
        };
        Ok(Self {
            name: name.to_owned(),
            wish,
        })
    }
}

impl InputSpec {
    /// Reads `NAME=1x3x224x224`.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn of_shape(text: &str) -> Result<Self, String> {
        let (name, dimensions) = named(text)?;
        Ok(Self {
            name: name.to_owned(),
            wish: Wish::Shape(shape(dimensions)?),
        })
    }
}

fn named(text: &str) -> Result<(&str, &str), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name, value)),
        _ => Err("give NAME=VALUE, with the input's name".to_owned()),
    }
}

fn shape(text: &str) -> Result<Vec<u64>, String> {
    text.split('x')
        .map(|dimension| dimension.parse().ok())
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{text:?} is no shape such as 1x3x224x224"))
}

/// Makes a tensor for each input of a model.
///
/// # Errors
/// Where a wish names no input, or does not fit what the model takes.
pub(super) fn make(inputs: &[InputMetadata], specs: &[InputSpec]) -> Result<Vec<InputTensor>> {
    for spec in specs {
        ensure!(
            inputs.iter().any(|input| input.name == spec.name),
            "the model has no input `{}`; it has {}",
            spec.name,
            names(inputs)
        );
    }
    let mut random = Rng::with_seed(SEED);
    inputs
        .iter()
        .map(|input| {
            let wishes = specs.iter().filter(|spec| spec.name == input.name);
            tensor(input, wishes.map(|spec| &spec.wish), &mut random)
                .with_context(|| format!("the input `{}`", input.name))
        })
        .collect()
}

fn names(inputs: &[InputMetadata]) -> String {
    let names: Vec<_> = inputs
        .iter()
        .map(|input| format!("`{}`", input.name))
        .collect();
    names.join(", ")
}

fn tensor<'a>(
    input: &InputMetadata,
    wishes: impl Iterator<Item = &'a Wish>,
    random: &mut Rng,
) -> Result<InputTensor> {
    let free_as_one = |&dimension: &i64| u64::try_from(dimension).unwrap_or(1);
    let mut shape: Vec<u64> = input.shape.iter().map(free_as_one).collect();
    let mut content = Content::default();
    for wish in wishes {
        match wish {
            Wish::Shape(wanted) => shape.clone_from(wanted),
            Wish::Content(wanted) => content = wanted.clone(),
        }
    }
    let fits = shape.len() == input.shape.len()
        && shape
            .iter()
            .zip(&input.shape)
            .all(|(&given, &taken)| u64::try_from(taken).map_or(true, |taken| taken == given));
    ensure!(
        fits,
        "the shape {shape:?} does not fit the model's {:?}: give --shape {}=...",
        input.shape,
        input.name
    );
    let width = input.datatype.size().unwrap_or(4 + WORD);
    let count = shape
        .iter()
        .try_fold(1_usize, |count, &side| {
            count.checked_mul(usize::try_from(side).ok()?)
        })
        .filter(|count| {
            count
                .checked_mul(width)
                .is_some_and(|bytes| bytes <= MOST_BYTES)
        })
        .with_context(|| format!("the shape {shape:?} has more than 1 GiB"))?;
    let data = match content {
        Content::Random => fill(random, input.datatype, count).into(),
        Content::Zeros => zeros(input.datatype, count).into(),
        Content::File(path) => file(&path, input.datatype, count)?,
    };
    Ok(InputTensor {
        name: input.name.clone(),
        datatype: input.datatype,
        shape,
        data,
    })
}

/// Zeros, or empty texts.
fn zeros(datatype: Datatype, count: usize) -> Vec<u8> {
    vec![0; count * datatype.size().unwrap_or(4)]
}

/// A file of elements as they go over the wire, or the one element of `BYTES`.
fn file(path: &PathBuf, datatype: Datatype, count: usize) -> Result<Bytes> {
    let shown = path.display();
    let length = std::fs::metadata(path)
        .with_context(|| format!("cannot read {shown}"))?
        .len();
    ensure!(length <= MOST_BYTES as u64, "{shown} has more than 1 GiB");
    let content = std::fs::read(path).with_context(|| format!("cannot read {shown}"))?;
    match datatype.size() {
        Some(size) => {
            let wanted = count * size;
            ensure!(
                content.len() == wanted,
                "{shown} has {} bytes, and {count} elements of {datatype} have {wanted}",
                content.len()
            );
            Ok(content.into())
        }
        None if count == 1 => {
            let length = u32::try_from(content.len()).context("a file within 1 GiB")?;
            let mut element = length.to_le_bytes().to_vec();
            element.extend_from_slice(&content);
            Ok(element.into())
        }
        None => bail!("a file is one element of BYTES, and the shape has {count}: give --shape"),
    }
}

/// Fractions from 0 to 1, and whole numbers below 10, because these are often indices.
fn fill(random: &mut Rng, datatype: Datatype, count: usize) -> Vec<u8> {
    let mut data = Vec::with_capacity(count * datatype.size().unwrap_or(4 + WORD));
    for _ in 0..count {
        match datatype {
            Datatype::Bool => data.push(random.u8(..2)),
            Datatype::Uint8 | Datatype::Int8 => data.push(random.u8(..10)),
            Datatype::Uint16 | Datatype::Int16 => {
                data.extend(u16::from(random.u8(..10)).to_le_bytes());
            }
            Datatype::Uint32 | Datatype::Int32 => {
                data.extend(u32::from(random.u8(..10)).to_le_bytes());
            }
            Datatype::Uint64 | Datatype::Int64 => {
                data.extend(u64::from(random.u8(..10)).to_le_bytes());
            }
            Datatype::Fp16 => {
                data.extend(half::f16::from_f32(random.f32()).to_le_bytes());
            }
            Datatype::Bf16 => {
                data.extend(half::bf16::from_f32(random.f32()).to_le_bytes());
            }
            Datatype::Fp32 => data.extend(random.f32().to_le_bytes()),
            Datatype::Fp64 => data.extend(f64::from(random.f32()).to_le_bytes()),
            Datatype::Bytes => {
                data.extend((WORD as u32).to_le_bytes());
                data.extend((0..WORD).map(|_| b'a' + random.u8(..10)));
            }
        }
    }
    data
}

#[cfg(test)]
mod tests;
