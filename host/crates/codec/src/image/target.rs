//! What an image is to become.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Datatype, Tensor};

use crate::CodecError;

/// The longest side of a target, in pixels.
const LONGEST_SIDE: u32 = 16_384;

/// How an image is brought to a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// Its proportions are given up.
    Stretch,
    /// It covers the size, and what stands over is cut off evenly.
    Cover,
    /// It is wholly inside, in the middle; the rest is black.
    Contain,
}

/// How pixels are made when the size changes. When an image shrinks, all but the nearest take every pixel into account that falls into one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// The nearest one.
    Nearest,
    /// Linear between neighbours.
    Bilinear,
    /// Cubic (Catmull-Rom).
    Bicubic,
    /// Lanczos with three lobes.
    Lanczos3,
}

/// The order of the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One channel of brightness, by ITU-R BT.601: 0.299 red, 0.587 green, 0.114 blue.
    Gray,
}

impl Channels {
    /// How many there are.
    #[must_use]
    pub fn count(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            Self::Gray => 1,
        }
    }
}

/// The order of the dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// `[1, channels, height, width]`.
    Nchw,
    /// `[1, height, width, channels]`.
    Nhwc,
}

/// The tensor that an image becomes.
#[derive(Clone, Debug)]
pub struct ImageTarget {
    /// The name of the tensor.
    pub name: Arc<str>,
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// How the image is brought to this size.
    pub fit: Fit,
    /// How pixels are made.
    pub filter: Filter,
    /// The order of the colours.
    pub channels: Channels,
    /// The order of the dimensions.
    pub layout: Layout,
    /// `UINT8`, which leaves pixels as they are, `FP32` or `FP16`.
    pub datatype: Datatype,
    /// What each pixel, 0 to 255, is multiplied by first. For floats alone: 1 for `UINT8`.
    pub scale: f32,
    /// What is then taken off, by channel in the tensor's order; empty for nothing. For floats alone.
    pub mean: Vec<f32>,
    /// What the rest is divided by, by channel in the tensor's order; empty for 1. For floats alone.
    pub deviation: Vec<f32>,
}

impl ImageTarget {
    /// What the tensor takes, in bytes.
    ///
    /// # Errors
    /// [`CodecError::Misused`] where no image can become this.
    pub fn byte_len(&self) -> Result<usize, CodecError> {
        let Self { width, height, .. } = *self;
        if !(1..=LONGEST_SIDE).contains(&width) || !(1..=LONGEST_SIDE).contains(&height) {
            return Err(CodecError::misused(format!(
                "a tensor of {width} x {height} pixels cannot be made: give sides from 1 to {LONGEST_SIDE}"
            )));
        }
        let size = match self.datatype {
            Datatype::Uint8 => 1,
            Datatype::Fp16 => 2,
            Datatype::Fp32 => 4,
            other => {
                return Err(CodecError::misused(format!(
                    "an image becomes UINT8, FP16 or FP32, and not {other}"
                )));
            }
        };
        self.check_floats()?;
        Ok(width as usize * height as usize * self.channels.count() * size)
    }

    fn check_floats(&self) -> Result<(), CodecError> {
        let Self {
            scale,
            mean,
            deviation,
            ..
        } = self;
        if self.datatype == Datatype::Uint8
            && (*scale != 1.0 || !mean.is_empty() || !deviation.is_empty())
        {
            return Err(CodecError::misused(
                "UINT8 leaves pixels as they are: give the scale 1, and neither mean nor deviation",
            ));
        }
        let count = self.channels.count();
        for (what, values) in [("mean", mean), ("deviation", deviation)] {
            if !values.is_empty() && values.len() != count {
                return Err(CodecError::misused(format!(
                    "there are {count} channels: give the {what} {count} values, or none"
                )));
            }
        }
        let finite = |values: &[f32]| values.iter().all(|value| value.is_finite());
        if !scale.is_finite() || !finite(mean) || !finite(deviation) {
            return Err(CodecError::misused(
                "scale, mean and deviation must be finite numbers",
            ));
        }
        if deviation.contains(&0.0) {
            return Err(CodecError::misused("a deviation must not be 0"));
        }
        Ok(())
    }

    /// What a pixel of this value becomes in a channel.
    pub(super) fn value(&self, channel: usize, pixel: u8) -> f32 {
        let mean = self.mean.get(channel).copied().unwrap_or(0.0);
        let deviation = self.deviation.get(channel).copied().unwrap_or(1.0);
        (f32::from(pixel) * self.scale - mean) / deviation
    }

    pub(super) fn tensor(&self, data: Bytes) -> Result<Tensor, CodecError> {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let channels = self.channels.count() as u64;
        let shape = match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        };
        Tensor::new(Arc::clone(&self.name), self.datatype, shape, data)
            .map_err(|error| CodecError::misused(error.to_string()))
    }
}
