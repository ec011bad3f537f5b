//! Tensors as ONNX Runtime's values and back, without a copy where the data need no conversion.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use bytes::Bytes;
use ort::memory::MemoryInfo;
use ort::sys::ONNXTensorElementDataType as Element;
use ort::value::{Tensor as OrtTensor, TensorElementType};
use smallvec::SmallVec;
use wharf_core::{AlignedBytes, Datatype, Shape, Tensor, TensorSpec};

use super::call::Value;

/// Outputs up to so many bytes are copied: that is cheaper than to keep ONNX Runtime's value, and with it its arena.
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
    from_element(element.into())
}

fn from_element(element: Element) -> Option<Datatype> {
    DATATYPES
        .into_iter()
        .find_map(|(datatype, known)| (known == element).then_some(datatype))
}

/// The element type of a datatype.
pub(super) fn element(datatype: Datatype) -> Element {
    DATATYPES
        .into_iter()
        .find_map(|(known, element)| (known == datatype).then_some(element))
        .unwrap_or(Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED)
}

const DATATYPES: [(Datatype, Element); 14] = [
    (Datatype::Fp32, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
    (
        Datatype::Int64,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64,
    ),
    (
        Datatype::Bytes,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING,
    ),
    (Datatype::Bool, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL),
    (
        Datatype::Uint8,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8,
    ),
    (
        Datatype::Uint16,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16,
    ),
    (
        Datatype::Uint32,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32,
    ),
    (
        Datatype::Uint64,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64,
    ),
    (Datatype::Int8, Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8),
    (
        Datatype::Int16,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16,
    ),
    (
        Datatype::Int32,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32,
    ),
    (
        Datatype::Fp16,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    ),
    (
        Datatype::Bf16,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    ),
    (
        Datatype::Fp64,
        Element::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
    ),
];

/// The dimensions of a shape, as ONNX Runtime wants them.
pub(super) type Dimensions = SmallVec<[i64; 6]>;

/// Shows a tensor to ONNX Runtime, in place; `BYTES` are copied into its strings.
pub(super) fn input<'a>(
    tensor: &'a Tensor,
    place: &MemoryInfo<'_>,
) -> Result<Value<'a>, ValueError> {
    match tensor.datatype() {
        Datatype::Bytes => strings(tensor),
        datatype => Ok(Value::showing(
            tensor.data(),
            &dimensions(tensor),
            element(datatype),
            place,
        )?),
    }
}

fn strings(tensor: &Tensor) -> Result<Value<'static>, ValueError> {
    Ok(Value::from(text(tensor)?.into_dyn()))
}

/// Copies a `BYTES` tensor into strings of ONNX Runtime.
pub(super) fn text(tensor: &Tensor) -> Result<OrtTensor<String>, ValueError> {
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
    let dimensions = dimensions(tensor).into_vec();
    Ok(OrtTensor::from_string_array((dimensions, text.as_slice()))?)
}

/// The dimensions of a tensor.
pub(super) fn dimensions(tensor: &Tensor) -> Dimensions {
    // Validation has refused dimensions beyond `i64`.
    tensor
        .shape()
        .iter()
        .map(|dimension| i64::try_from(*dimension).unwrap_or(-1))
        .collect()
}

/// Takes an output over. Its data are shared with ONNX Runtime, and freed with the last tensor that shows them; `borrowed`
/// are the data of the inputs, which an output must not point into. `surplus` is set when they
/// are not shown any more.
pub(super) fn output(
    spec: &TensorSpec,
    value: Value<'static>,
    borrowed: &[Range<usize>],
    surplus: Option<&Arc<AtomicBool>>,
) -> Result<Tensor, ValueError> {
    let TensorSpec { name, datatype, .. } = spec;
    let datatype = *datatype;
    let misshapen = || ValueError::OutputShape(name.to_string());
    let (element, shape) = value.shape()?;
    if from_element(element) != Some(datatype) {
        return Err(ValueError::OutputType(name.to_string()));
    }
    let shape: Shape = shape
        .iter()
        .map(|dimension| u64::try_from(*dimension).ok())
        .collect::<Option<_>>()
        .ok_or_else(misshapen)?;
    let elements = shape
        .elements()
        .and_then(|elements| usize::try_from(elements).ok())
        .ok_or_else(misshapen)?;
    let Some(size) = datatype.size() else {
        let (text, starts) = value.text(elements)?;
        let parts = cut(&text, &starts).ok_or_else(misshapen)?;
        return Tensor::from_elements(Arc::clone(name), shape, &parts).map_err(|_| misshapen());
    };
    let len = elements.checked_mul(size).ok_or_else(misshapen)?;
    let bytes = value.data(len)?;
    let start = bytes.as_ptr() as usize;
    let data = if len <= COPY_BELOW || borrowed.iter().any(|range| range.contains(&start)) {
        AlignedBytes::copy_from(bytes).into()
    } else {
        Bytes::from_owner(OutputData {
            value: Some(value),
            len,
            surplus: surplus.cloned(),
        })
    };
    Tensor::new(Arc::clone(name), datatype, shape, data).map_err(|_| misshapen())
}

/// The parts of a text that begin there.
fn cut<'t>(text: &'t [u8], starts: &[usize]) -> Option<Vec<&'t [u8]>> {
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| text.get(*start..end))
        .collect()
}

/// Keeps a value of ONNX Runtime as long as its data are shown.
struct OutputData {
    /// None only while it is dropped: it must be gone before its memory is surplus.
    value: Option<Value<'static>>,
    len: usize,
    surplus: Option<Arc<AtomicBool>>,
}

impl AsRef<[u8]> for OutputData {
    fn as_ref(&self) -> &[u8] {
        // It was read once already, when the value was taken over.
        let value = self.value.as_ref();
        value
            .and_then(|value| value.data(self.len).ok())
            .unwrap_or_default()
    }
}

impl Drop for OutputData {
    fn drop(&mut self) {
        self.value = None;
        if let Some(surplus) = &self.surplus {
            surplus.store(true, Relaxed);
        }
    }
}
