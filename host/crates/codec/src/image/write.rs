//! The one pass from pixels to the tensor: turning, ordering, scaling and normalising together. A pixel has 256 values, so what each becomes is in
//! a table for each channel.

use bytemuck::Pod;
use half::f16;
use wharf_core::Datatype;

use super::resize::Placed;
use super::target::{Channels, ImageTarget, Layout};

/// Writes every element of the tensor, whose data this is.
pub(super) fn write(placed: &Placed, target: &ImageTarget, data: &mut [u8]) {
    match target.datatype {
        Datatype::Fp32 => {
            write_as(
                placed,
                target,
                bytemuck::cast_slice_mut(data),
                |channel, pixel| target.value(channel, pixel),
            );
        }
        Datatype::Fp16 => write_as(
            placed,
            target,
            bytemuck::cast_slice_mut(data),
            |channel, pixel| f16::from_f32(target.value(channel, pixel)),
        ),
        // The target was checked: there is no fourth.
        _ => write_as(placed, target, data, |_, pixel| pixel),
    }
}

/// One channel of the tensor: which sample of a pixel it takes, and what that becomes.
struct Channel<T> {
    sample: usize,
    table: [T; 256],
}

fn write_as<T: Pod>(
    placed: &Placed,
    target: &ImageTarget,
    elements: &mut [T],
    value: impl Fn(usize, u8) -> T,
) {
    let channels: Vec<Channel<T>> = (0..target.channels.count())
        .map(|channel| Channel {
            sample: match target.channels {
                _ if placed.raster.channels == 1 => 0,
                Channels::Bgr => 2 - channel,
                Channels::Rgb | Channels::Gray => channel,
            },
            table: std::array::from_fn(|pixel| value(channel, pixel as u8)),
        })
        .collect();
    let (width, height) = (target.width as usize, target.height as usize);
    if placed.size != (width, height) {
        blacken(target.layout, &channels, elements);
    }
    match target.layout {
        Layout::Nchw => {
            let planes = elements.chunks_exact_mut(width * height);
            for (plane, channel) in planes.zip(&channels) {
                for row in 0..placed.size.1 {
                    let start = (placed.offset.1 + row) * width + placed.offset.0;
                    let out = &mut plane[start..start + placed.size.0];
                    write_row(placed, row, channel, out.iter_mut());
                }
            }
        }
        Layout::Nhwc => {
            let count = channels.len();
            for row in 0..placed.size.1 {
                let start = ((placed.offset.1 + row) * width + placed.offset.0) * count;
                let out = &mut elements[start..start + placed.size.0 * count];
                for (at, channel) in channels.iter().enumerate() {
                    write_row(placed, row, channel, out[at..].iter_mut().step_by(count));
                }
            }
        }
    }
}

/// Writes one upright row of one channel.
fn write_row<'a, T: Pod>(
    placed: &Placed,
    row: usize,
    channel: &Channel<T>,
    out: impl Iterator<Item = &'a mut T>,
) {
    let (samples, steps) = (placed.raster.channels, placed.steps);
    let first = steps.at(0, row);
    if steps.across == 1 {
        let pixels = &placed.raster.data[first * samples..(first + placed.size.0) * samples];
        for (out, pixel) in out.zip(pixels.chunks_exact(samples)) {
            *out = channel.table[usize::from(pixel[channel.sample])];
        }
        return;
    }
    for (column, out) in out.take(placed.size.0).enumerate() {
        let pixel = steps.at(column, row) * samples + channel.sample;
        *out = channel.table[usize::from(placed.raster.data[pixel])];
    }
}

/// Makes everything black, which is no 0 once it is normalised.
fn blacken<T: Pod>(layout: Layout, channels: &[Channel<T>], elements: &mut [T]) {
    match layout {
        Layout::Nchw => {
            let plane = elements.len() / channels.len();
            for (plane, channel) in elements.chunks_exact_mut(plane).zip(channels) {
                plane.fill(channel.table[0]);
            }
        }
        Layout::Nhwc => {
            for pixel in elements.chunks_exact_mut(channels.len()) {
                for (element, channel) in pixel.iter_mut().zip(channels) {
                    *element = channel.table[0];
                }
            }
        }
    }
}
