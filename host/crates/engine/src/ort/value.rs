//! Tensors as ONNX Runtime's values and back, without a copy where the data need no conversion.

use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use half::{bf16, f16};
use ort::session::SessionInputValue;
use ort::value::{
    DynValue, PrimitiveTensorElementType, Tensor as OrtTensor, TensorElementType, TensorRef,
};
use wharf_core::{AlignedBytes, Datatype, Tensor};

/// Outputs up to so many bytes are copied: that is cheaper than to keep ONNX Runtime's value, and with it the session.
const COPY_BELOW: usize = 512;

/// Why a value cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("an element of input {0:?} is not UTF-8 text without NUL")]
    NotText(String),
    #[error("output {0:?} is of another element type than the model says")]
    OutputType(String),
    #[error("output {0:?} does not fill its shape")]
    OutputShape(String),
    #[error(transparent)]
    Ort(#[from] ort::Error),
}

/// The datatype of an element type; none where it is not served.
pub(super) fn datatype(element: TensorElementType) -> Option<Datatype> {
    Some(match element {
        TensorElementType::Bool => Datatype::Bool,
        TensorElementType::Uint8 => Datatype::Uint8,
        TensorElementType::Uint16 => Datatype::Uint16,
        TensorElementType::Uint32 => Datatype::Uint32,
        TensorElementType::Uint64 => Datatype::Uint64,
        TensorElementType::Int8 => Datatype::Int8,
        TensorElementType::Int16 => Datatype::Int16,
        TensorElementType::Int32 => Datatype::Int32,
        TensorElementType::Int64 => Datatype::Int64,
        TensorElementType::Float16 => Datatype::Fp16,
        TensorElementType::Bfloat16 => Datatype::Bf16,
        TensorElementType::Float32 => Datatype::Fp32,
        TensorElementType::Float64 => Datatype::Fp64,
        TensorElementType::String => Datatype::Bytes,
        _ => return None,
    })
}

/// Shows a tensor to ONNX Runtime, in place; `BYTES` are copied into its strings.
pub(super) fn input(tensor: &Tensor) -> Result<SessionInputValue<'_>, ValueError> {
    match tensor.datatype() {
        Datatype::Bool => {
            // A tensor of this datatype has been checked to hold 0 and 1 alone.
            let elements = bytemuck::checked::try_cast_slice::<u8, bool>(tensor.data())
                .map_err(|_| ValueError::NotText(tensor.name().to_owned()))?;
            Ok(TensorRef::from_array_view((dimensions(tensor), elements))?.into())
        }
        Datatype::Uint8 => in_place::<u8>(tensor),
        Datatype::Uint16 => in_place::<u16>(tensor),
        Datatype::Uint32 => in_place::<u32>(tensor),
        Datatype::Uint64 => in_place::<u64>(tensor),
        Datatype::Int8 => in_place::<i8>(tensor),
        Datatype::Int16 => in_place::<i16>(tensor),
        Datatype::Int32 => in_place::<i32>(tensor),
        Datatype::Int64 => in_place::<i64>(tensor),
        Datatype::Fp16 => in_place::<f16>(tensor),
        Datatype::Bf16 => in_place::<bf16>(tensor),
        Datatype::Fp32 => in_place::<f32>(tensor),
        Datatype::Fp64 => in_place::<f64>(tensor),
        Datatype::Bytes => strings(tensor),
    }
}

fn in_place<T>(tensor: &Tensor) -> Result<SessionInputValue<'_>, ValueError>
where
    T: PrimitiveTensorElementType + std::fmt::Debug + Clone + bytemuck::Pod,
{
    let elements: &[T] = bytemuck::cast_slice(tensor.data());
    Ok(TensorRef::from_array_view((dimensions(tensor), elements))?.into())
}

