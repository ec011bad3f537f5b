//! The interface `codec`.

use std::future::ready;

use futures_util::future::Either;
use wasmtime::component::Resource;
use wharf_codec::{
    Channels, CodecError, EncodingOptions, Filter, Fit, ImageTarget, Layout, SpecialIds,
};
use wharf_core::{Body, Tensor};

use super::convert::invalid;
use super::generated::wharf::plugin::codec as wit;
use super::types::Error;
use crate::abilities::codec::{Codec, Tokenizer, Work};
use crate::guest::GuestState;

type Given<T> = wasmtime::Result<Result<T, Error>>;

impl wit::Host for GuestState {
    async fn inspect_image(&mut self, image: Resource<Body>) -> Given<wit::ImageInfo> {
        let data = self.body(&image)?.data.clone();
        let header = codec(self)?.open_image(data);
        let image = match finish(self, header).await? {
            Ok(image) => image,
            Err(error) => return refuse(self, error),
        };
        Ok(Ok(wit::ImageInfo {
            width: image.width(),
            height: image.height(),
            format: image.format().name().to_owned(),
        }))
    }

    async fn decode_image(
        &mut self,
        image: Resource<Body>,
        target: wit::ImageTensor,
    ) -> Given<Resource<Tensor>> {
        let target = ImageTarget::from(target);
        match target.byte_len() {
            Ok(bytes) => self.growth.admit(bytes as u64)?,
            Err(error) => return refuse(self, error),
        }
        let data = self.body(&image)?.data.clone();
        let header = codec(self)?.open_image(data);
        let image = match finish(self, header).await? {
            Ok(image) => image,
            Err(error) => return refuse(self, error),
        };
        let work = codec(self)?.decode_image(image, target);
        match finish(self, work).await? {
            Ok(tensor) => keep(self, &tensor).map(Ok),
            Err(error) => refuse(self, error),
        }
    }
}

impl wit::HostTokenizer for GuestState {
    async fn open(&mut self, name: String) -> Given<Resource<Tokenizer>> {
        match codec(self)?.tokenizer(&name) {
            Some(tokenizer) => self.keep(tokenizer).map(Ok),
            None => Ok(Err(Error::Denied(format!(
                "the grant `codec` of the plugin names no tokenizer {name:?}; add it to [grants.codec.tokenizers]"
            )))),
        }
    }

    async fn encode(
        &mut self,
        this: Resource<Tokenizer>,
        texts: Vec<String>,
        options: wit::EncodingOptions,
    ) -> Given<wit::Encoding> {
        let options = EncodingOptions {
            max_length: options.max_length,
            pad_to: options.pad_to,
            special: options.special,
            most_bytes: self.growth.room(),
        };
        let tokenizer = self.get(&this)?.clone();
        let work = codec(self)?.encode(tokenizer, texts, options);
        match finish(self, work).await? {
            Ok(encoded) => Ok(Ok(wit::Encoding {
                ids: keep(self, &encoded.ids)?,
                mask: keep(self, &encoded.mask)?,
                segments: keep(self, &encoded.segments)?,
            })),
            Err(error) => refuse(self, error),
        }
    }

    async fn decode(
        &mut self,
        this: Resource<Tokenizer>,
        ids: Vec<u32>,
        skip_special: bool,
    ) -> Given<String> {
        let tokenizer = self.get(&this)?.clone();
        let special = if skip_special {
            SpecialIds::LeftOut
        } else {
            SpecialIds::Kept
        };
        let work = codec(self)?.decode(tokenizer, ids, special);
        match finish(self, work).await? {
            Ok(text) => Ok(Ok(text)),
            Err(error) => refuse(self, error),
        }
    }

    async fn token_id(
        &mut self,
        this: Resource<Tokenizer>,
        token: String,
    ) -> wasmtime::Result<Option<u32>> {
        Ok(self.get(&this)?.token_id(&token))
    }

    async fn vocabulary_size(&mut self, this: Resource<Tokenizer>) -> wasmtime::Result<u32> {
        Ok(self.get(&this)?.vocabulary_size())
    }

    async fn drop(&mut self, this: Resource<Tokenizer>) -> wasmtime::Result<()> {
        self.take(this).map(drop)
    }
}

/// The grant. A plugin that imports the interface without it is not loaded.
fn codec(state: &GuestState) -> wasmtime::Result<&Codec> {
    (state.plugin().abilities.codec.as_ref())
        .ok_or_else(|| wasmtime::format_err!("the plugin runs without its grant `codec`"))
}

/// Waits for work, where it is not done already.
fn finish<T: Send + 'static>(
    state: &GuestState,
    work: Work<T>,
) -> impl Future<Output = wasmtime::Result<Result<T, CodecError>>> + Send + use<T> {
    match work {
        Work::Done(result) => Either::Left(ready(Ok(result))),
        Work::Takes(work) => Either::Right(state.wait(work)),
    }
}

/// Gives the guest a tensor that was made for it: it counts against the instance's memory.
fn keep(state: &mut GuestState, tensor: &Tensor) -> wasmtime::Result<Resource<Tensor>> {
    let data = state.growth.hold(tensor.data().clone())?;
    let counted = Tensor::new(
        tensor.shared_name(),
        tensor.datatype(),
        tensor.shape().clone(),
        data,
    )?;
    state.keep(counted)
}

fn refuse<T>(state: &GuestState, error: CodecError) -> Given<T> {
    Ok(Err(match error {
        CodecError::Invalid(message) => invalid(None, message),
        CodecError::Misused(message) => Error::Failed(message),
        CodecError::TooLarge { bytes } => {
            state.growth.admit(bytes)?;
            Error::Failed(error.to_string())
        }
        CodecError::Cancelled => {
            Error::Unavailable("the server is stopping; try again later".to_owned())
        }
    }))
}

impl From<wit::ImageTensor> for ImageTarget {
    fn from(target: wit::ImageTensor) -> Self {
        Self {
            name: target.name.into(),
            width: target.width,
            height: target.height,
            fit: match target.fit {
                wit::Fit::Stretch => Fit::Stretch,
                wit::Fit::Cover => Fit::Cover,
                wit::Fit::Contain => Fit::Contain,
            },
            filter: match target.filter {
                wit::Filter::Nearest => Filter::Nearest,
                wit::Filter::Bilinear => Filter::Bilinear,
                wit::Filter::Bicubic => Filter::Bicubic,
                wit::Filter::Lanczos3 => Filter::Lanczos3,
            },
            channels: match target.channels {
                wit::Channels::Rgb => Channels::Rgb,
                wit::Channels::Bgr => Channels::Bgr,
                wit::Channels::Gray => Channels::Gray,
            },
            layout: match target.layout {
                wit::Layout::Nchw => Layout::Nchw,
                wit::Layout::Nhwc => Layout::Nhwc,
            },
            datatype: target.datatype.into(),
            scale: target.scale,
            mean: target.mean,
            deviation: target.deviation,
        }
    }
}
