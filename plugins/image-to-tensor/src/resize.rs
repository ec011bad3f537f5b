//! Resizing in two passes, rows and then columns. Each pixel of the result is a weighted mean of those that it covers.

use crate::decode::Picture;
use crate::settings::Filter;

/// The pixels of the picture in another size, from 0 to 255, row by row.
pub(crate) fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Vec<f32> {
    let channels = picture.channels;
    let columns = taps(picture.width, width, filter);
    let rows = taps(picture.height, height, filter);
    let row_length = width * channels;
    let mut narrow = vec![0.0f32; row_length * picture.height];
    let source_rows = picture.pixels.chunks_exact(picture.width * channels);
    for (source, target) in source_rows.zip(narrow.chunks_exact_mut(row_length)) {
        for (tap, pixel) in columns.iter().zip(target.chunks_exact_mut(channels)) {
            let covered = source[tap.first * channels..].chunks_exact(channels);
            for (weight, from) in tap.weights.iter().zip(covered) {
                for (sum, value) in pixel.iter_mut().zip(from) {
                    *sum += weight * f32::from(*value);
                }
            }
        }
    }
    let mut resized = vec![0.0f32; row_length * height];
    for (tap, target) in rows.iter().zip(resized.chunks_exact_mut(row_length)) {
        let covered = narrow[tap.first * row_length..].chunks_exact(row_length);
        for (weight, from) in tap.weights.iter().zip(covered) {
            for (sum, value) in target.iter_mut().zip(from) {
                *sum += weight * value;
            }
        }
    }
    resized
}

/// The source pixels that make one pixel of the result. Their weights sum to 1.
struct Tap {
    first: usize,
    weights: Vec<f32>,
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Tap> {
    let ratio = from as f32 / to as f32;
    let tap = |index: usize| {
        let centre = (index as f32 + 0.5) * ratio;
        // A filter covers at least one source pixel, also where the picture grows.
        let stretch = ratio.max(1.0);
        let reach = match filter {
            Filter::Nearest => {
                return Tap {
                    first: (centre as usize).min(from - 1),
                    weights: vec![1.0],
                };
            }
            Filter::Box => 0.5 * stretch,
            Filter::Bilinear => stretch,
        };
        let first = (centre - reach).floor().max(0.0) as usize;
        let last = ((centre + reach).ceil() as usize).clamp(first + 1, from);
        let first = first.min(last - 1);
        let weight = |source: usize| match filter {
            Filter::Bilinear => (1.0 - ((source as f32 + 0.5) - centre).abs() / stretch).max(0.0),
            // The length of the pixel that lies inside the area.
            _ => ((source as f32 + 1.0).min(centre + reach) - (source as f32).max(centre - reach))
                .max(0.0),
        };
        let mut weights: Vec<f32> = (first..last).map(weight).collect();
        let sum: f32 = weights.iter().sum();
        if sum > 0.0 {
            weights.iter_mut().for_each(|weight| *weight /= sum);
        } else {
            weights[0] = 1.0;
        }
        Tap { first, weights }
    };
    (0..to).map(tap).collect()
}
