//! Decodes every format but JPEG, by the decoders of the crate `image`.

use std::io::Cursor;

use bytemuck::Pod;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};

use super::Format;
use super::raster::Raster;
use crate::CodecError;

/// The most memory that the decoding of a pixel may take, in bytes: 16 bits for each of four channels, twice.
pub(super) const BYTES_PER_PIXEL: u64 = 16;

/// Reading a header takes little memory, unless somebody wants it to take much.
const HEADER_BYTES: u64 = 16 << 20;

/// Pixels, and how they are turned to stand upright.
pub(super) struct Decoded {
    pub(super) raster: Raster,
    pub(super) orientation: Orientation,
}

/// Reads the header: the size, and about the memory that decoding takes.
pub(super) fn header(format: Format, data: &[u8]) -> Result<((u32, u32), u64), CodecError> {
    let decoder = open(format, data, HEADER_BYTES)?;
    // The decoders work in buffers of their own beside the result.
    Ok((
        decoder.dimensions(),
        decoder.total_bytes().saturating_mul(2),
    ))
}

/// Decodes an image whose header was read, and found to be within bounds.
pub(super) fn decode(format: Format, data: &[u8], most_pixels: u64) -> Result<Decoded, CodecError> {
    let most_bytes = most_pixels
        .saturating_mul(BYTES_PER_PIXEL)
        .max(HEADER_BYTES);
    let mut decoder = open(format, data, most_bytes)?;
    // A wrong EXIF block does not make an image unreadable.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let size = decoder.dimensions();
    let (samples, data) = samples(decoder)?;
    Ok(Decoded {
        raster: Raster::new(size, samples, data),
        orientation,
    })
}

fn open(
    format: Format,
    data: &[u8],
    most_bytes: u64,
) -> Result<impl ImageDecoder + '_, CodecError> {
    let known = match format {
        Format::Jpeg => ImageFormat::Jpeg,
        Format::Png => ImageFormat::Png,
        Format::Gif => ImageFormat::Gif,
        Format::Bmp => ImageFormat::Bmp,
        Format::WebP => ImageFormat::WebP,
        Format::Tiff => ImageFormat::Tiff,
    };
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(most_bytes);
    let mut reader = ImageReader::with_format(Cursor::new(data), known);
    reader.limits(limits);
    reader.into_decoder().map_err(|error| broken(&error))
}

/// The samples in 8 bits, and how many a pixel has.
fn samples(decoder: impl ImageDecoder) -> Result<(usize, Vec<u8>), CodecError> {
    let color = decoder.color_type();
    let data = match color {
        ColorType::L8 | ColorType::La8 | ColorType::Rgb8 | ColorType::Rgba8 => read(decoder)?,
        ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16 => {
            read::<u16>(decoder)?.into_iter().map(narrow).collect()
        }
        ColorType::Rgb32F | ColorType::Rgba32F => read::<f32>(decoder)?
            .into_iter()
            .map(|value| (value.clamp(0.0, 1.0) * 255.0).round() as u8)
            .collect(),
        _ => {
            return Err(CodecError::invalid(
                "the image has pixels of an unknown kind; send 8 or 16 bits a channel",
            ));
        }
    };
    Ok((usize::from(color.channel_count()), data))
}

fn read<T: Pod>(decoder: impl ImageDecoder) -> Result<Vec<T>, CodecError> {
    let bytes = usize::try_from(decoder.total_bytes())
        .map_err(|_| CodecError::invalid("the image is too large; send a smaller one"))?;
    let mut samples = vec![T::zeroed(); bytes / size_of::<T>()];
    decoder
        .read_image(bytemuck::cast_slice_mut(&mut samples))
        .map_err(|error| broken(&error))?;
    Ok(samples)
}

/// 16 bits in 8, rounded.
fn narrow(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// What a decoder says, for the client. It names no path: decoders are given bytes.
fn broken(error: &ImageError) -> CodecError {
    match error {
        ImageError::Limits(_) => {
            CodecError::invalid("the image takes too much memory; send a smaller one")
        }
        ImageError::Unsupported(_) => CodecError::invalid(format!(
            "the image is of an unusual kind: {error}; send it as a usual JPEG or PNG"
        )),
        _ => CodecError::invalid(format!("the image cannot be decoded: {error}")),
    }
}
