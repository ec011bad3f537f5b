//! The settings, and what they mean once they are checked.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

/// The most numbers of an answer: 64 MB.
const MAX_ELEMENTS: f64 = 16.0 * 1024.0 * 1024.0;

/// `[settings]` of `plugins/audio-features.toml`. What is not given is that of the preset.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    #[serde(default)]
    preset: Preset,
    #[serde(default = "default_sample_rate")]
    sample_rate: u32,
    #[serde(default)]
    resample: Resample,
    n_fft: Option<usize>,
    win_length: Option<usize>,
    #[serde(default = "default_hop")]
    hop: usize,
    window: Option<Window>,
    center: Option<bool>,
    drop_last: Option<bool>,
    scale: Option<f64>,
    remove_dc: Option<bool>,
    preemphasis: Option<f64>,
    #[serde(default = "default_mels")]
    mels: usize,
    fmin: Option<f64>,
    fmax: Option<f64>,
    mel_scale: Option<MelScale>,
    mel_norm: Option<MelNorm>,
    log: Option<Log>,
    floor: Option<f64>,
    normalise: Option<Normalise>,
    pad: Option<bool>,
    #[serde(default = "default_max_seconds")]
    max_seconds: f64,
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
    #[serde(default)]
    layout: Option<Layout>,
    #[serde(default = "default_name")]
    name: String,
}

/// Whose features these are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Preset {
    #[default]
    Whisper,
    Kaldi,
}

/// What becomes of a file with another sample rate.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Resample {
    #[default]
    Refuse,
    /// Between the two neighbours. Nothing keeps higher frequencies from folding down.
    Linear,
}

/// What a frame is multiplied by.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Window {
    /// Periodic.
    Hann,
    /// Periodic.
    Hamming,
    /// Kaldi's: a symmetric Hann window to the power of 0.85.
    Povey,
}

/// How a frequency becomes a mel.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MelScale {
    /// Linear to 1 kHz, logarithmic above; triangles over hertz.
    Slaney,
    /// Logarithmic; triangles over hertz.
    Htk,
    /// Logarithmic; triangles over mels.
    Kaldi,
}

/// How high the triangles are.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MelNorm {
    /// Of equal area.
    Slaney,
    /// Of height 1.
    None,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Log {
    Log10,
    Ln,
}

/// What is done with the logarithms.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Normalise {
    None,
    /// At most 8 below the largest; then 4 is added, and the sum divided by 4.
    Whisper,
    /// The mean over time of each mel is taken off.
    Mean,
    /// And the rest divided by its standard deviation.
    MeanVariance,
}

/// The order of the dimensions.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Layout {
    /// `[1, mels, frames]`.
    #[serde(rename = "mels-frames")]
    Mels,
    /// `[1, frames, mels]`.
    #[serde(rename = "frames-mels")]
    Frames,
}

/// Settings that were checked.
pub(crate) struct Ready {
    pub(crate) sample_rate: u32,
    pub(crate) resample: Resample,
    pub(crate) n_fft: usize,
    pub(crate) win_length: usize,
    pub(crate) hop: usize,
    pub(crate) window: Window,
    pub(crate) center: bool,
    pub(crate) drop_last: bool,
    pub(crate) scale: f64,
    pub(crate) remove_dc: bool,
    pub(crate) preemphasis: f64,
    pub(crate) mels: usize,
    pub(crate) fmin: f64,
    pub(crate) fmax: f64,
    pub(crate) mel_scale: MelScale,
    pub(crate) mel_norm: MelNorm,
    pub(crate) log: Log,
    pub(crate) floor: f64,
    pub(crate) normalise: Normalise,
    /// The samples that a sound is padded to with silence; 0 for none.
    pub(crate) pad_to: usize,
    pub(crate) max_seconds: f64,
    pub(crate) max_bytes: u64,
    pub(crate) layout: Layout,
    pub(crate) name: String,
}

