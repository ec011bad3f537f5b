//! From the bytes of a client to samples. The bytes are hostile until they are decoded: every length is checked against what is
//! there before anything is allocated.

use wharf_plugin_sdk::{Error, Result};

use crate::settings::{Ready, Resample};

/// What the client gets as the field of an error: the file is the whole body.
pub(crate) const FIELD: &str = "body";

/// The most channels of a file.
const MAX_CHANNELS: usize = 64;

/// The length that a chunk says where its writer did not know it: all that follows belongs to it.
const UNKNOWN_LENGTH: usize = u32::MAX as usize;

/// Decodes a WAV file into one channel of samples from -1 to 1, at the sample rate of the settings.
pub(crate) fn decode(bytes: &[u8], settings: &Ready) -> Result<Vec<f32>> {
    let (format, data) = parse(bytes)?;
    let count = data.len() / format.block();
    if count == 0 {
        return Err(refuse("has no samples"));
    }
    if format.rate != settings.sample_rate && settings.resample == Resample::Refuse {
        return Err(refuse(format!(
            "has {} samples a second, and {} are taken: resample it",
            format.rate, settings.sample_rate
        )));
    }
    // Before a resampler makes many samples of few.
    let seconds = count as f64 / f64::from(format.rate);
    if seconds > settings.max_seconds {
        return Err(refuse(format!(
            "has {seconds:.1} seconds, and at most {} are taken",
            settings.max_seconds
        )));
    }
    let samples = mix(&format, data)?;
    if format.rate == settings.sample_rate {
        return Ok(samples);
    }
    Ok(resample(&samples, format.rate, settings.sample_rate))
}

/// What the chunk `fmt ` says.
struct Format {
    encoding: Encoding,
    channels: usize,
    rate: u32,
}

#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Pcm8,
    Pcm16,
    Pcm24,
    Pcm32,
    Float32,
}

impl Encoding {
    fn width(self) -> usize {
        match self {
            Self::Pcm8 => 1,
            Self::Pcm16 => 2,
            Self::Pcm24 => 3,
            Self::Pcm32 | Self::Float32 => 4,
        }
    }
}

impl Format {
    /// The bytes of one sample of every channel.
    fn block(&self) -> usize {
        self.encoding.width() * self.channels
    }

    fn read(chunk: &[u8]) -> Result<Self> {
        let word = |at: usize| {
            chunk
                .get(at..at + 2)
                .map(|two| u16::from_le_bytes([two[0], two[1]]))
        };
        let (Some(tag), Some(channels), Some(rate), Some(block), Some(bits)) = (
            word(0),
            word(2),
            chunk.get(4..8).and_then(|four| four.try_into().ok()),
            word(12),
            word(14),
        ) else {
            return Err(refuse("has a chunk `fmt ` that is cut off"));
        };
        // An extensible format has its tag in the first two bytes of a GUID.
        let tag = if tag == 0xfffe {
            word(24).unwrap_or(tag)
        } else {
            tag
        };
        let encoding = match (tag, bits) {
            (1, 8) => Encoding::Pcm8,
            (1, 16) => Encoding::Pcm16,
            (1, 24) => Encoding::Pcm24,
            (1, 32) => Encoding::Pcm32,
            (3, 32) => Encoding::Float32,
            _ => {
                return Err(refuse(format!(
                    "has the format {tag} with {bits} bits: send PCM of 8, 16, 24 or 32 bits, or float of 32"
                )));
            }
        };
        let format = Self {
            encoding,
            channels: usize::from(channels),
            rate: u32::from_le_bytes(rate),
        };
        if !(1..=MAX_CHANNELS).contains(&format.channels) {
            return Err(refuse(format!(
                "has {channels} channels, and 1 to {MAX_CHANNELS} are taken"
            )));
        }
        if !(100..=1_000_000).contains(&format.rate) {
            return Err(refuse(format!("says {} samples a second", format.rate)));
        }
        if usize::from(block) != format.block() {
            return Err(refuse(format!(
                "says {block} bytes for the samples of one time, and they take {}",
                format.block()
            )));
        }
        Ok(format)
    }
}

