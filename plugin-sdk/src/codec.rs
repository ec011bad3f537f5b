//! Images and tokenizers, at the speed of native code. Needs the grant `codec`, which names the tokenizers:
//!
//! ```toml
//! [grants.codec]
//! max_pixels = 64_000_000
//!
//! [grants.codec.tokenizers]
//! bert = "models/bert/tokenizer.json"
//! ```
//!
//! An image becomes a tensor without its bytes or its pixels ever being copied into the plugin:
//!
//! ```
//! use wharf_plugin_sdk::codec::{self, Fit, ImageTensor};
//! use wharf_plugin_sdk::{Payload, Result, Tensor};
//!
//! /// What a model of ImageNet takes.
//! fn pixels(input: Payload) -> Result<Payload> {
//!     let target = ImageTensor::new("pixels", 224, 224)
//!         .with_fit(Fit::Cover)
//!         .with_normalization(&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);
//!     Ok(codec::decode_image(&input.body()?, &target)?.into())
//! }
//!
//! // A native test decodes no image: it gives the tensor.
//! # use wharf_plugin_sdk::Body;
//! codec::answer_decode(|_image, target| {
//!     Tensor::new(&target.name, &target.shape(), &vec![0.5f32; 3 * 224 * 224])
//! });
//! let tensor = pixels(Body::new("image/jpeg", b"...").into())?.tensor("pixels")?;
//! assert_eq!(tensor.shape(), [1, 3, 224, 224]);
//! # Ok::<(), wharf_plugin_sdk::Error>(())
//! ```
//!
//! Texts become the three tensors that most models of language take:
//!
//! ```
//! use wharf_plugin_sdk::codec::{self, EncodingOptions, Tokenizer};
//!
//! // A native test splits at spaces, by a vocabulary of its own.
//! codec::grant_tokenizer("bert", &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "ship"]);
//!
//! let bert = Tokenizer::open("bert")?;
//! let encoding = bert.encode(&["a ship", "ahoy"], &EncodingOptions::default().with_max_length(128))?;
//! assert_eq!(encoding.ids.int64()?, [2, 4, 5, 3, 2, 1, 3, 0]);
//! assert_eq!(encoding.mask.int64()?, [1, 1, 1, 1, 1, 1, 1, 0]);
//! assert_eq!(encoding.ids.shape(), [2, 4]);
//! # Ok::<(), wharf_plugin_sdk::Error>(())
//! ```

#[cfg(target_arch = "wasm32")]
mod guest;
mod image;
#[cfg(not(target_arch = "wasm32"))]
mod native;

use crate::{Body, Result, Tensor};

#[cfg(target_arch = "wasm32")]
use guest as host;
#[cfg(not(target_arch = "wasm32"))]
use native as host;

pub use image::{Channels, Filter, Fit, ImageInfo, ImageTensor, Layout};
#[cfg(not(target_arch = "wasm32"))]
pub use native::{answer_decode, answer_inspect, grant_tokenizer};

/// Reads the header of an image: JPEG, PNG, GIF, BMP, WebP or TIFF.
///
/// # Errors
/// `invalid-input` where it is none of these.
pub fn inspect_image(image: &Body) -> Result<ImageInfo> {
    host::inspect_image(image)
}

/// Decodes an image, upright by its EXIF orientation, and makes a tensor of it. Of an animated image it is the first frame; what is transparent
/// lies over black.
///
/// # Errors
/// `invalid-input` where it cannot be decoded, or has more pixels than the grant allows; `failed` where the target is impossible.
pub fn decode_image(image: &Body, target: &ImageTensor) -> Result<Tensor> {
    host::decode_image(image, target)
}

/// A tokenizer that the grant names: a `tokenizer.json` of the site. Opening one is cheap: the host has it loaded.
#[derive(Debug)]
pub struct Tokenizer(host::Tokenizer);

impl Tokenizer {
    /// Finds a tokenizer.
    ///
    /// # Errors
    /// `denied` where the grant does not name it.
    pub fn open(name: &str) -> Result<Self> {
        host::Tokenizer::open(name).map(Self)
    }

    /// Makes ids of texts, a row each.
    ///
    /// # Errors
    /// `invalid-input` where the texts are longer together than the grant allows; `failed` where the options leave no room for them.
    pub fn encode(&self, texts: &[impl AsRef<str>], options: &EncodingOptions) -> Result<Encoding> {
        // The contract's type is a list of texts, and the binding takes it owned.
        let texts: Vec<String> = texts.iter().map(|text| text.as_ref().to_owned()).collect();
        self.0.encode(&texts, options)
    }

    /// Makes a text of ids, and leaves special ones out.
    ///
    /// # Errors
    /// `invalid-input` where they make no text.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids)
    }

    /// Makes a text of ids, with the special ones.
    ///
    /// # Errors
    /// As [`Tokenizer::decode`].
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.0.decode_with_special(ids)
    }

    /// The id of a token of the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.0.token_id(token)
    }

    /// The size of the vocabulary, with added tokens.
    pub fn vocabulary_size(&self) -> u32 {
        self.0.vocabulary_size()
    }
}

/// How texts become ids. By default they are cut as the tokenizer's file says, padded to the longest of them, and have special ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncodingOptions {
    max_length: Option<u32>,
    pad_to: Option<u32>,
    special: bool,
}

impl Default for EncodingOptions {
    fn default() -> Self {
        Self {
            max_length: None,
            pad_to: None,
            special: true,
        }
    }
}

impl EncodingOptions {
    /// The same, but each text is cut to this many ids, special ones included.
    #[must_use]
    pub fn with_max_length(self, ids: u32) -> Self {
        Self {
            max_length: Some(ids),
            ..self
        }
    }

    /// The same, but each text is padded to at least this many ids.
    #[must_use]
    pub fn with_padding_to(self, ids: u32) -> Self {
        Self {
            pad_to: Some(ids),
            ..self
        }
    }

    /// The same, but without special ids, such as those of beginning and end.
    #[must_use]
    pub fn without_special(self) -> Self {
        Self {
            special: false,
            ..self
        }
    }
}

/// Texts as ids: three `INT64` tensors `[texts, length]`.
#[derive(Debug)]
pub struct Encoding {
    /// The ids, named `input_ids`.
    pub ids: Tensor,
    /// 1 where there is an id, 0 where there is padding; named `attention_mask`.
    pub mask: Tensor,
    /// The segment of each id, named `token_type_ids`.
    pub segments: Tensor,
}

impl Encoding {
    /// The three tensors, in the order of the fields.
    pub fn into_tensors(self) -> Vec<Tensor> {
        vec![self.ids, self.mask, self.segments]
    }
}
