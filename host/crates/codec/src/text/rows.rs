//! Ids of many texts, and the tensors that they become.

use wharf_core::Tensor;

use super::{Encoded, EncodingOptions};
use crate::CodecError;

/// What texts are padded with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Padding {
    pub(super) id: u32,
    pub(super) segment: u32,
    /// Whether it goes before a text.
    pub(super) before: bool,
}

/// The ids of texts, one text after another.
pub(super) struct Rows {
    ids: Vec<u32>,
    segments: Vec<u32>,
    /// Where each text ends.
    ends: Vec<usize>,
}

/// The bytes of an element, and the tensors.
const ELEMENT_BYTES: u64 = 8;
const TENSORS: u64 = 3;

impl Rows {
    pub(super) fn with_capacity(texts: &[String]) -> Self {
        // A word of English and the space after it are some six bytes.
        let ids = texts.iter().map(|text| text.len() / 6 + 2).sum();
        Self {
            ids: Vec::with_capacity(ids),
            segments: Vec::with_capacity(ids),
            ends: Vec::with_capacity(texts.len()),
        }
    }

    pub(super) fn push(&mut self, ids: &[u32], segments: &[u32]) {
        self.ids.extend_from_slice(ids);
        self.segments.extend_from_slice(segments);
        self.ends.push(self.ids.len());
    }

    /// The texts: where each begins and ends.
    fn texts(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        starts.zip(self.ends.iter().copied())
    }

    pub(super) fn into_tensors(
        self,
        options: &EncodingOptions,
        padding: &Padding,
    ) -> Result<Encoded, CodecError> {
        let longest = self.texts().map(|(start, end)| end - start).max();
        let length = longest
            .unwrap_or(0)
            .max(options.pad_to.unwrap_or(0) as usize);
        let shape = [self.ends.len() as u64, length as u64];
        let bytes = shape[0]
            .saturating_mul(shape[1])
            .saturating_mul(ELEMENT_BYTES * TENSORS);
        if bytes > options.most_bytes {
            return Err(CodecError::TooLarge { bytes });
        }
        let elements = self.ends.len() * length;
        let mut ids = vec![i64::from(padding.id); elements];
        let mut mask = vec![0_i64; elements];
        let mut segments = vec![i64::from(padding.segment); elements];
        for (row, (start, end)) in self.texts().enumerate() {
            let count = end - start;
            let skipped = if padding.before { length - count } else { 0 };
            let at = row * length + skipped;
            widen(&self.ids[start..end], &mut ids[at..at + count]);
            widen(&self.segments[start..end], &mut segments[at..at + count]);
            mask[at..at + count].fill(1);
        }
        let tensor = |name: &str, elements| {
            Tensor::from_vec(name, shape, elements)
                .map_err(|error| CodecError::misused(error.to_string()))
        };
        Ok(Encoded {
            ids: tensor("input_ids", ids)?,
            mask: tensor("attention_mask", mask)?,
            segments: tensor("token_type_ids", segments)?,
        })
    }
}

fn widen(from: &[u32], to: &mut [i64]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = i64::from(*from);
    }
}