/// Finds the chunks `fmt ` and `data`; others are passed over.
fn parse(bytes: &[u8]) -> Result<(Format, &[u8])> {
    if bytes.is_empty() {
        return Err(refuse("is empty: send a WAV file"));
    }
    let mut rest = match bytes.split_at_checked(12) {
        Some((head, rest)) if head.starts_with(b"RIFF") && head.ends_with(b"WAVE") => rest,
        _ => return Err(refuse("is no WAV file")),
    };
    let mut format = None;
    loop {
        let Some((head, after)) = rest.split_first_chunk::<8>() else {
            return Err(refuse("has no chunk `data`, or is cut off before it"));
        };
        let [a, b, c, d, length @ ..] = *head;
        let length = u32::from_le_bytes(length) as usize;
        let is_data = [a, b, c, d] == *b"data";
        if is_data && length == UNKNOWN_LENGTH {
            let format = format.ok_or_else(no_format)?;
            return Ok((format, after));
        }
        let Some((chunk, after)) = after.split_at_checked(length) else {
            return Err(refuse(format!(
                "is cut off: a chunk has {length} bytes, and {} are there",
                after.len()
            )));
        };
        if is_data {
            return Ok((format.ok_or_else(no_format)?, chunk));
        }
        if [a, b, c, d] == *b"fmt " {
            format = Some(Format::read(chunk)?);
        }
        // A chunk of odd length is followed by one byte of padding.
        rest = after.get(length % 2..).unwrap_or_default();
    }
}

fn no_format() -> Error {
    refuse("has no chunk `fmt ` before its data")
}

/// The mean of the channels.
fn mix(format: &Format, data: &[u8]) -> Result<Vec<f32>> {
    let samples = match format.encoding {
        Encoding::Pcm8 => channels(format, data, |[byte]: [u8; 1]| {
            (f32::from(byte) - 128.0) / 128.0
        }),
        Encoding::Pcm16 => channels(format, data, |bytes| {
            f32::from(i16::from_le_bytes(bytes)) / 32_768.0
        }),
        Encoding::Pcm24 => channels(format, data, |[a, b, c]: [u8; 3]| {
            (i32::from_le_bytes([0, a, b, c]) >> 8) as f32 / 8_388_608.0
        }),
        Encoding::Pcm32 => channels(format, data, |bytes| {
            (f64::from(i32::from_le_bytes(bytes)) / 2_147_483_648.0) as f32
        }),
        Encoding::Float32 => channels(format, data, f32::from_le_bytes),
    };
    if format.encoding == Encoding::Float32
        && let Some(index) = samples.iter().position(|sample| !sample.is_finite())
    {
        return Err(refuse(format!(
            "has a sample that is no finite number, at {index}"
        )));
    }
    Ok(samples)
}

fn channels<const N: usize>(
    format: &Format,
    data: &[u8],
    sample: impl Fn([u8; N]) -> f32,
) -> Vec<f32> {
    // Bytes after the last whole sample are passed over: they are padding.
    let (samples, _) = data.as_chunks::<N>();
    if format.channels == 1 {
        return samples.iter().map(|bytes| sample(*bytes)).collect();
    }
    let share = 1.0 / format.channels as f32;
    samples
        .chunks_exact(format.channels)
        .map(|block| block.iter().map(|bytes| sample(*bytes)).sum::<f32>() * share)
        .collect()
}

fn resample(samples: &[f32], from: u32, to: u32) -> Vec<f32> {
    let count = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from));
    let last = samples.len() - 1;
    (0..count)
        .map(|index| {
            // Exact, however long the sound is.
            let place = index * u64::from(from);
            let before = ((place / u64::from(to)) as usize).min(last);
            let part = (place % u64::from(to)) as f32 / to as f32;
            let (a, b) = (samples[before], samples[(before + 1).min(last)]);
            a + (b - a) * part
        })
        .collect()
}

fn refuse(message: impl Into<String>) -> Error {
    Error::invalid_field(FIELD, message)
}