fn strings(tensor: &Tensor) -> Result<SessionInputValue<'_>, ValueError> {
    let not_text = || ValueError::NotText(tensor.name().to_owned());
    let elements = tensor.elements().map_err(|_| not_text())?;
    let text: Vec<String> = elements
        .map(|element| {
            std::str::from_utf8(element)
                .ok()
                .filter(|text| !text.contains('\0'))
                .map(str::to_owned)
        })
        .collect::<Option<_>>()
        .ok_or_else(not_text)?;
    Ok(OrtTensor::from_string_array((dimensions(tensor), text.as_slice()))?.into())
}

fn dimensions(tensor: &Tensor) -> Vec<i64> {
    // Validation has refused dimensions beyond `i64`.
    tensor
        .shape()
        .iter()
        .map(|dimension| i64::try_from(*dimension).unwrap_or(-1))
        .collect()
}

/// Takes an output over. Its data are shared with ONNX Runtime, and freed with the last tensor that shows them; `borrowed`
/// are the data of the inputs, which an output must not point into.
pub(super) fn output(
    name: &Arc<str>,
    datatype: Datatype,
    value: DynValue,
    borrowed: &[Range<usize>],
) -> Result<Tensor, ValueError> {
    match datatype {
        Datatype::Bool => shared::<bool>(name, datatype, value, borrowed),
        Datatype::Uint8 => shared::<u8>(name, datatype, value, borrowed),
        Datatype::Uint16 => shared::<u16>(name, datatype, value, borrowed),
        Datatype::Uint32 => shared::<u32>(name, datatype, value, borrowed),
        Datatype::Uint64 => shared::<u64>(name, datatype, value, borrowed),
        Datatype::Int8 => shared::<i8>(name, datatype, value, borrowed),
        Datatype::Int16 => shared::<i16>(name, datatype, value, borrowed),
        Datatype::Int32 => shared::<i32>(name, datatype, value, borrowed),
        Datatype::Int64 => shared::<i64>(name, datatype, value, borrowed),
        Datatype::Fp16 => shared::<f16>(name, datatype, value, borrowed),
        Datatype::Bf16 => shared::<bf16>(name, datatype, value, borrowed),
        Datatype::Fp32 => shared::<f32>(name, datatype, value, borrowed),
        Datatype::Fp64 => shared::<f64>(name, datatype, value, borrowed),
        Datatype::Bytes => {
            let (shape, elements) = value.try_extract_strings()?;
            Tensor::from_elements(Arc::clone(name), shape_of(shape), &elements)
                .map_err(|_| ValueError::OutputShape(name.to_string()))
        }
    }
}

fn shared<T>(
    name: &Arc<str>,
    datatype: Datatype,
    value: DynValue,
    borrowed: &[Range<usize>],
) -> Result<Tensor, ValueError>
where
    T: PrimitiveTensorElementType + bytemuck::NoUninit + Send + 'static,
{
    let (shape, elements) = value
        .try_extract_tensor::<T>()
        .map_err(|_| ValueError::OutputType(name.to_string()))?;
    let bytes: &[u8] = bytemuck::cast_slice(elements);
    let start = bytes.as_ptr() as usize;
    let shape = shape_of(shape);
    let data = if bytes.len() <= COPY_BELOW || borrowed.iter().any(|range| range.contains(&start)) {
        AlignedBytes::copy_from(bytes).into()
    } else {
        Bytes::from_owner(OutputData::<T>(value, PhantomData))
    };
    Tensor::new(Arc::clone(name), datatype, shape, data)
        .map_err(|_| ValueError::OutputShape(name.to_string()))
}

fn shape_of(shape: &[i64]) -> wharf_core::Shape {
    shape
        .iter()
        .map(|dimension| u64::try_from(*dimension).unwrap_or(0))
        .collect()
}

/// Keeps a value of ONNX Runtime as long as its data are shown.
struct OutputData<T>(DynValue, PhantomData<fn() -> T>);

impl<T> AsRef<[u8]> for OutputData<T>
where
    T: PrimitiveTensorElementType + bytemuck::NoUninit,
{
    fn as_ref(&self) -> &[u8] {
        // The type was checked when the value was taken over.
        self.0
            .try_extract_tensor::<T>()
            .map_or(&[], |(_, elements)| bytemuck::cast_slice(elements))
    }
}