impl Settings {
    pub(crate) fn check(self) -> Result<Ready> {
        let whisper = self.preset == Preset::Whisper;
        let n_fft = self.n_fft.unwrap_or(if whisper { 400 } else { 512 });
        let nyquist = f64::from(self.sample_rate) / 2.0;
        let ready = Ready {
            n_fft,
            win_length: self.win_length.unwrap_or(n_fft.min(400)),
            window: self
                .window
                .unwrap_or(if whisper { Window::Hann } else { Window::Povey }),
            center: self.center.unwrap_or(whisper),
            drop_last: self.drop_last.unwrap_or(whisper),
            scale: self.scale.unwrap_or(if whisper { 1.0 } else { 32768.0 }),
            remove_dc: self.remove_dc.unwrap_or(!whisper),
            preemphasis: self.preemphasis.unwrap_or(if whisper { 0.0 } else { 0.97 }),
            fmin: self.fmin.unwrap_or(if whisper { 0.0 } else { 20.0 }),
            fmax: self.fmax.unwrap_or(nyquist),
            mel_scale: self.mel_scale.unwrap_or(if whisper {
                MelScale::Slaney
            } else {
                MelScale::Kaldi
            }),
            mel_norm: self.mel_norm.unwrap_or(if whisper {
                MelNorm::Slaney
            } else {
                MelNorm::None
            }),
            log: self
                .log
                .unwrap_or(if whisper { Log::Log10 } else { Log::Ln }),
            floor: self.floor.unwrap_or(if whisper {
                1e-10
            } else {
                f64::from(f32::EPSILON)
            }),
            normalise: self.normalise.unwrap_or(if whisper {
                Normalise::Whisper
            } else {
                Normalise::None
            }),
            pad_to: if self.pad.unwrap_or(whisper) {
                (self.max_seconds * f64::from(self.sample_rate)).round() as usize
            } else {
                0
            },
            layout: self.layout.unwrap_or(if whisper {
                Layout::Mels
            } else {
                Layout::Frames
            }),
            sample_rate: self.sample_rate,
            resample: self.resample,
            hop: self.hop,
            mels: self.mels,
            max_seconds: self.max_seconds,
            max_bytes: self.max_bytes,
            name: self.name,
        };
        match ready.wrong() {
            Some((name, message)) => Err(Error::invalid_field(name, message)),
            None => Ok(ready),
        }
    }
}

impl Ready {
    /// The first setting that makes no sense, and what to do.
    fn wrong(&self) -> Option<(&'static str, &'static str)> {
        let nyquist = f64::from(self.sample_rate) / 2.0;
        let elements = self.max_seconds * f64::from(self.sample_rate) / self.hop.max(1) as f64
            * self.mels as f64;
        let checks = [
            (
                (1000..=384_000).contains(&self.sample_rate),
                (
                    "sample_rate",
                    "give the model's samples a second, 1000 to 384000",
                ),
            ),
            (
                (16..=16_384).contains(&self.n_fft) && has_small_factors(self.n_fft),
                (
                    "n_fft",
                    "give an even number from 16 to 16384 whose prime factors are 2, 3, 5 and 7",
                ),
            ),
            (
                (2..=self.n_fft).contains(&self.win_length),
                ("win_length", "give a number of samples from 2 to `n_fft`"),
            ),
            (
                (1..=self.n_fft).contains(&self.hop),
                ("hop", "give a number of samples from 1 to `n_fft`"),
            ),
            (
                (1..=1024).contains(&self.mels),
                ("mels", "give a number from 1 to 1024"),
            ),
            (
                self.scale.is_finite() && self.scale != 0.0,
                ("scale", "give a number other than 0"),
            ),
            (
                (0.0..1.0).contains(&self.preemphasis),
                ("preemphasis", "give a number from 0 to below 1"),
            ),
            (
                self.fmin >= 0.0 && self.fmin < nyquist,
                (
                    "fmin",
                    "give a frequency from 0 to below half the sample rate",
                ),
            ),
            (
                self.fmax > self.fmin && self.fmax <= nyquist,
                (
                    "fmax",
                    "give a frequency above `fmin`, and at most half the sample rate",
                ),
            ),
            (
                self.floor > 0.0 && self.floor < 1.0,
                ("floor", "give a number above 0 and below 1"),
            ),
            (
                self.max_seconds > 0.0 && self.max_seconds <= 3600.0,
                ("max_seconds", "give a length above 0, and at most 3600"),
            ),
            (
                elements <= MAX_ELEMENTS,
                (
                    "max_seconds",
                    "makes a tensor of over 64 MB: give less, or a larger `hop`",
                ),
            ),
            (
                self.max_bytes > 0,
                (
                    "max_bytes",
                    "give the bytes of the largest file that is decoded",
                ),
            ),
            (
                !self.name.is_empty(),
                ("name", "give the name of the model's input"),
            ),
        ];
        let wrong = checks.into_iter().find(|(holds, _)| !holds);
        wrong.map(|(_, what)| what)
    }
}

/// Whether a number is even, and a product of 2, 3, 5 and 7.
fn has_small_factors(number: usize) -> bool {
    let rest = [2, 3, 5, 7].into_iter().fold(number, |mut rest, factor| {
        while rest > 1 && rest % factor == 0 {
            rest /= factor;
        }
        rest
    });
    number.is_multiple_of(2) && rest == 1
}

fn default_sample_rate() -> u32 {
    16_000
}

fn default_hop() -> usize {
    160
}

fn default_mels() -> usize {
    80
}

fn default_max_seconds() -> f64 {
    30.0
}

fn default_max_bytes() -> u64 {
    16 * 1024 * 1024
}

fn default_name() -> String {
    "input_features".to_owned()
}
