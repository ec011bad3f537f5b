//! Turns a WAV file into the log-mel features that a speech model takes. `README.md` has the settings.

mod features;
mod fft;
mod mel;
mod settings;
#[cfg(test)]
mod tests;
mod wav;

use wharf_plugin_sdk::{
    Error, Lifecycle, Metric, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

use features::Extractor;
use settings::{Layout, Settings};

/// Seconds of sound that became features.
const SECONDS: Metric = Metric::histogram(
    "audio_features_sound_seconds",
    "The lengths of the sounds turned into features.",
);

struct AudioFeatures {
    extractor: Extractor,
}

impl Plugin for AudioFeatures {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        Ok(Self {
            extractor: Extractor::new(settings.check()?),
        })
    }
}

impl Preprocess for AudioFeatures {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let settings = self.extractor.settings();
        let body = input.body()?;
        let (length, max) = (body.byte_length(), settings.max_bytes);
        // Before it is copied: a copy of all that the host takes need not fit into the plugin's memory.
        if length > max {
            let message =
                format!("has {length} bytes, and at most {max} are taken: send a shorter file");
            return Err(Error::invalid_field(wav::FIELD, message));
        }
        let sound = wav::decode(&body.bytes(), settings)?;
        SECONDS.observe(sound.len() as f64 / f64::from(settings.sample_rate));
        let (frames, features) = self.extractor.features(sound)?;
        let (mels, frames) = (settings.mels as u64, frames as u64);
        let shape = match settings.layout {
            Layout::Mels => [1, mels, frames],
            Layout::Frames => [1, frames, mels],
        };
        Ok(Tensor::new(&settings.name, &shape, &features)?.into())
    }
}

impl Lifecycle for AudioFeatures {
    const METRICS: &'static [Metric] = &[SECONDS];
}

wharf_plugin_sdk::export!(AudioFeatures: preprocess, lifecycle);
