//! Turns a PNG or JPEG picture into a tensor: decode, resize, normalise, lay out. `README.md` has the settings.

mod decode;
mod resize;
mod settings;
#[cfg(test)]
mod tests;

use wharf_plugin_sdk::{
    Error, Lifecycle, Metric, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

use settings::{Datatype, Layout, Ready, Settings};

/// Pictures that became tensors.
const PICTURES: Metric = Metric::counter(
    "image_to_tensor_pictures_total",
    "Pictures turned into tensors.",
);

struct ImageToTensor {
    settings: Ready,
}

impl Plugin for ImageToTensor {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            settings: settings.check()?,
        })
    }
}

impl Preprocess for ImageToTensor {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let settings = &self.settings;
        let body = input.body()?;
        let (length, max) = (body.byte_length(), settings.max_bytes);
        // Before it is copied: a copy of all that the host takes need not fit into the plugin's memory.
        if length > max {
            let message =
                format!("has {length} bytes, and at most {max} are taken: send a smaller picture");
            return Err(Error::invalid_field(decode::FIELD, message));
        }
        let picture = decode::decode(&body.bytes(), settings)?;
        let pixels = resize::resize(&picture, settings.width, settings.height, settings.filter);
        PICTURES.add(1);
        Ok(tensor(settings, &pixels)?.into())
    }
}

impl Lifecycle for ImageToTensor {
    const METRICS: &'static [Metric] = &[PICTURES];
}

wharf_plugin_sdk::export!(ImageToTensor: preprocess, lifecycle);

/// Makes the tensor of pixels that lie row by row, the channels of a pixel side by side, from 0 to 255.
fn tensor(settings: &Ready, pixels: &[f32]) -> Result<Tensor> {
    let (width, height, channels) = (settings.width, settings.height, settings.channels.count());
    let (w, h, c) = (width as u64, height as u64, channels as u64);
    let shape = match settings.layout {
        Layout::Nchw => vec![1, c, h, w],
        Layout::Nhwc => vec![1, h, w, c],
        Layout::Flat => vec![1, h * w * c],
    };
    match settings.datatype {
        Datatype::Fp32 => {
            let value = |pixel: f32, channel: usize| {
                let (factor, offset) = settings.normalise[channel];
                pixel * factor + offset
            };
            Tensor::new(&settings.name, &shape, &lay_out(settings, pixels, value))
        }
        Datatype::Uint8 => {
            let value = |pixel: f32, _channel| {
                if settings.invert {
                    255 - round(pixel)
                } else {
                    round(pixel)
                }
            };
            Tensor::new(&settings.name, &shape, &lay_out(settings, pixels, value))
        }
    }
}

fn round(pixel: f32) -> u8 {
    // A cast saturates, so filters that overshoot stay in range.
    (pixel + 0.5) as u8
}

fn lay_out<T>(settings: &Ready, pixels: &[f32], value: impl Fn(f32, usize) -> T) -> Vec<T> {
    let channels = settings.channels.count();
    let mut values = Vec::with_capacity(pixels.len());
    match settings.layout {
        Layout::Nchw => {
            for channel in 0..channels {
                values.extend(
                    pixels
                        .iter()
                        .skip(channel)
                        .step_by(channels)
                        .map(|pixel| value(*pixel, channel)),
                );
            }
        }
        Layout::Nhwc | Layout::Flat => {
            for pixel in pixels.chunks_exact(channels) {
                values.extend(
                    pixel
                        .iter()
                        .enumerate()
                        .map(|(channel, pixel)| value(*pixel, channel)),
                );
            }
        }
    }
    values
}
