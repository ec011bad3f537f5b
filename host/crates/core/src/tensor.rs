//! Tensors: named, immutable arrays that stages and models share without copying.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};

use crate::{Datatype, Element, Error, Shape};

/// A named array: row-major, little-endian, without padding, aligned for its datatype. Cloning, renaming, reshaping and
/// cutting rows share the data.
#[derive(Clone, Debug)]
pub struct Tensor {
    name: Arc<str>,
    datatype: Datatype,
    shape: Shape,
    data: Bytes,
}

/// Why bytes are no tensor. The name of the tensor is the field of the [`Error`] that this becomes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each message says it")]
pub enum TensorError {
    #[error("the element count of shape {shape} overflows; use smaller dimensions")]
    ShapeOverflow { shape: Shape },
    #[error("shape {shape} of {datatype} takes {expected} bytes, but there are {actual}")]
    ByteLength {
        shape: Shape,
        datatype: Datatype,
        expected: u64,
        actual: u64,
    },
    #[error("shape {shape} takes {expected} elements, but there are {actual}")]
    ElementCount {
        shape: Shape,
        expected: u64,
        actual: u64,
    },
    #[error("element {index} of a BYTES tensor runs past the end of the data")]
    TruncatedElement { index: u64 },
    #[error("a BOOL element is 0 or 1, but element {index} is {value}")]
    NotBool { index: u64, value: u8 },
    #[error("the tensor is {actual}, not {expected}")]
    Datatype {
        expected: Datatype,
        actual: Datatype,
    },
    #[error("an element of a BYTES tensor is at most 4 GiB")]
    ElementTooLarge,
}

impl TensorError {
    /// Makes it an error of the request whose tensor is named.
    #[must_use]
    pub fn in_field(self, name: &str) -> Error {
        Error::invalid(name.to_owned(), self.to_string())
    }
}

impl Tensor {
    /// Makes a tensor of its bytes. The bytes are shared where they are aligned for the datatype, and copied where not.
    ///
    /// # Errors
    /// Where the byte length does not fit the shape, the elements of `BYTES` do not fill the data, or a `BOOL` is neither
    /// 0 nor 1.
    pub fn new(
        name: impl Into<Arc<str>>,
        datatype: Datatype,
        shape: impl Into<Shape>,
        data: Bytes,
    ) -> Result<Self, TensorError> {
        let shape = shape.into();
        let count = shape.elements().ok_or_else(|| TensorError::ShapeOverflow {
            shape: shape.clone(),
        })?;
        let Some(size) = datatype.size() else {
            check_elements(&shape, count, &data)?;
            return Ok(Self {
                name: name.into(),
                datatype,
                shape,
                data,
            });
        };
        let expected =
            count
                .checked_mul(size as u64)
                .ok_or_else(|| TensorError::ShapeOverflow {
                    shape: shape.clone(),
                })?;
        if expected != data.len() as u64 {
            return Err(TensorError::ByteLength {
                shape,
                datatype,
                expected,
                actual: data.len() as u64,
            });
        }
        if datatype == Datatype::Bool
            && let Some((index, value)) = data.iter().enumerate().find(|(_, value)| **value > 1)
        {
            return Err(TensorError::NotBool {
                index: index as u64,
                value: *value,
            });
        }
        let data = if (data.as_ptr() as usize).is_multiple_of(size) {
            data
        } else {
            AlignedBytes::copy_from(&data).into()
        };
        Ok(Self {
            name: name.into(),
            datatype,
            shape,
            data,
        })
    }

