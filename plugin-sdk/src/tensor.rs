//! Tensors as a plugin sees them: a handle on the host's data, and typed copies of it.

use crate::{Datatype, Error, Result, raw};

/// An immutable, named array: row-major, little-endian, without padding.
///
/// A tensor is a handle. Asking for its name or shape copies no data, and passing it on copies none either; reading and
/// making one cost one copy of the data each, straight from or into the buffer that the model runtime uses.
///
/// ```
/// use wharf_plugin_sdk::{Result, Tensor};
///
/// fn double(tensor: &Tensor) -> Result<Tensor> {
///     let mut values = tensor.fp32()?;
///     values.iter_mut().for_each(|value| *value *= 2.0);
///     Tensor::new(&tensor.name(), &tensor.shape(), &values)
/// }
///
/// let tensor = Tensor::new("x", &[1, 2], &[1.0f32, 2.5])?;
/// assert_eq!(double(&tensor)?.fp32()?, [2.0, 5.0]);
/// # Ok::<(), wharf_plugin_sdk::Error>(())
/// ```
#[derive(Debug)]
pub struct Tensor(raw::Tensor);

impl Tensor {
    /// Makes a tensor from its elements, in row-major order.
    ///
    /// # Errors
    /// `invalid-input` where the number of elements is not the product of the shape.
    pub fn new<T: Element>(name: &str, shape: &[u64], data: &[T]) -> Result<Self> {
        T::write(name, shape, data).map(Self)
    }

    /// Makes a tensor of any datatype from its bytes, little-endian.
    ///
    /// # Errors
    /// `invalid-input` where the length does not fit the shape, or the elements of a `BYTES` tensor do not fill it.
    pub fn from_bytes(name: &str, datatype: Datatype, shape: &[u64], data: &[u8]) -> Result<Self> {
        raw::Tensor::from_bytes(name, raw::lower(datatype), shape, data).map(Self)
    }

    /// Makes a `BYTES` tensor, an element an item.
    ///
    /// # Errors
    /// `invalid-input` where the number of elements is not the product of the shape.
    pub fn from_elements(name: &str, shape: &[u64], elements: &[impl AsRef<[u8]>]) -> Result<Self> {
        // The contract's type is a list of lists, and the binding takes it owned.
        let owned: Vec<Vec<u8>> = elements
            .iter()
            .map(|element| element.as_ref().to_vec())
            .collect();
        raw::Tensor::from_elements(name, shape, &owned).map(Self)
    }

    /// The name, as the model or the stage before gave it.
    pub fn name(&self) -> String {
        self.0.name()
    }

    /// The element type.
    pub fn datatype(&self) -> Datatype {
        raw::lift(self.0.datatype())
    }

    /// The dimensions, outermost first. A shape without dimensions is a scalar, one element.
    pub fn shape(&self) -> Vec<u64> {
        self.0.shape()
    }

    /// The size of the data in bytes.
    pub fn byte_length(&self) -> u64 {
        self.0.byte_length()
    }

    /// Copies the elements.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name where its datatype is not that of `T`.
    pub fn values<T: Element>(&self) -> Result<Vec<T>> {
        T::read(&self.0)
    }

    /// Copies the elements of an `FP32` tensor.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn fp32(&self) -> Result<Vec<f32>> {
        self.values()
    }

    /// Copies the elements of an `FP32` or `FP16` tensor, as models give them, the latter widened.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn floats(&self) -> Result<Vec<f32>> {
        match self.datatype() {
            Datatype::Fp16 => {
                let bytes = self.bytes();
                let halves = bytes.chunks_exact(2);
                Ok(halves
                    .map(|half| widen(u16::from_le_bytes([half[0], half[1]])))
                    .collect())
            }
            Datatype::Fp32 => self.fp32(),
            datatype => Err(Error::invalid_field(
                self.name(),
                format!("the datatype is {datatype}, and FP32 or FP16 is needed"),
            )),
        }
    }

    /// Copies the elements of an `FP64` tensor.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn fp64(&self) -> Result<Vec<f64>> {
        self.values()
    }

    /// Copies the elements of an `INT32` tensor.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn int32(&self) -> Result<Vec<i32>> {
        self.values()
    }

    /// Copies the elements of an `INT64` tensor.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn int64(&self) -> Result<Vec<i64>> {
        self.values()
    }

    /// Copies the elements of a `BYTES` tensor.
    ///
    /// # Errors
    /// `invalid-input` with the tensor's name for another datatype.
    pub fn elements(&self) -> Result<Vec<Vec<u8>>> {
        self.0.read_elements()
    }

    /// Copies the data of a tensor of any datatype, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        self.0.read()
    }

    /// Copies `length` bytes of the data from `offset` on.
    ///
    /// # Errors
    /// `invalid-input` where they are not all inside the data.
    pub fn byte_range(&self, offset: u64, length: u64) -> Result<Vec<u8>> {
        self.0.read_range(offset, length)
    }

    /// The same data under another name. Copies nothing.
    pub fn with_name(&self, name: &str) -> Self {
        Self(self.0.with_name(name))
    }

    /// The same data in another shape. Copies nothing.
    ///
    /// # Errors
    /// `invalid-input` where the element counts differ.
    pub fn with_shape(&self, shape: &[u64]) -> Result<Self> {
        self.0.with_shape(shape).map(Self)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn from_raw(raw: raw::Tensor) -> Self {
        Self(raw)
    }

    #[cfg(target_arch = "wasm32")]
    pub(crate) fn into_raw(self) -> raw::Tensor {
        self.0
    }
}

