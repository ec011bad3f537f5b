//! How far two devices' answers are apart.

use std::fmt;

use anyhow::{Result, ensure};

/// The difference of two answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Difference {
    /// The largest one of two numbers.
    absolute: f32,
    /// The same, to the largest number of the expected answer.
    relative: f32,
    /// How many numbers were compared.
    numbers: usize,
}

impl Difference {
    /// Compares an answer with the one that is expected.
    ///
    /// # Errors
    /// Where they have not as many numbers, or none.
    pub(super) fn between(expected: &[f32], actual: &[f32]) -> Result<Self> {
        ensure!(
            !expected.is_empty(),
            "the model has no FP32 output to compare"
        );
        ensure!(
            expected.len() == actual.len(),
            "one answer has {} numbers and the other {}",
            expected.len(),
            actual.len()
        );
        let pairs = || expected.iter().zip(actual);
        // What is no number on one of the devices alone is as wrong as can be.
        let apart = |(expected, actual): (&f32, &f32)| match (expected.is_nan(), actual.is_nan()) {
            (true, true) => 0.0,
            (false, false) if expected == actual => 0.0,
            (false, false) => (expected - actual).abs(),
            _ => f32::INFINITY,
        };
        let absolute = pairs().map(apart).fold(0.0, f32::max);
        let largest = expected
            .iter()
            .map(|number| number.abs())
            .fold(0.0, f32::max);
        Ok(Self {
            absolute,
            relative: if absolute == 0.0 {
                0.0
            } else {
                absolute / largest.max(f32::MIN_POSITIVE)
            },
            numbers: expected.len(),
        })
    }

    /// Whether it is no more than that, relative to the largest number.
    pub(super) fn is_within(self, tolerance: f32) -> bool {
        self.relative <= tolerance
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "at most {:.3e}, {:.3e} of the largest of {} numbers",
            self.absolute, self.relative, self.numbers
        )
    }
}

/// Reads little-endian numbers.
///
/// # Errors
/// Where the last one is cut.
pub(super) fn read(bytes: &[u8]) -> Result<Vec<f32>> {
    let (numbers, rest) = bytes.as_chunks::<4>();
    ensure!(rest.is_empty(), "the numbers of an answer are cut");
    Ok(numbers.iter().copied().map(f32::from_le_bytes).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_difference_counts() {
        let difference = Difference::between(&[1.0, -4.0, 0.0], &[1.0, -4.5, 0.25]).unwrap();
        assert_eq!((difference.absolute, difference.relative), (0.5, 0.125));
        assert!(difference.is_within(0.125) && !difference.is_within(0.1));
        let same = Difference::between(&[0.0, f32::INFINITY], &[0.0, f32::INFINITY]).unwrap();
        assert!(same.is_within(0.0));
    }

    #[test]
    fn nothing_and_no_numbers_are_never_right() {
        assert!(Difference::between(&[], &[]).is_err());
        assert!(Difference::between(&[1.0], &[1.0, 2.0]).is_err());
        for (expected, actual) in [(1.0, f32::NAN), (f32::NAN, 1.0), (0.0, 1e-3)] {
            let difference = Difference::between(&[expected], &[actual]).unwrap();
            assert!(!difference.is_within(1.0), "{expected} {actual}");
        }
        assert!(
            Difference::between(&[f32::NAN], &[f32::NAN])
                .unwrap()
                .is_within(0.0)
        );
    }

    #[test]
    fn numbers_are_little_endian() {
        assert_eq!(read(&[0, 0, 128, 63, 0, 0, 0, 192]).unwrap(), [1.0, -2.0]);
        assert!(read(&[0, 0, 128]).is_err());
    }
}
