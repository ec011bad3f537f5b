//! From the bytes of an image to a tensor: header, bounds, decoding, resizing, and one pass that writes the tensor.

mod decode;
mod jpeg;
mod orientation;
mod raster;
mod resize;
mod target;
mod write;

use bytes::Bytes;
use wharf_core::{AlignedBytes, Tensor};

use crate::CodecError;
use crate::guard::guarded;

pub use target::{Channels, Filter, Fit, ImageTarget, Layout};

/// The longest side of an image that is decoded, in pixels: that of JPEG. Longer ones would make the resizer's tables large.
const LONGEST_SIDE: u32 = 65_535;

/// The formats of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// JPEG, baseline and progressive.
    Jpeg,
    /// PNG; of an animated one, the image that stands for it.
    Png,
    /// GIF; of an animated one, the first frame.
    Gif,
    /// Windows bitmap.
    Bmp,
    /// WebP, lossy and lossless; of an animated one, the first frame.
    WebP,
    /// TIFF; the first of its images.
    Tiff,
}

impl Format {
    /// The name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Bmp => "bmp",
            Self::WebP => "webp",
            Self::Tiff => "tiff",
        }
    }

    fn of(data: &[u8]) -> Result<Self, CodecError> {
        match image::guess_format(data) {
            Ok(image::ImageFormat::Jpeg) => Ok(Self::Jpeg),
            Ok(image::ImageFormat::Png) => Ok(Self::Png),
            Ok(image::ImageFormat::Gif) => Ok(Self::Gif),
            Ok(image::ImageFormat::Bmp) => Ok(Self::Bmp),
            Ok(image::ImageFormat::WebP) => Ok(Self::WebP),
            Ok(image::ImageFormat::Tiff) => Ok(Self::Tiff),
            _ => Err(CodecError::invalid(
                "this is no image of a known format: send JPEG, PNG, GIF, BMP, WebP or TIFF",
            )),
        }
    }
}

/// An image whose header was read.
#[derive(Clone, Debug)]
pub struct Image {
    data: Bytes,
    format: Format,
    size: (u32, u32),
    decoding_bytes: u64,
}

impl Image {
    /// Reads the header.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] where it is no image of a known format, or an empty one.
    pub fn open(data: Bytes) -> Result<Self, CodecError> {
        let format = Format::of(&data)?;
        let (size, decoding_bytes) = guarded("image", || match format {
            Format::Jpeg => jpeg::header(&data),
            _ => decode::header(format, &data),
        })?;
        if size.0 == 0 || size.1 == 0 {
            return Err(CodecError::invalid("the image has no pixels"));
        }
        Ok(Self {
            data,
            format,
            size,
            decoding_bytes,
        })
    }

    /// The format.
    #[must_use]
    pub fn format(&self) -> Format {
        self.format
    }

    /// The size of the file in bytes.
    #[must_use]
    pub fn file_bytes(&self) -> usize {
        self.data.len()
    }

    /// The width in pixels, as stored: EXIF may say that it is shown turned.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.size.0
    }

    /// The height in pixels, as stored.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.size.1
    }

    /// How many pixels it has.
    #[must_use]
    pub fn pixels(&self) -> u64 {
        u64::from(self.size.0) * u64::from(self.size.1)
    }

    /// About the memory that it takes to make a tensor of it, in bytes, beside that of the tensor.
    #[must_use]
    pub fn working_bytes(&self, target: &ImageTarget) -> u64 {
        let longest = u64::from(self.size.0.max(self.size.1));
        let between = longest * u64::from(target.width.max(target.height)) * 3;
        let most = resize::MOST_BETWEEN * 3;
        self.decoding_bytes.saturating_add(between.min(most))
    }

    /// Decodes the image, upright by its EXIF orientation, and makes a tensor of it.
    ///
    /// # Errors
    /// [`CodecError::Invalid`] where it cannot be decoded, or has more than `most_pixels` pixels; [`CodecError::Misused`] where the target is
    /// impossible.
    pub fn tensor(&self, target: &ImageTarget, most_pixels: u64) -> Result<Tensor, CodecError> {
        let bytes = target.byte_len()?;
        self.check(most_pixels)?;
        guarded("image", || {
            let decoded = match self.format {
                Format::Jpeg => jpeg::decode(&self.data, target.channels)?,
                format => decode::decode(format, &self.data, most_pixels)?,
            };
            let placed = resize::resize(decoded, target)?;
            let mut data = AlignedBytes::zeroed(bytes);
            write::write(&placed, target, data.as_mut());
            target.tensor(data.into())
        })
    }

    fn check(&self, most_pixels: u64) -> Result<(), CodecError> {
        let (width, height) = self.size;
        if self.pixels() > most_pixels {
            return Err(CodecError::invalid(format!(
                "the image has {width} x {height} pixels; the most is {most_pixels}: send a smaller one"
            )));
        }
        if width.max(height) > LONGEST_SIDE {
            return Err(CodecError::invalid(format!(
                "the image has {width} x {height} pixels; no side may have more than {LONGEST_SIDE}: send a smaller one"
            )));
        }
        // Formats with 32 bits a channel take more than a pixel is worth.
        if self.decoding_bytes > most_pixels.saturating_mul(decode::BYTES_PER_PIXEL) {
            return Err(CodecError::invalid(
                "the image takes too much memory; send it with fewer pixels or bits",
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