/// A Rust number that is an element type of tensors.
///
/// The contract has typed lists for `f32`, `f64`, `i32` and `i64`, and bytes serve `u8` and `i8`: those cost one copy a
/// direction. Reading any other costs a second copy, to align it.
pub trait Element: sealed::Sealed + Copy {
    /// The datatype of such a tensor.
    const DATATYPE: Datatype;

    #[doc(hidden)]
    fn write(name: &str, shape: &[u64], data: &[Self]) -> Result<raw::Tensor>;

    #[doc(hidden)]
    fn read(tensor: &raw::Tensor) -> Result<Vec<Self>>;
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! typed_element {
    ($($rust:ty, $datatype:ident, $from:ident, $read:ident;)+) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DATATYPE: Datatype = Datatype::$datatype;

            fn write(name: &str, shape: &[u64], data: &[Self]) -> Result<raw::Tensor> {
                raw::Tensor::$from(name, shape, data)
            }

            fn read(tensor: &raw::Tensor) -> Result<Vec<Self>> {
                tensor.$read()
            }
        }
    )+};
}

typed_element! {
    f32, Fp32, from_fp32, read_fp32;
    f64, Fp64, from_fp64, read_fp64;
    i32, Int32, from_int32, read_int32;
    i64, Int64, from_int64, read_int64;
}

macro_rules! byte_element {
    ($($rust:ty, $datatype:ident, $convert:expr;)+) => {$(
        impl sealed::Sealed for $rust {}
        impl Element for $rust {
            const DATATYPE: Datatype = Datatype::$datatype;

            fn write(name: &str, shape: &[u64], data: &[Self]) -> Result<raw::Tensor> {
                raw::Tensor::from_bytes(name, raw::lower(Self::DATATYPE), shape, bytemuck::cast_slice(data))
            }

            fn read(tensor: &raw::Tensor) -> Result<Vec<Self>> {
                check_datatype(tensor, Self::DATATYPE)?;
                Ok($convert(tensor.read()))
            }
        }
    )+};
}

byte_element! {
    u8, Uint8, std::convert::identity;
    i8, Int8, bytemuck::allocation::cast_vec;
    u16, Uint16, |bytes: Vec<u8>| bytemuck::allocation::pod_collect_to_vec(&bytes);
    u32, Uint32, |bytes: Vec<u8>| bytemuck::allocation::pod_collect_to_vec(&bytes);
    u64, Uint64, |bytes: Vec<u8>| bytemuck::allocation::pod_collect_to_vec(&bytes);
    i16, Int16, |bytes: Vec<u8>| bytemuck::allocation::pod_collect_to_vec(&bytes);
}

fn check_datatype(tensor: &raw::Tensor, wanted: Datatype) -> Result<()> {
    let datatype = raw::lift(tensor.datatype());
    if datatype == wanted {
        return Ok(());
    }
    Err(Error::invalid_field(
        tensor.name(),
        format!("the datatype is {datatype}, and {wanted} is needed"),
    ))
}

/// A binary16 as the binary32 of the same value. Without a branch, so that the compiler makes vector instructions of a loop.
fn widen(half: u16) -> f32 {
    let sign = u32::from(half & 0x8000) << 16;
    // Exponent and fraction at their places in a binary32, whose exponents count from 112 more.
    let magnitude = u32::from(half & 0x7fff) << 13;
    let scale = f32::from_bits((127 + 112) << 23);
    let finite = (f32::from_bits(magnitude) * scale).to_bits();
    // Infinities and what is no number have all bits of the exponent set.
    let bits = if magnitude < 0x1f << 23 {
        finite
    } else {
        magnitude | 0xff << 23
    };
    f32::from_bits(sign | bits)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of a binary16 by its definition.
    fn defined(half: u16) -> f32 {
        let sign = if half >> 15 == 1 { -1.0 } else { 1.0 };
        let (exponent, fraction) = (i32::from(half >> 10 & 0x1f), f32::from(half & 0x3ff));
        let value = match exponent {
            0 => fraction * 2.0_f32.powi(-24),
            0x1f if fraction == 0.0 => f32::INFINITY,
            0x1f => f32::NAN,
            _ => (fraction / 1024.0 + 1.0) * 2.0_f32.powi(exponent - 15),
        };
        sign * value
    }

    #[test]
    fn every_half_is_widened_exactly() {
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let tensor = Tensor::from_bytes("x", Datatype::Fp16, &[1 << 16], &bytes).unwrap();
        for (half, float) in halves.iter().zip(tensor.floats().unwrap()) {
            let defined = defined(*half);
            assert!(
                float.to_bits() == defined.to_bits() || float.is_nan() && defined.is_nan(),
                "{half:#06x} became {float}, not {defined}"
            );
        }
    }

    #[test]
    fn only_floats_are_floats() {
        let floats = Tensor::new("x", &[2], &[1.5f32, -2.0]).unwrap();
        assert_eq!(floats.floats().unwrap(), [1.5, -2.0]);
        let error = Tensor::new("x", &[1], &[1i64])
            .unwrap()
            .floats()
            .unwrap_err();
        assert_eq!(error.field(), Some("x"));
        assert!(
            error.message().contains("INT64, and FP32 or FP16"),
            "{error}"
        );
    }
}
