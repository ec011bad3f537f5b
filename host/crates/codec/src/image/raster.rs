//! Decoded pixels: 8 bits a channel, gray or red, green and blue.

/// Pixels as they are stored, row by row.
pub(super) struct Raster {
    pub(super) width: u32,
    pub(super) height: u32,
    /// 1 for gray, 3 for red, green and blue.
    pub(super) channels: usize,
    pub(super) data: Vec<u8>,
}

impl Raster {
    /// Takes samples with or without alpha: 1, 2, 3 or 4 a pixel. What is transparent lies over black.
    pub(super) fn new((width, height): (u32, u32), samples: usize, data: Vec<u8>) -> Self {
        let (channels, data) = match samples {
            2 => (1, over_black::<2>(data)),
            4 => (3, over_black::<4>(data)),
            samples => (samples, data),
        };
        Self {
            width,
            height,
            channels,
            data,
        }
    }

    /// Brightness alone, by ITU-R BT.601, in the fixed point that Pillow and `OpenCV` have in common up to rounding.
    pub(super) fn into_gray(mut self) -> Self {
        if self.channels == 1 {
            return self;
        }
        let count = self.data.len() / 3;
        for at in 0..count {
            let pixel = &self.data[at * 3..at * 3 + 3];
            let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
            self.data[at] = ((red * 19_595 + green * 38_470 + blue * 7_471 + 0x8000) >> 16) as u8;
        }
        self.data.truncate(count);
        self.channels = 1;
        self
    }
}

/// Multiplies by the alpha, the last of `N` samples, and drops it; in place.
fn over_black<const N: usize>(mut data: Vec<u8>) -> Vec<u8> {
    let count = data.len() / N;
    for at in 0..count {
        let alpha = u32::from(data[at * N + N - 1]);
        for channel in 0..N - 1 {
            let product = u32::from(data[at * N + channel]) * alpha + 128;
            // Division by 255, rounded, exact for all products of two bytes.
            data[at * (N - 1) + channel] = ((product + (product >> 8)) >> 8) as u8;
        }
    }
    data.truncate(count * (N - 1));
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_transparent_lies_over_black() {
        let raster = Raster::new((2, 1), 4, vec![200, 100, 50, 255, 200, 100, 50, 128]);
        assert_eq!(raster.channels, 3);
        assert_eq!(raster.data, [200, 100, 50, 100, 50, 25]);
        let raster = Raster::new((3, 1), 2, vec![200, 0, 200, 255, 200, 128]);
        assert_eq!((raster.channels, raster.data), (1, vec![0, 200, 100]));
    }

    #[test]
    fn every_product_of_two_bytes_is_rounded_exactly() {
        for value in 0..=255_u8 {
            for alpha in 0..=255_u8 {
                let expected = (f64::from(value) * f64::from(alpha) / 255.0).round() as u8;
                assert_eq!(over_black::<2>(vec![value, alpha]), [expected]);
            }
        }
    }

    #[test]
    fn gray_weighs_the_colours() {
        let data = vec![255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 255, 7, 7, 7];
        let gray = Raster::new((5, 1), 3, data).into_gray();
        assert_eq!(gray.data, [76, 150, 29, 255, 7]);
    }
}
