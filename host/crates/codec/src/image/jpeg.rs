//! Decodes JPEG: the format of most images, and so without the copies and conversions of a common interface.

use image::metadata::Orientation;
use memchr::memmem;
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use super::Channels;
use super::decode::Decoded;
use super::raster::Raster;
use crate::CodecError;

/// The most scans of a progressive image. Encoders make some ten; a hostile file makes each cost a pass over all its pixels.
const MOST_SCANS: usize = 32;

/// A pixel in three bytes, and its coefficients in six where the image is progressive.
const BYTES_PER_PIXEL: u64 = 9;

/// Reads the header: the size, and about the memory that decoding takes.
pub(super) fn header(data: &[u8]) -> Result<((u32, u32), u64), CodecError> {
    let mut decoder = open(data);
    let size = read_header(&mut decoder)?;
    Ok((
        size,
        u64::from(size.0) * u64::from(size.1) * BYTES_PER_PIXEL,
    ))
}

/// Decodes an image whose header was read, and found to be within bounds. Where brightness is all that is wanted, the colours are left out: JPEG
/// stores them apart.
pub(super) fn decode(data: &[u8], channels: Channels) -> Result<Decoded, CodecError> {
    if !is_whole(data) {
        return Err(CodecError::invalid(
            "the image is cut off; send the whole file",
        ));
    }
    let mut decoder = open(data);
    let size = read_header(&mut decoder)?;
    let stored = decoder.input_colorspace();
    let gray = stored == Some(ColorSpace::Luma)
        || (stored == Some(ColorSpace::YCbCr) && channels == Channels::Gray);
    let (samples, space) = if gray {
        (1, ColorSpace::Luma)
    } else {
        (3, ColorSpace::RGB)
    };
    let options = decoder.options().jpeg_set_out_colorspace(space);
    decoder.set_options(options);
    let pixels = decoder.decode().map_err(|error| broken(&error))?;
    if pixels.len() != size.0 as usize * size.1 as usize * samples {
        return Err(CodecError::invalid(
            "the image has pixels of an unknown kind; send it as RGB",
        ));
    }
    let orientation = decoder
        .exif()
        .and_then(|exif| Orientation::from_exif_chunk(exif))
        .unwrap_or(Orientation::NoTransforms);
    Ok(Decoded {
        raster: Raster::new(size, samples, pixels),
        orientation,
    })
}

/// Faults that other decoders read past are read past here too; what is missing is not.
fn open(data: &[u8]) -> JpegDecoder<ZCursor<&[u8]>> {
    let options = DecoderOptions::default()
        .set_strict_mode(false)
        .set_max_width(usize::from(u16::MAX))
        .set_max_height(usize::from(u16::MAX))
        .jpeg_set_max_scans(MOST_SCANS);
    JpegDecoder::new_with_options(ZCursor::new(data), options)
}

fn read_header(decoder: &mut JpegDecoder<ZCursor<&[u8]>>) -> Result<(u32, u32), CodecError> {
    decoder.decode_headers().map_err(|error| broken(&error))?;
    let (width, height) = decoder.dimensions().unwrap_or_default();
    Ok((width as u32, height as u32))
}

/// Whether an end follows the first scan. The decoder would fill up what is missing with gray.
fn is_whole(data: &[u8]) -> bool {
    let mut at = 2;
    while let Some(&[0xff, marker]) = data.get(at..at + 2) {
        // Bytes that fill up to a marker, and markers without a segment.
        if marker == 0xff {
            at += 1;
            continue;
        }
        if matches!(marker, 0x01 | 0xd0..=0xd8) {
            at += 2;
            continue;
        }
        let Some(&[high, low]) = data.get(at + 2..at + 4) else {
            return false;
        };
        at += 2 + usize::from(u16::from_be_bytes([high, low])).max(2);
        if marker == 0xda {
            break;
        }
    }
    // In a scan 0xff is followed by 0, so that this is found nowhere else in it.
    data.get(at..)
        .is_some_and(|rest| memmem::find(rest, &[0xff, 0xd9]).is_some())
}

fn broken(error: &DecodeErrors) -> CodecError {
    CodecError::invalid(format!("the image cannot be decoded: {error:?}"))
}
