//! Brings decoded pixels to the size that is asked for, still as they are stored.

use fast_image_resize::images::{Image as Resized, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::decode::Decoded;
use super::orientation::{Steps, swaps};
use super::raster::Raster;
use super::target::{Channels, Filter, Fit, ImageTarget};
use crate::CodecError;

/// The most pixels of the image between the two passes of the resizer, which has the old width and the new height.
pub(super) const MOST_BETWEEN: u64 = 64_000_000;

/// Resized pixels, and where they stand in the target.
pub(super) struct Placed {
    pub(super) raster: Raster,
    /// How they are read to be upright.
    pub(super) steps: Steps,
    /// The upright size.
    pub(super) size: (usize, usize),
    /// The place of the first pixel in the target: column and row.
    pub(super) offset: (usize, usize),
}

/// Resizes. An image that is to be turned is resized as it is stored, and turned when it is small.
pub(super) fn resize(decoded: Decoded, target: &ImageTarget) -> Result<Placed, CodecError> {
    let Decoded {
        raster,
        orientation,
    } = decoded;
    let swapped = swaps(orientation);
    let swap = |(width, height)| {
        if swapped {
            (height, width)
        } else {
            (width, height)
        }
    };
    let raster = match target.channels {
        Channels::Gray => raster.into_gray(),
        Channels::Rgb | Channels::Bgr => raster,
    };
    let wanted = (target.width, target.height);
    let upright = match target.fit {
        Fit::Stretch | Fit::Cover => wanted,
        Fit::Contain => inside(swap((raster.width, raster.height)), wanted),
    };
    let raster = scale(raster, swap(upright), target)?;
    let steps = Steps::new(orientation, (raster.width, raster.height));
    Ok(Placed {
        raster,
        steps,
        size: (upright.0 as usize, upright.1 as usize),
        offset: (
            (wanted.0 - upright.0) as usize / 2,
            (wanted.1 - upright.1) as usize / 2,
        ),
    })
}

/// The largest size of these proportions inside another.
fn inside((width, height): (u32, u32), (most_width, most_height): (u32, u32)) -> (u32, u32) {
    let [wide, high, most_wide, most_high] =
        [width, height, most_width, most_height].map(u64::from);
    let rounded = |product: u64, by: u64| ((product + by / 2) / by).max(1) as u32;
    if wide * most_high >= high * most_wide {
        (most_width, rounded(high * most_wide, wide).min(most_height))
    } else {
        (rounded(wide * most_high, high).min(most_width), most_height)
    }
}

fn scale(
    raster: Raster,
    (width, height): (u32, u32),
    target: &ImageTarget,
) -> Result<Raster, CodecError> {
    if (raster.width, raster.height) == (width, height) {
        return Ok(raster);
    }
    if u64::from(raster.width) * u64::from(height) > MOST_BETWEEN {
        return Err(CodecError::invalid(format!(
            "the image has {} x {} pixels, too far from the shape of {} x {}: send another part of it",
            raster.width, raster.height, target.width, target.height
        )));
    }
    let convolution = ResizeAlg::Convolution;
    let algorithm = match target.filter {
        Filter::Nearest => ResizeAlg::Nearest,
        Filter::Bilinear => convolution(FilterType::Bilinear),
        Filter::Bicubic => convolution(FilterType::CatmullRom),
        Filter::Lanczos3 => convolution(FilterType::Lanczos3),
    };
    let mut options = ResizeOptions::new().resize_alg(algorithm).use_alpha(false);
    if target.fit == Fit::Cover {
        options = options.fit_into_destination(Some((0.5, 0.5)));
    }
    let pixel = match raster.channels {
        1 => PixelType::U8,
        _ => PixelType::U8x3,
    };
    let failed = |error: &dyn std::fmt::Display| {
        CodecError::invalid(format!("the image cannot be resized: {error}"))
    };
    let source = ImageRef::new(raster.width, raster.height, &raster.data, pixel)
        .map_err(|error| failed(&error))?;
    let mut resized = Resized::new(width, height, pixel);
    Resizer::new()
        .resize(&source, &mut resized, &options)
        .map_err(|error| failed(&error))?;
    Ok(Raster {
        width,
        height,
        channels: raster.channels,
        data: resized.into_vec(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_inside_keeps_its_proportions() {
        for (size, most, expected) in [
            ((1920, 1080), (224, 224), (224, 126)),
            ((1080, 1920), (224, 224), (126, 224)),
            ((10, 10), (4, 9), (4, 4)),
            ((65_535, 1), (224, 224), (224, 1)),
            ((1, 65_535), (224, 224), (1, 224)),
            ((3, 2), (3, 2), (3, 2)),
        ] {
            assert_eq!(inside(size, most), expected);
        }
    }
}
