//! The mel filters: triangles over the frequencies of a power spectrum.

use crate::settings::{MelNorm, MelScale, Ready};

/// The filters, each with its own frequencies alone.
pub(crate) struct Filters {
    filters: Vec<Filter>,
}

struct Filter {
    /// The first frequency that it weighs.
    first: usize,
    weights: Vec<f64>,
}

impl Filters {
    pub(crate) fn new(settings: &Ready) -> Self {
        let scale = settings.mel_scale;
        let (low, high) = (to_mel(scale, settings.fmin), to_mel(scale, settings.fmax));
        let step = (high - low) / (settings.mels + 1) as f64;
        let edges: Vec<f64> = (0..settings.mels + 2)
            .map(|edge| low + step * edge as f64)
            .collect();
        let filters = edges
            .windows(3)
            .map(|edges| Filter::new(settings, [edges[0], edges[1], edges[2]]));
        Self {
            filters: filters.collect(),
        }
    }

    /// The energy of each mel.
    pub(crate) fn energies<'a>(&'a self, power: &'a [f64]) -> impl Iterator<Item = f64> + 'a {
        self.filters.iter().map(move |filter| {
            let power = &power[filter.first..][..filter.weights.len()];
            let products = power.iter().zip(&filter.weights);
            products.map(|(power, weight)| power * weight).sum()
        })
    }
}

impl Filter {
    /// A triangle between the outer edges, given in mels, with its tip at the middle one.
    fn new(settings: &Ready, edges: [f64; 3]) -> Self {
        let scale = settings.mel_scale;
        let over_mels = matches!(scale, MelScale::Kaldi);
        let hertz = edges.map(|mel| to_hertz(scale, mel));
        let [left, tip, right] = if over_mels { edges } else { hertz };
        let height = match settings.mel_norm {
            MelNorm::Slaney => 2.0 / (hertz[2] - hertz[0]),
            MelNorm::None => 1.0,
        };
        let width = f64::from(settings.sample_rate) / settings.n_fft as f64;
        let weight = |bin: usize| {
            let frequency = bin as f64 * width;
            let place = if over_mels {
                to_mel(scale, frequency)
            } else {
                frequency
            };
            let slope = ((place - left) / (tip - left)).min((right - place) / (right - tip));
            slope.max(0.0) * height
        };
        // One frequency beyond the edges on either side: they are rounded.
        let bins = settings.n_fft / 2;
        let first = ((hertz[0] / width) as usize).saturating_sub(1).min(bins);
        let last = ((hertz[2] / width).ceil() as usize + 1).min(bins);
        Self {
            first,
            weights: (first..=last).map(weight).collect(),
        }
    }
}

/// Where the scale of Slaney becomes logarithmic: hertz, mels, and the growth of a mel.
const BREAK_HERTZ: f64 = 1000.0;
const BREAK_MEL: f64 = 15.0;

fn slaney_growth() -> f64 {
    6.4_f64.ln() / 27.0
}

fn to_mel(scale: MelScale, hertz: f64) -> f64 {
    match scale {
        MelScale::Slaney if hertz >= BREAK_HERTZ => {
            BREAK_MEL + (hertz / BREAK_HERTZ).ln() / slaney_growth()
        }
        MelScale::Slaney => hertz * BREAK_MEL / BREAK_HERTZ,
        MelScale::Htk => 2595.0 * (1.0 + hertz / 700.0).log10(),
        MelScale::Kaldi => 1127.0 * (1.0 + hertz / 700.0).ln(),
    }
}

fn to_hertz(scale: MelScale, mel: f64) -> f64 {
    match scale {
        MelScale::Slaney if mel >= BREAK_MEL => {
            BREAK_HERTZ * ((mel - BREAK_MEL) * slaney_growth()).exp()
        }
        MelScale::Slaney => mel * BREAK_HERTZ / BREAK_MEL,
        MelScale::Htk => 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0),
        MelScale::Kaldi => 700.0 * ((mel / 1127.0).exp() - 1.0),
    }
}
