//! From the bytes of a client to pixels. The bytes are hostile until they are decoded: sizes are checked from the header,
//! before any pixel is decoded.

use std::io::Cursor;

use wharf_plugin_sdk::{Error, Result};
use zune_core::bytestream::ZCursor;
use zune_core::colorspace::ColorSpace;
use zune_core::options::DecoderOptions;
use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;

use crate::settings::{Channels, Ready};

/// What the client gets as the field of an error: the picture is the whole body.
pub(crate) const FIELD: &str = "body";

/// A decoded picture, row by row, one or three bytes a pixel as the settings want.
pub(crate) struct Picture {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
}

/// Decodes a PNG or JPEG, told apart by its first bytes.
pub(crate) fn decode(bytes: &[u8], settings: &Ready) -> Result<Picture> {
    match bytes {
        [0x89, b'P', b'N', b'G', ..] => png(bytes, settings),
        [0xff, 0xd8, 0xff, ..] => jpeg(bytes, settings),
        [] => Err(Error::invalid_field(
            FIELD,
            "is empty: send a PNG or JPEG picture",
        )),
        _ => Err(Error::invalid_field(FIELD, "is neither PNG nor JPEG")),
    }
}

fn png(bytes: &[u8], settings: &Ready) -> Result<Picture> {
    let broken =
        |error| Error::invalid_field(FIELD, format!("is a PNG that cannot be decoded: {error}"));
    // Beside the pixels a PNG may hold compressed texts and profiles; this bounds what they may inflate to.
    let limits = png::Limits {
        bytes: settings.max_pixels.saturating_mul(4),
    };
    let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder.set_ignore_text_chunk(true);
    let mut reader = decoder.read_info().map_err(broken)?;
    let (width, height) = size(
        reader.info().width as usize,
        reader.info().height as usize,
        settings,
    )?;
    let length = reader.output_buffer_size();
    let length =
        length.ok_or_else(|| Error::invalid_field(FIELD, "is a PNG too large to be decoded"))?;
    let mut pixels = vec![0; length];
    let frame = reader.next_frame(&mut pixels).map_err(broken)?;
    pixels.truncate(frame.buffer_size());
    let samples = frame.color_type.samples();
    let pixels = convert(&pixels, samples, settings);
    Ok(Picture {
        width,
        height,
        channels: settings.channels.count(),
        pixels,
    })
}

fn jpeg(bytes: &[u8], settings: &Ready) -> Result<Picture> {
    let broken = |error: DecodeErrors| {
        let reason = reason(&error);
        Error::invalid_field(FIELD, format!("is a JPEG that cannot be decoded: {reason}"))
    };
    let color = match settings.channels {
        Channels::Grayscale => ColorSpace::Luma,
        Channels::Rgb => ColorSpace::RGB,
    };
    // Strict: a truncated file is an error, not a picture that is grey below.
    let options = DecoderOptions::new_safe()
        .set_strict_mode(true)
        .jpeg_set_out_colorspace(color);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
    decoder.decode_headers().map_err(broken)?;
    let info = decoder
        .info()
        .ok_or_else(|| Error::invalid_field(FIELD, "is a JPEG without a size"))?;
    let (width, height) = size(usize::from(info.width), usize::from(info.height), settings)?;
    let pixels = decoder.decode().map_err(broken)?;
    let samples = pixels.len() / (width * height);
    if !(1..=4).contains(&samples) || pixels.len() != samples * width * height {
        return Err(Error::invalid_field(
            FIELD,
            "is a JPEG in a colour space that is not supported",
        ));
    }
    let pixels = convert(&pixels, samples, settings);
    Ok(Picture {
        width,
        height,
        channels: settings.channels.count(),
        pixels,
    })
}

/// What a client can do something with: the decoder's own texts are for its developers.
fn reason(error: &DecodeErrors) -> &'static str {
    match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => "it is cut off",
        DecodeErrors::Unsupported(_) => {
            "its coding is not supported; send a baseline or progressive JPEG"
        }
        DecodeErrors::LargeDimensions(_) => "its sides are too long; send a smaller one",
        DecodeErrors::ZeroError => "it has no pixels",
        _ => "it is damaged",
    }
}

fn size(width: usize, height: usize, settings: &Ready) -> Result<(usize, usize)> {
    let max = settings.max_pixels;
    match width.checked_mul(height) {
        Some(0) => Err(Error::invalid_field(FIELD, "is a picture without pixels")),
        Some(pixels) if pixels <= max => Ok((width, height)),
        _ => Err(Error::invalid_field(
            FIELD,
            format!(
                "is a picture of {width} x {height}, and at most {max} pixels are decoded: send a smaller one"
            ),
        )),
    }
}

/// Turns pixels of 1 to 4 samples (grey, grey and alpha, RGB, RGBA) into those of the settings. Where a picture is
/// transparent, the background shows.
fn convert(pixels: &[u8], samples: usize, settings: &Ready) -> Vec<u8> {
    let wanted = settings.channels;
    if samples == wanted.count() {
        return pixels.to_vec();
    }
    let background = u32::from(settings.background);
    let blend = |value: u8, alpha: u8| {
        let alpha = u32::from(alpha);
        ((u32::from(value) * alpha + background * (255 - alpha) + 127) / 255) as u8
    };
    let mut converted = Vec::with_capacity(pixels.len() / samples * wanted.count());
    for pixel in pixels.chunks_exact(samples) {
        let [red, green, blue] = match *pixel {
            [grey] => [grey; 3],
            [grey, alpha] => [blend(grey, alpha); 3],
            [red, green, blue] => [red, green, blue],
            [red, green, blue, alpha] => {
                [blend(red, alpha), blend(green, alpha), blend(blue, alpha)]
            }
            _ => [settings.background; 3],
        };
        match wanted {
            Channels::Grayscale => converted.push(luma(red, green, blue)),
            Channels::Rgb => converted.extend([red, green, blue]),
        }
    }
    converted
}

/// ITU-R 601 luma in 16-bit fixed point.
fn luma(red: u8, green: u8, blue: u8) -> u8 {
    ((19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + 0x8000) >> 16)
        as u8
}
