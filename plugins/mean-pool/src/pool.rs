//! The arithmetic: loops over whole rows of floats, which the compiler turns into vector instructions.

use wharf_plugin_sdk::{Error, Result, Tensor};

/// Sums that a row is added up in, so that no addition waits for the one before.
const LANES: usize = 8;

/// The dimensions of the embeddings of tokens.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) texts: usize,
    pub(crate) tokens: usize,
    pub(crate) width: usize,
}

impl Shape {
    /// `[texts, tokens, width]`, none of them 0.
    pub(crate) fn of(tensor: &Tensor) -> Result<Self> {
        let shape = tensor.shape();
        let side = |dimension: u64| usize::try_from(dimension).ok().filter(|side| *side > 0);
        match shape[..] {
            [texts, tokens, width] => match (side(texts), side(tokens), side(width)) {
                (Some(texts), Some(tokens), Some(width)) => Some(Self {
                    texts,
                    tokens,
                    width,
                }),
                _ => None,
            },
            _ => None,
        }
        .ok_or_else(|| {
            Error::failed(format!(
                "the tensor `{}` has the shape {shape:?}, and [texts, tokens, width] is needed",
                tensor.name()
            ))
        })
    }
}

/// The mean of each text's tokens that the mask counts, text after text. A text without any has zeros.
pub(crate) fn mean(shape: Shape, embeddings: &[f32], mask: Option<&[bool]>) -> Vec<f32> {
    let mut means = vec![0.0; shape.texts * shape.width];
    let texts = embeddings.chunks_exact(shape.tokens * shape.width);
    for (text, (mean, tokens)) in means.chunks_exact_mut(shape.width).zip(texts).enumerate() {
        let counts = mask.map(|mask| &mask[text * shape.tokens..][..shape.tokens]);
        let mut counted = 0_u32;
        for (token, embedding) in tokens.chunks_exact(shape.width).enumerate() {
            if counts.is_none_or(|counts| counts[token]) {
                counted += 1;
                for (sum, value) in mean.iter_mut().zip(embedding) {
                    *sum += value;
                }
            }
        }
        let share = 1.0 / counted.max(1) as f32;
        mean.iter_mut().for_each(|sum| *sum *= share);
    }
    means
}

/// The Euclidean length; not finite where an element is not.
pub(crate) fn length(embedding: &[f32]) -> f32 {
    let mut sums = [0.0_f32; LANES];
    let blocks = embedding.chunks_exact(LANES);
    let rest: f32 = blocks.remainder().iter().map(|value| value * value).sum();
    for block in blocks {
        for (sum, value) in sums.iter_mut().zip(block) {
            *sum += value * value;
        }
    }
    let squares = sums.iter().sum::<f32>() + rest;
    if squares.is_normal() {
        return squares.sqrt();
    }
    // Elements whose squares are no binary32 any more.
    let squares: f64 = embedding
        .iter()
        .map(|value| f64::from(*value) * f64::from(*value))
        .sum();
    squares.sqrt() as f32
}

/// Brings an embedding to the length 1. One of zeros stays as it is.
pub(crate) fn scale_to_unit(embedding: &mut [f32], length: f32) {
    if length > 0.0 {
        embedding.iter_mut().for_each(|value| *value /= length);
    }
}
