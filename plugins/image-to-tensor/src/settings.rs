//! The settings, and what they mean once they are checked.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

/// The longest side of a tensor.
const MAX_SIDE: usize = 4096;

/// `[settings]` of `plugins/image-to-tensor.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    width: usize,
    height: usize,
    #[serde(default)]
    channels: Channels,
    #[serde(default)]
    layout: Layout,
    #[serde(default)]
    filter: Filter,
    #[serde(default)]
    datatype: Datatype,
    #[serde(default = "default_name")]
    name: String,
    scale: Option<f32>,
    mean: Option<Vec<f32>>,
    std: Option<Vec<f32>>,
    #[serde(default)]
    invert: bool,
    #[serde(default = "default_background")]
    background: u8,
    #[serde(default = "default_max_pixels")]
    max_pixels: usize,
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
}

/// What the values of a pixel are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channels {
    /// One: ITU-R 601 luma.
    Grayscale,
    /// Three: red, green, blue.
    #[default]
    Rgb,
}

impl Channels {
    pub(crate) fn count(self) -> usize {
        match self {
            Self::Grayscale => 1,
            Self::Rgb => 3,
        }
    }
}

/// The dimensions of the tensor.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// `[1, channels, height, width]`.
    #[default]
    Nchw,
    /// `[1, height, width, channels]`.
    Nhwc,
    /// `[1, height * width * channels]`, in the order of `Nhwc`.
    Flat,
}

/// How pixels become others when the size changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Filter {
    /// The pixel in the middle.
    Nearest,
    /// The mean of the area.
    Box,
    /// The mean weighted by the distance, over twice the area.
    #[default]
    Bilinear,
}

/// The element type of the tensor.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Datatype {
    /// `(pixel * scale - mean) / std`.
    #[default]
    Fp32,
    /// The pixel, 0 to 255.
    Uint8,
}

/// Settings that were checked.
pub(crate) struct Ready {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: Channels,
    pub(crate) layout: Layout,
    pub(crate) filter: Filter,
    pub(crate) datatype: Datatype,
    pub(crate) name: String,
    pub(crate) invert: bool,
    pub(crate) background: u8,
    pub(crate) max_pixels: usize,
    pub(crate) max_bytes: u64,
    /// Factor and offset of each channel, for pixels from 0 to 255: scale, mean, std and inversion in one step.
    pub(crate) normalise: Vec<(f32, f32)>,
}

impl Settings {
    pub(crate) fn check(self) -> Result<Ready> {
        for (name, side) in [("width", self.width), ("height", self.height)] {
            if !(1..=MAX_SIDE).contains(&side) {
                return Err(Error::invalid_field(
                    name,
                    format!("give a number of pixels from 1 to {MAX_SIDE}"),
                ));
            }
        }
        if self.name.is_empty() {
            return Err(Error::invalid_field(
                "name",
                "give the name of the model's input",
            ));
        }
        if self.max_pixels == 0 {
            return Err(Error::invalid_field(
                "max_pixels",
                "give the pixels of the largest picture that is decoded",
            ));
        }
        if self.max_bytes == 0 {
            return Err(Error::invalid_field(
                "max_bytes",
                "give the bytes of the largest body that is decoded",
            ));
        }
        let normalise = self.normalise()?;
        let Self {
            width,
            height,
            channels,
            layout,
            filter,
            datatype,
            name,
            invert,
            background,
            max_pixels,
            max_bytes,
            ..
        } = self;
        Ok(Ready {
            width,
            height,
            channels,
            layout,
            filter,
            datatype,
            name,
            invert,
            background,
            max_pixels,
            max_bytes,
            normalise,
        })
    }

    fn normalise(&self) -> Result<Vec<(f32, f32)>> {
        if let Datatype::Uint8 = self.datatype {
            let given = [
                ("scale", self.scale.is_some()),
                ("mean", self.mean.is_some()),
                ("std", self.std.is_some()),
            ];
            if let Some((name, _)) = given.into_iter().find(|(_, given)| *given) {
                return Err(Error::invalid_field(
                    name,
                    "has no meaning for the datatype `uint8`: leave it out",
                ));
            }
        }
        let scale = self.scale.unwrap_or(1.0 / 255.0);
        if !scale.is_finite() || scale == 0.0 {
            return Err(Error::invalid_field("scale", "give a number other than 0"));
        }
        let means = self.by_channel("mean", self.mean.as_deref(), 0.0)?;
        let stds = self.by_channel("std", self.std.as_deref(), 1.0)?;
        if stds.contains(&0.0) {
            return Err(Error::invalid_field("std", "give numbers other than 0"));
        }
        let pairs = means.into_iter().zip(stds).map(|(mean, std)| {
            let (factor, offset) = if self.invert {
                (-scale, 255.0 * scale)
            } else {
                (scale, 0.0)
            };
            (factor / std, (offset - mean) / std)
        });
        Ok(pairs.collect())
    }

    /// A number for each channel; one number serves all.
    fn by_channel(&self, name: &str, given: Option<&[f32]>, default: f32) -> Result<Vec<f32>> {
        let count = self.channels.count();
        match given {
            None => Ok(vec![default; count]),
            Some(numbers) if !numbers.iter().all(|number| number.is_finite()) => {
                Err(Error::invalid_field(name, "give finite numbers"))
            }
            Some([number]) => Ok(vec![*number; count]),
            Some(numbers) if numbers.len() == count => Ok(numbers.to_vec()),
            Some(numbers) => Err(Error::invalid_field(
                name,
                format!(
                    "has {} numbers, and the picture {count} channels: give one number, or one a channel",
                    numbers.len()
                ),
            )),
        }
    }
}

fn default_name() -> String {
    "input".to_owned()
}

fn default_background() -> u8 {
    255
}

fn default_max_pixels() -> usize {
    16 * 1024 * 1024
}

fn default_max_bytes() -> u64 {
    16 * 1024 * 1024
}