    /// Makes a tensor of its elements, without a copy.
    ///
    /// # Errors
    /// Where the count does not fit the shape.
    pub fn from_vec<T: Element>(
        name: impl Into<Arc<str>>,
        shape: impl Into<Shape>,
        elements: Vec<T>,
    ) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = shape.elements().ok_or_else(|| TensorError::ShapeOverflow {
            shape: shape.clone(),
        })?;
        if expected != elements.len() as u64 {
            return Err(TensorError::ElementCount {
                shape,
                expected,
                actual: elements.len() as u64,
            });
        }
        Ok(Self {
            name: name.into(),
            datatype: T::DATATYPE,
            shape,
            data: Bytes::from_owner(TypedVec(elements)),
        })
    }

    /// Makes a `BYTES` tensor.
    ///
    /// # Errors
    /// Where the count does not fit the shape, or an element is longer than 4 GiB.
    pub fn from_elements<E: AsRef<[u8]>>(
        name: impl Into<Arc<str>>,
        shape: impl Into<Shape>,
        elements: &[E],
    ) -> Result<Self, TensorError> {
        let shape = shape.into();
        let expected = shape.elements().ok_or_else(|| TensorError::ShapeOverflow {
            shape: shape.clone(),
        })?;
        if expected != elements.len() as u64 {
            return Err(TensorError::ElementCount {
                shape,
                expected,
                actual: elements.len() as u64,
            });
        }
        let total = elements
            .iter()
            .map(|element| 4 + element.as_ref().len())
            .sum();
        let mut data = BytesMut::with_capacity(total);
        for element in elements {
            let element = element.as_ref();
            data.put_u32_le(
                u32::try_from(element.len()).map_err(|_| TensorError::ElementTooLarge)?,
            );
            data.put_slice(element);
        }
        Ok(Self {
            name: name.into(),
            datatype: Datatype::Bytes,
            shape,
            data: data.freeze(),
        })
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as shared text.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The element type.
    #[must_use]
    pub fn datatype(&self) -> Datatype {
        self.datatype
    }

    /// The dimensions, outermost first.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The data.
    #[must_use]
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// The first dimension: the rows of a batch. A scalar has one.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The elements, in place.
    ///
    /// # Errors
    /// Where the datatype is another.
    pub fn as_slice<T: Element>(&self) -> Result<&[T], TensorError> {
        if self.datatype != T::DATATYPE {
            return Err(TensorError::Datatype {
                expected: T::DATATYPE,
                actual: self.datatype,
            });
        }
        Ok(bytemuck::cast_slice(&self.data))
    }

    /// The elements of a `BYTES` tensor, in place.
    ///
    /// # Errors
    /// Where the datatype is another.
    pub fn elements(&self) -> Result<Elements<'_>, TensorError> {
        if self.datatype != Datatype::Bytes {
            return Err(TensorError::Datatype {
                expected: Datatype::Bytes,
                actual: self.datatype,
            });
        }
        Ok(Elements { rest: &self.data })
    }

    /// The same data under another name.
    #[must_use]
    pub fn with_name(&self, name: impl Into<Arc<str>>) -> Self {
        Self {
            name: name.into(),
            ..self.clone()
        }
    }

    /// The same data in another shape.
    ///
    /// # Errors
    /// Where the element counts differ.
    pub fn with_shape(&self, shape: impl Into<Shape>) -> Result<Self, TensorError> {
        let shape = shape.into();
        let (expected, actual) = (shape.elements(), self.shape.elements());
        match expected {
            None => Err(TensorError::ShapeOverflow { shape }),
            Some(_) if expected == actual => Ok(Self {
                shape,
                ..self.clone()
            }),
            Some(expected) => Err(TensorError::ElementCount {
                shape,
                expected,
                actual: actual.unwrap_or(0),
            }),
        }
    }

    /// The rows from `start` on, `count` of them, sharing the data; none where they are not all there, or where the
    /// datatype is `BYTES`, whose rows have no fixed size.
    #[must_use]
    pub fn slice_rows(&self, start: u64, count: u64) -> Option<Self> {
        let rows = self.shape.first().copied()?;
        let end = start.checked_add(count).filter(|end| *end <= rows)?;
        let row_size = self.shape.with_rows(1).elements()? * self.datatype.size()? as u64;
        let range =
            usize::try_from(start * row_size).ok()?..usize::try_from(end * row_size).ok()?;
        Some(Self {
            shape: self.shape.with_rows(count),
            data: self.data.slice(range),
            ..self.clone()
        })
    }
}

/// Checks that `BYTES` data is exactly the elements that the shape takes.
fn check_elements(shape: &Shape, expected: u64, data: &[u8]) -> Result<(), TensorError> {
    let mut elements = Elements { rest: data };
    let actual = elements.by_ref().count() as u64;
    if !elements.rest.is_empty() {
        return Err(TensorError::TruncatedElement { index: actual });
    }
    if actual != expected {
        return Err(TensorError::ElementCount {
            shape: shape.clone(),
            expected,
            actual,
        });
    }
    Ok(())
}

/// The elements of a `BYTES` tensor, in order. Ends at the first that runs past the end of the data.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = self.rest.split_first_chunk::<4>()?;
        let (element, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        Some(element)
    }
}

/// Owns elements on behalf of the `Bytes` that shows them as bytes.
struct TypedVec<T>(Vec<T>);

impl<T: Element> AsRef<[u8]> for TypedVec<T> {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A byte buffer aligned to 64 bytes, a cache line and the widest vector: filled once, then frozen into [`Bytes`].
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

impl AlignedBytes {
    /// Makes a buffer of `len` zero bytes.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self {
            lines: vec![Line([0; 64]); len.div_ceil(64)],
            len,
        }
    }

    /// Makes a buffer with a copy of the bytes.
    #[must_use]
    pub fn copy_from(bytes: &[u8]) -> Self {
        let mut buffer = Self::zeroed(bytes.len());
        buffer.as_mut().copy_from_slice(bytes);
        buffer
    }
}

impl AsRef<[u8]> for AlignedBytes {
    fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl AsMut<[u8]> for AlignedBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl From<AlignedBytes> for Bytes {
    fn from(buffer: AlignedBytes) -> Bytes {
        Bytes::from_owner(buffer)
    }
}

#[cfg(test)]
mod tests;
