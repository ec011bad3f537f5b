//! Images and texts as tensors, at the speed of native code: what every plugin author would otherwise build in.
//!
//! It computes and nothing else: it reads no file and starts no thread, and whoever calls it decides where the work runs. What it is given is not
//! trusted. Whatever an image's header says is checked against a bound before memory is taken for it, and a decoder that panics is an error of
//! that image alone.
#![deny(missing_docs)]

mod error;
mod guard;
mod image;
mod text;

pub use error::CodecError;
pub use image::{Channels, Filter, Fit, Format, Image, ImageTarget, Layout};
pub use text::{Encoded, EncodingOptions, SpecialIds, Tokenizer};
