//! From samples to features: frames, windows, power spectra, mel energies, logarithms.

use std::f64::consts::TAU;

use wharf_plugin_sdk::{Error, Result};

use crate::fft::Spectrum;
use crate::mel::Filters;
use crate::settings::{Layout, Log, Normalise, Ready, Window};
use crate::wav::FIELD;

/// What features are made with, once an instance.
pub(crate) struct Extractor {
    settings: Ready,
    window: Vec<f64>,
    spectrum: Spectrum,
    filters: Filters,
}

impl Extractor {
    pub(crate) fn new(settings: Ready) -> Self {
        Self {
            window: window(settings.window, settings.win_length),
            spectrum: Spectrum::new(settings.n_fft),
            filters: Filters::new(&settings),
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &Ready {
        &self.settings
    }

    /// The number of frames, and the features in the order of the layout.
    pub(crate) fn features(&self, mut sound: Vec<f32>) -> Result<(usize, Vec<f32>)> {
        let settings = &self.settings;
        if sound.len() < settings.pad_to {
            sound.resize(settings.pad_to, 0.0);
        }
        let frames = self.frames(sound.len())?;
        let mut features = vec![0.0; frames * settings.mels];
        let floor = log_of(settings.log, settings.floor) as f32;
        let mut frame = vec![0.0; settings.n_fft];
        let mut power = vec![0.0; settings.n_fft / 2 + 1];
        let mut scratch = self.spectrum.scratch();
        for index in 0..frames {
            let place = |mel: usize| match settings.layout {
                Layout::Mels => mel * frames + index,
                Layout::Frames => index * settings.mels + mel,
            };
            if self.cut(&sound, index, &mut frame[..settings.win_length]) == Content::Silence {
                (0..settings.mels).for_each(|mel| features[place(mel)] = floor);
                continue;
            }
            self.spectrum.power(&frame, &mut scratch, &mut power);
            for (mel, energy) in self.filters.energies(&power).enumerate() {
                features[place(mel)] = log_of(settings.log, energy.max(settings.floor)) as f32;
            }
        }
        self.normalise(frames, &mut features);
        Ok((frames, features))
    }

    /// The frames of so many samples.
    fn frames(&self, samples: usize) -> Result<usize> {
        let settings = &self.settings;
        let (least, frames) = if settings.center {
            // What is reflected at either end must be there.
            let least = settings.n_fft / 2 + 1;
            (least, 1 + samples / settings.hop)
        } else {
            let least = settings.win_length;
            (least, 1 + samples.saturating_sub(least) / settings.hop)
        };
        let frames = frames - usize::from(settings.drop_last);
        if samples < least || frames == 0 {
            return Err(Error::invalid_field(
                FIELD,
                format!("is too short: it has {samples} samples, and at least {least} are needed"),
            ));
        }
        Ok(frames)
    }

    /// Cuts a frame out and applies the window. One of zeros alone is left as it is.
    fn cut(&self, sound: &[f32], index: usize, frame: &mut [f64]) -> Content {
        let settings = &self.settings;
        let before = if settings.center {
            settings.n_fft / 2 - (settings.n_fft - settings.win_length) / 2
        } else {
            0
        };
        let start = index * settings.hop;
        match start.checked_sub(before) {
            Some(start) if start + frame.len() <= sound.len() => {
                let samples = &sound[start..start + frame.len()];
                if samples.iter().all(|sample| *sample == 0.0) {
                    return Content::Silence;
                }
                for (value, sample) in frame.iter_mut().zip(samples) {
                    *value = f64::from(*sample);
                }
            }
            _ => {
                let last = sound.len() - 1;
                for (offset, value) in frame.iter_mut().enumerate() {
                    let place = (start + offset).abs_diff(before);
                    // Beyond the end it goes back again.
                    let place = if place > last {
                        (2 * last).saturating_sub(place)
                    } else {
                        place
                    };
                    *value = f64::from(sound[place]);
                }
            }
        }
        self.shape(frame);
        Content::Sound
    }

    /// Scale, mean, pre-emphasis and window.
    fn shape(&self, frame: &mut [f64]) {
        let settings = &self.settings;
        if settings.remove_dc {
            let mean = frame.iter().sum::<f64>() / frame.len() as f64;
            frame.iter_mut().for_each(|value| *value -= mean);
        }
        if settings.preemphasis != 0.0 {
            for index in (1..frame.len()).rev() {
                frame[index] -= settings.preemphasis * frame[index - 1];
            }
            frame[0] -= settings.preemphasis * frame[0];
        }
        for (value, factor) in frame.iter_mut().zip(&self.window) {
            *value *= factor * settings.scale;
        }
    }

    fn normalise(&self, frames: usize, features: &mut [f32]) {
        let mels = self.settings.mels;
        let (along, step) = match self.settings.layout {
            Layout::Mels => (frames, 1),
            Layout::Frames => (1, mels),
        };
        match self.settings.normalise {
            Normalise::None => {}
            Normalise::Whisper => {
                let largest = features.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for value in features {
                    *value = (value.max(largest - 8.0) + 4.0) / 4.0;
                }
            }
            Normalise::Mean | Normalise::MeanVariance => {
                for mel in 0..mels {
                    let values = || (0..frames).map(|frame| mel * along + frame * step);
                    let sum: f64 = values().map(|place| f64::from(features[place])).sum();
                    let mean = sum / frames as f64;
                    let square = |place: usize| (f64::from(features[place]) - mean).powi(2);
                    let deviation = match self.settings.normalise {
                        Normalise::Mean => 1.0,
                        _ => (values().map(square).sum::<f64>() / frames as f64).sqrt(),
                    };
                    for place in values() {
                        let centred = f64::from(features[place]) - mean;
                        features[place] = (centred / deviation.max(1e-5)) as f32;
                    }
                }
            }
        }
    }
}

/// What a frame holds.
#[derive(PartialEq, Eq)]
enum Content {
    Silence,
    Sound,
}

fn log_of(log: Log, value: f64) -> f64 {
    match log {
        Log::Log10 => value.log10(),
        Log::Ln => value.ln(),
    }
}

fn window(kind: Window, length: usize) -> Vec<f64> {
    let cosine = |index: usize, period: usize| (TAU * index as f64 / period as f64).cos();
    let factor = |index: usize| match kind {
        Window::Hann => 0.5 - 0.5 * cosine(index, length),
        Window::Hamming => 0.54 - 0.46 * cosine(index, length),
        Window::Povey => (0.5 - 0.5 * cosine(index, length - 1)).powf(0.85),
    };
    (0..length).map(factor).collect()
}
