//! The features by their definitions, one number after another: no fast transform, no sparse filter, nothing of the plugin.

use std::f64::consts::PI;

/// The square of the magnitude of one frequency, by the sum that defines it.
pub(super) fn power(frame: &[f64], n_fft: usize, bin: usize) -> f64 {
    let (mut re, mut im) = (0.0, 0.0);
    for (index, value) in frame.iter().enumerate() {
        let angle = 2.0 * PI * (index * bin % n_fft) as f64 / n_fft as f64;
        re += value * angle.cos();
        im -= value * angle.sin();
    }
    re * re + im * im
}

/// 80 mels of 25 ms every 10 ms, mels outermost.
pub(super) fn whisper(sound: &[f64], padded: usize) -> Vec<f32> {
    let mut samples: Vec<f64> = sound
        .iter()
        .map(|sample| f64::from(*sample as f32))
        .collect();
    samples.resize(padded, 0.0);
    // Reflected by 200 samples at both ends, the end itself only once.
    let mut reflected: Vec<f64> = samples[1..=200].iter().rev().copied().collect();
    reflected.extend(&samples);
    reflected.extend(samples[padded - 201..padded - 1].iter().rev());

    let edges: Vec<f64> = (0..82)
        .map(|edge| slaney_hertz(f64::from(edge) * slaney_mel(8000.0) / 81.0))
        .collect();
    let frames = padded / 160;
    let mut logs = vec![0.0; 80 * frames];
    for frame in 0..frames {
        let windowed: Vec<f64> = (0..400)
            .map(|index| {
                let hann = 0.5 * (1.0 - (2.0 * PI * f64::from(index) / 400.0).cos());
                reflected[frame * 160 + index as usize] * hann
            })
            .collect();
        let powers: Vec<f64> = (0..=200).map(|bin| power(&windowed, 400, bin)).collect();
        for mel in 0..80 {
            let [left, tip, right] = [edges[mel], edges[mel + 1], edges[mel + 2]];
            let mut energy = 0.0;
            for (bin, power) in powers.iter().enumerate() {
                let hertz = bin as f64 * 40.0;
                let rising = (hertz - left) / (tip - left);
                let falling = (right - hertz) / (right - tip);
                energy += power * rising.min(falling).max(0.0) * 2.0 / (right - left);
            }
            logs[mel * frames + frame] = energy.max(1e-10).log10();
        }
    }
    let largest = logs.iter().copied().fold(f64::MIN, f64::max);
    let normal = |log: &f64| ((log.max(largest - 8.0) + 4.0) / 4.0) as f32;
    logs.iter().map(normal).collect()
}

/// 80 mels of 25 ms every 10 ms, frames outermost.
pub(super) fn kaldi(sound: &[f64]) -> Vec<f32> {
    let samples: Vec<f64> = sound
        .iter()
        .map(|sample| f64::from(*sample as f32) * 32_768.0)
        .collect();
    let mel = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
    let step = (mel(8000.0) - mel(20.0)) / 81.0;
    let mut logs = Vec::new();
    let mut start = 0;
    while start + 400 <= samples.len() {
        let frame = &samples[start..start + 400];
        let mean = frame.iter().sum::<f64>() / 400.0;
        let centred: Vec<f64> = frame.iter().map(|value| value - mean).collect();
        let mut windowed: Vec<f64> = (0..400)
            .map(|index: usize| {
                let emphasised = centred[index] - 0.97 * centred[index.saturating_sub(1)];
                let hann = 0.5 - 0.5 * (2.0 * PI * index as f64 / 399.0).cos();
                emphasised * hann.powf(0.85)
            })
            .collect();
        windowed.resize(512, 0.0);
        let powers: Vec<f64> = (0..=256).map(|bin| power(&windowed, 512, bin)).collect();
        for filter in 0..80 {
            let left = mel(20.0) + step * f64::from(filter);
            let mut energy = 0.0;
            for (bin, power) in powers.iter().enumerate() {
                let place = mel(bin as f64 * 16_000.0 / 512.0);
                let distance = (place - left - step).abs() / step;
                energy += power * (1.0 - distance).max(0.0);
            }
            logs.push(energy.max(f64::from(f32::EPSILON)).ln() as f32);
        }
        start += 160;
    }
    logs
}

fn slaney_mel(hertz: f64) -> f64 {
    if hertz < 1000.0 {
        hertz * 3.0 / 200.0
    } else {
        15.0 + 27.0 * (hertz / 1000.0).ln() / 6.4_f64.ln()
    }
}

fn slaney_hertz(mel: f64) -> f64 {
    if mel < 15.0 {
        mel * 200.0 / 3.0
    } else {
        1000.0 * 6.4_f64.powf((mel - 15.0) / 27.0)
    }
}
