//! As large as a plugin with its libraries gets, 1 MB: what compiling and loading such a one takes is measured with it.
//!
//! Its libraries are chosen so that they make up that size: two decoders of pictures, and regular expressions with Unicode's words.
//!
//! A picture becomes its width and height, a text the count of its words; tensors pass through.

use regex::Regex;
use wharf_plugin_sdk::{
    Body, Error, Lifecycle, NoSettings, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

struct Bulky {
    word: Regex,
}

impl Plugin for Bulky {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self> {
        let word = Regex::new(r"\w+").map_err(|error| Error::failed(error.to_string()))?;
        Ok(Self { word })
    }
}

impl Preprocess for Bulky {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        match input {
            Payload::Body(body) => self.measure(&body),
            tensors @ Payload::Tensors(_) => Ok(tensors),
        }
    }
}

impl Bulky {
    fn measure(&self, body: &Body) -> Result<Payload> {
        let bytes = body.bytes();
        if body.media_type().starts_with("image/") {
            let picture = image::load_from_memory(&bytes)
                .map_err(|error| Error::invalid(error.to_string()))?;
            let sides = [picture.width() as f32, picture.height() as f32];
            return Ok(Tensor::new("x", &[1, 2], &sides)?.into());
        }
        let text = String::from_utf8_lossy(&bytes);
        let words = self.word.find_iter(&text).count() as f32;
        Ok(Tensor::new("x", &[1, 1], &[words])?.into())
    }
}

impl Lifecycle for Bulky {}

wharf_plugin_sdk::export!(Bulky: preprocess, lifecycle);
