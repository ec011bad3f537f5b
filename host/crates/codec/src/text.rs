//! Texts as ids and back, by a `tokenizer.json`.

mod bounds;
mod pace;
mod rows;

use std::sync::atomic::{AtomicBool, Ordering};

use tokenizers::utils::padding::PaddingDirection;
use tokenizers::utils::truncation::TruncationDirection;
use tokenizers::{Encoding, PostProcessor};
use wharf_core::Tensor;

use crate::CodecError;
use crate::guard::guarded;
use bounds::Bounds;
use pace::Pace;
use rows::{Padding, Rows};

/// A tokenizer, as its file says: normalising, splitting, vocabulary, special ids. It is read alone, by any number of threads.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The most ids that the file allows.
    max_length: Option<usize>,
    cut: TruncationDirection,
    padding: Padding,
    /// How many special ids a text gets.
    special: usize,
    bounds: Bounds,
    pace: Pace,
}

/// How texts become ids.
#[derive(Clone, Copy, Debug)]
pub struct EncodingOptions {
    /// The most ids of a text, special ones included; none for what the file says.
    pub max_length: Option<u32>,
    /// How many ids each text is padded to; none pads to the longest of them.
    pub pad_to: Option<u32>,
    /// Whether special ids are added.
    pub special: bool,
    /// The most that the tensors may take together, in bytes.
    pub most_bytes: u64,
}

/// What becomes of special ids where ids become text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpecialIds {
    /// They become text, too.
    Kept,
    /// They do not.
    LeftOut,
}

/// Texts as ids: three `INT64` tensors `[texts, length]`.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The ids, named `input_ids`.
    pub ids: Tensor,
    /// 1 where there is an id, 0 where there is padding; named `attention_mask`.
    pub mask: Tensor,
    /// The segment of each id, named `token_type_ids`.
    pub segments: Tensor,
}

impl Tokenizer {
    /// Reads the content of a `tokenizer.json`.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] where it is none, or may make too much of a text.
    pub fn from_json(content: &[u8]) -> Result<Self, CodecError> {
        guarded("tokenizer", || {
            let mut inner = tokenizers::Tokenizer::from_bytes(content).map_err(|error| {
                CodecError::invalid(format!("this is no tokenizer.json: {error}"))
            })?;
            let cut = inner.get_truncation();
            let max_length = cut.map(|cut| cut.max_length);
            let cut = cut.map_or(TruncationDirection::Right, |cut| cut.direction);
            let padding = padding(&inner);
            // Texts are cut and padded here: the settings are those of each call.
            inner
                .with_truncation(None)
                .map_err(|error| CodecError::invalid(error.to_string()))?
                .with_padding(None);
            let special = inner
                .get_post_processor()
                .map_or(0, |processor| processor.added_tokens(false));
            Ok(Self {
                bounds: Bounds::of(&inner, special)?,
                pace: Pace::default(),
                special,
                inner,
                max_length,
                cut,
                padding,
            })
        })
    }

    /// Makes ids of texts, one after another on this thread, until it is cancelled.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] where a text cannot be encoded; [`CodecError::Misused`] where the options leave no room;
    /// [`CodecError::TooLarge`] where the tensors would take more than they may.
    pub fn encode(
        &self,
        texts: &[String],
        options: &EncodingOptions,
        cancelled: &AtomicBool,
    ) -> Result<Encoded, CodecError> {
        let most = self.most_ids(options)?;
        let mut rows = Rows::with_capacity(texts);
        for text in texts {
            if cancelled.load(Ordering::Relaxed) {
                return Err(CodecError::Cancelled);
            }
            let encoding = guarded("text", || self.encode_one(text, options.special, most))?;
            rows.push(encoding.get_ids(), encoding.get_type_ids());
        }
        rows.into_tensors(options, &self.padding)
    }

    /// How many ids of a text there may be beside the special ones; none for any number.
    fn most_ids(&self, options: &EncodingOptions) -> Result<Option<usize>, CodecError> {
        let most = match options.max_length {
            Some(most) => Some(most as usize),
            None => self.max_length,
        };
        let special = if options.special { self.special } else { 0 };
        let Some(most) = most else { return Ok(None) };
        if most <= special {
            return Err(CodecError::misused(format!(
                "a text gets {special} special ids, and {most} ids leave no room for others: give a greater max-length"
            )));
        }
        Ok(Some(most - special))
    }

