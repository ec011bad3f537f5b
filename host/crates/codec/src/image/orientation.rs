//! How stored pixels are turned to stand upright. Nothing is moved for it: the pass that writes the tensor reads them in another order.

use image::metadata::Orientation;

/// Whether width and height change places.
pub(super) fn swaps(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Where upright pixels are among the stored ones: the index of the first, and the steps to the next in its row and in its column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) first: isize,
    pub(super) across: isize,
    pub(super) down: isize,
}

impl Steps {
    /// Of stored pixels of this width and height.
    pub(super) fn new(orientation: Orientation, (width, height): (u32, u32)) -> Self {
        let (width, height) = (width as isize, height as isize);
        let last = width * height - 1;
        let (first, across, down) = match orientation {
            Orientation::NoTransforms => (0, 1, width),
            Orientation::FlipHorizontal => (width - 1, -1, width),
            Orientation::Rotate180 => (last, -1, -width),
            Orientation::FlipVertical => (last + 1 - width, 1, -width),
            Orientation::Rotate90FlipH => (0, width, 1),
            Orientation::Rotate90 => (last + 1 - width, -width, 1),
            Orientation::Rotate270FlipH => (last, -width, -1),
            Orientation::Rotate270 => (width - 1, width, -1),
        };
        Self {
            first,
            across,
            down,
        }
    }

    /// The index of the stored pixel that is upright at this place.
    pub(super) fn at(self, column: usize, row: usize) -> usize {
        (self.first + column as isize * self.across + row as isize * self.down) as usize
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, GrayImage};

    use super::*;

    #[test]
    fn every_orientation_is_that_of_the_image_crate() {
        let stored = GrayImage::from_raw(3, 2, vec![1, 2, 3, 4, 5, 6]).unwrap();
        for exif in 1..=8 {
            let orientation = Orientation::from_exif(exif).unwrap();
            let mut expected = DynamicImage::ImageLuma8(stored.clone());
            expected.apply_orientation(orientation);
            let expected = expected.into_luma8();
            let size = if swaps(orientation) { (2, 3) } else { (3, 2) };
            assert_eq!(expected.dimensions(), size, "{orientation:?}");
            let steps = Steps::new(orientation, (3, 2));
            let upright: Vec<u8> = (0..size.1 as usize)
                .flat_map(|row| (0..size.0 as usize).map(move |column| (column, row)))
                .map(|(column, row)| stored.as_raw()[steps.at(column, row)])
                .collect();
            assert_eq!(&upright, expected.as_raw(), "{orientation:?}");
        }
    }
}
