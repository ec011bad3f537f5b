//! The host's side, in the guest.

use super::{Channels, Encoding, EncodingOptions, Filter, Fit, ImageInfo, ImageTensor, Layout};
use crate::bindings::imports::codec;
use crate::{Body, Result, Tensor};

use codec::Tokenizer as RawTokenizer;

pub(super) fn inspect_image(image: &Body) -> Result<ImageInfo> {
    let info = codec::inspect_image(image.raw())?;
    Ok(ImageInfo {
        width: info.width,
        height: info.height,
        format: info.format,
    })
}

pub(super) fn decode_image(image: &Body, target: &ImageTensor) -> Result<Tensor> {
    let target = codec::ImageTensor {
        name: target.name.clone(),
        width: target.width,
        height: target.height,
        fit: match target.fit {
            Fit::Stretch => codec::Fit::Stretch,
            Fit::Cover => codec::Fit::Cover,
            Fit::Contain => codec::Fit::Contain,
        },
        filter: match target.filter {
            Filter::Nearest => codec::Filter::Nearest,
            Filter::Bilinear => codec::Filter::Bilinear,
            Filter::Bicubic => codec::Filter::Bicubic,
            Filter::Lanczos3 => codec::Filter::Lanczos3,
        },
        channels: match target.channels {
            Channels::Rgb => codec::Channels::Rgb,
            Channels::Bgr => codec::Channels::Bgr,
            Channels::Gray => codec::Channels::Gray,
        },
        layout: match target.layout {
            Layout::Nchw => codec::Layout::Nchw,
            Layout::Nhwc => codec::Layout::Nhwc,
        },
        datatype: crate::datatype::lower(target.datatype),
        scale: target.scale,
        mean: target.mean.clone(),
        deviation: target.deviation.clone(),
    };
    codec::decode_image(image.raw(), &target).map(Tensor::from_raw)
}

#[derive(Debug)]
pub(super) struct Tokenizer(RawTokenizer);

impl Tokenizer {
    pub(super) fn open(name: &str) -> Result<Self> {
        RawTokenizer::open(name).map(Self)
    }

    pub(super) fn encode(&self, texts: &[String], options: &EncodingOptions) -> Result<Encoding> {
        let options = codec::EncodingOptions {
            max_length: options.max_length,
            pad_to: options.pad_to,
            special: options.special,
        };
        let encoding = self.0.encode(texts, options)?;
        Ok(Encoding {
            ids: Tensor::from_raw(encoding.ids),
            mask: Tensor::from_raw(encoding.mask),
            segments: Tensor::from_raw(encoding.segments),
        })
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids, true)
    }

    pub(super) fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.0.decode(ids, false)
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        self.0.token_id(token)
    }

    pub(super) fn vocabulary_size(&self) -> u32 {
        self.0.vocabulary_size()
    }
}
