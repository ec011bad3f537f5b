//! What an image is, and what it is to become.

use crate::Datatype;

/// What an image is, by its header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageInfo {
    /// The width in pixels.
    pub width: u32,
    /// The height in pixels.
    pub height: u32,
    /// `jpeg`, `png`, `gif`, `bmp`, `webp` or `tiff`.
    pub format: String,
}

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

/// How pixels are made when the size changes. When an image shrinks, all but the nearest take every pixel into account that falls into one, as
/// Pillow does.
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
    /// One channel of brightness, by ITU-R BT.601.
    Gray,
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
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ImageTensor {
    /// The name of the tensor.
    pub name: String,
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
    /// `UINT8`, `FP32` or `FP16`.
    pub datatype: Datatype,
    /// What each pixel, 0 to 255, is multiplied by first.
    pub scale: f32,
    /// What is then taken off, by channel in the order of the tensor; empty for nothing.
    pub mean: Vec<f32>,
    /// What the rest is divided by, by channel in the order of the tensor; empty for 1.
    pub deviation: Vec<f32>,
}

impl ImageTensor {
    /// A tensor of `FP32` from 0 to 1, `[1, 3, height, width]`, of red, green and blue, to which images are stretched with bilinear pixels.
    pub fn new(name: &str, width: u32, height: u32) -> Self {
        Self {
            name: name.to_owned(),
            width,
            height,
            fit: Fit::Stretch,
            filter: Filter::Bilinear,
            channels: Channels::Rgb,
            layout: Layout::Nchw,
            datatype: Datatype::Fp32,
            scale: 1.0 / 255.0,
            mean: Vec::new(),
            deviation: Vec::new(),
        }
    }

    /// The same, but brought to its size in another way.
    #[must_use]
    pub fn with_fit(self, fit: Fit) -> Self {
        Self { fit, ..self }
    }

    /// The same with other pixels where the size changes.
    #[must_use]
    pub fn with_filter(self, filter: Filter) -> Self {
        Self { filter, ..self }
    }

    /// The same with other colours.
    #[must_use]
    pub fn with_channels(self, channels: Channels) -> Self {
        Self { channels, ..self }
    }

    /// The same with another order of dimensions.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// The same in `FP16`.
    #[must_use]
    pub fn with_halves(self) -> Self {
        Self {
            datatype: Datatype::Fp16,
            ..self
        }
    }

    /// The same in `UINT8`: pixels from 0 to 255 as they are, neither scaled nor normalised.
    #[must_use]
    pub fn with_pixels(self) -> Self {
        Self {
            datatype: Datatype::Uint8,
            scale: 1.0,
            mean: Vec::new(),
            deviation: Vec::new(),
            ..self
        }
    }

    /// The same with another factor for each pixel: 1 leaves 0 to 255.
    #[must_use]
    pub fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    /// The same, but each channel, once it is scaled, has its mean taken off and is divided by its deviation.
    #[must_use]
    pub fn with_normalization(self, mean: &[f32], deviation: &[f32]) -> Self {
        Self {
            mean: mean.to_vec(),
            deviation: deviation.to_vec(),
            ..self
        }
    }

    /// The shape of the tensor.
    pub fn shape(&self) -> [u64; 4] {
        let channels = match self.channels {
            Channels::Rgb | Channels::Bgr => 3,
            Channels::Gray => 1,
        };
        let (width, height) = (self.width.into(), self.height.into());
        match self.layout {
            Layout::Nchw => [1, channels, height, width],
            Layout::Nhwc => [1, height, width, channels],
        }
    }
}
