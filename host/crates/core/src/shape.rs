//! Shapes of tensors.

use std::fmt;
use std::ops::Deref;

use smallvec::SmallVec;

/// The dimensions of a tensor, outermost first. No dimensions are a scalar, one element. Up to five are kept in place.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[u64; 5]>);

impl Shape {
    /// The product of the dimensions; none where it overflows 64 bits.
    #[must_use]
    pub fn elements(&self) -> Option<u64> {
        self.0
            .iter()
            .try_fold(1_u64, |product, dimension| product.checked_mul(*dimension))
    }

    /// The same dimensions with another first one; unchanged where there are none.
    #[must_use]
    pub fn with_rows(&self, rows: u64) -> Self {
        let mut dimensions = self.0.clone();
        if let Some(first) = dimensions.first_mut() {
            *first = rows;
        }
        Self(dimensions)
    }
}

impl Deref for Shape {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        &self.0
    }
}

impl<T: AsRef<[u64]>> From<T> for Shape {
    fn from(dimensions: T) -> Self {
        Self(SmallVec::from_slice(dimensions.as_ref()))
    }
}

impl FromIterator<u64> for Shape {
    fn from_iter<I: IntoIterator<Item = u64>>(dimensions: I) -> Self {
        Self(dimensions.into_iter().collect())
    }
}

/// Writes `[1, 3, 224, 224]`.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