    fn encode_one(
        &self,
        text: &str,
        special: bool,
        most: Option<usize>,
    ) -> Result<Encoding, CodecError> {
        let failed = |error: tokenizers::Error| {
            CodecError::invalid(format!("the text cannot be tokenised: {error}"))
        };
        let Some(most) = most else {
            return self.inner.encode_fast(text, special).map_err(failed);
        };
        // A token has some four bytes. A text that is short enough, as most are, is done in one pass.
        if text.len() / 4 < most {
            let encoding = self.inner.encode_fast(text, special).map_err(failed)?;
            if encoding.len() <= most {
                return Ok(encoding);
            }
        }
        // Special ids go around what is left of a text, so it is cut before they are added.
        let encoding = self.inner.encode_fast(text, false).map_err(failed)?;
        let encoding = cut(encoding, most, self.cut);
        if !special {
            return Ok(encoding);
        }
        self.inner
            .post_process(encoding, None, true)
            .map_err(failed)
    }

    /// Makes a text of ids.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] where the ids make no text.
    pub fn decode(&self, ids: &[u32], special: SpecialIds) -> Result<String, CodecError> {
        guarded("list of ids", || {
            self.inner
                .decode(ids, special == SpecialIds::LeftOut)
                .map_err(|error| CodecError::invalid(format!("the ids make no text: {error}")))
        })
    }

    /// Whether short work takes a short time: it does no work without bounds, and took no longer of late.
    #[must_use]
    pub fn is_quick(&self) -> bool {
        self.bounds.linear && self.pace.is_quick()
    }

    /// Does short work, and remembers how long it took.
    pub fn timed<T>(&self, work: impl FnOnce(&Self) -> T) -> T {
        self.pace.timed(|| work(self))
    }

    /// How many bytes a text of so many may have before it is split into tokens.
    #[must_use]
    pub fn grown(&self, bytes: u64) -> u64 {
        bytes.saturating_mul(self.bounds.growth)
    }

    /// How many bytes the text of so many ids may have.
    #[must_use]
    pub fn decoded(&self, ids: usize) -> u64 {
        let token = (self.bounds.token_bytes as u64 + 1).saturating_mul(self.bounds.decoded_growth);
        token.saturating_mul(ids as u64)
    }

    /// The id of a token of the vocabulary.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The size of the vocabulary, with added tokens.
    #[must_use]
    pub fn vocabulary_size(&self) -> u32 {
        u32::try_from(self.inner.get_vocab_size(true)).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("vocabulary", &self.vocabulary_size())
            .finish_non_exhaustive()
    }
}

/// What the file pads with; where it does not say, the token that is usual.
fn padding(tokenizer: &tokenizers::Tokenizer) -> Padding {
    match tokenizer.get_padding() {
        Some(padding) => Padding {
            id: padding.pad_id,
            segment: padding.pad_type_id,
            before: matches!(padding.direction, PaddingDirection::Left),
        },
        None => Padding {
            id: ["[PAD]", "<pad>"]
                .iter()
                .find_map(|token| tokenizer.token_to_id(token))
                .unwrap_or(0),
            segment: 0,
            before: false,
        },
    }
}

/// Cuts an encoding. The library's own way keeps what it cuts off, in as many pieces as it takes.
fn cut(encoding: Encoding, most: usize, direction: TruncationDirection) -> Encoding {
    let length = encoding.len();
    if length <= most {
        return encoding;
    }
    let kept = match direction {
        TruncationDirection::Right => 0..most,
        TruncationDirection::Left => length - most..length,
    };
    Encoding::new(
        encoding.get_ids()[kept.clone()].to_vec(),
        encoding.get_type_ids()[kept.clone()].to_vec(),
        encoding.get_tokens()[kept.clone()].to_vec(),
        encoding.get_word_ids()[kept.clone()].to_vec(),
        encoding.get_offsets()[kept.clone()].to_vec(),
        encoding.get_special_tokens_mask()[kept.clone()].to_vec(),
        encoding.get_attention_mask()[kept].to_vec(),
        Vec::new(),
        Default::default(),
    )
}

#[cfg(test)]
mod tests;
