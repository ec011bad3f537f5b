//! Tensors to `{"output": ..}`.

use bytes::Bytes;
use half::{bf16, f16};
use wharf_core::{Datatype, Element, Error, ErrorKind, Result, Tensor};

/// Whether the outputs of a batch of one keep their first dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Batch {
    Keep,
    /// The input came as one row; so do the outputs.
    Strip,
}

/// How an element is written that JSON has no number for: not a number, or infinite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotFinite {
    /// As `null`, which every reader of JSON takes.
    Null,
    /// As `NaN`, `Infinity`, `-Infinity`: what Triton writes, and readers that expect it tell apart.
    Literal,
}

/// Writes the outputs.
///
/// # Errors
/// `Unprocessable` where an element of a `BYTES` output is not UTF-8.
pub(crate) fn encode(outputs: &[Tensor], batch: Batch) -> Result<Bytes> {
    let bytes: usize = outputs.iter().map(|output| output.data().len()).sum();
    // A float of four bytes is about ten characters, a comma with it.
    let mut text = Vec::with_capacity(64 + bytes.saturating_mul(3));
    text.extend_from_slice(b"{\"output\":");
    if let [output] = outputs {
        write(&mut text, output, batch)?;
    } else {
        text.push(b'{');
        for (index, output) in outputs.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            write_text(&mut text, output.name());
            text.push(b':');
            write(&mut text, output, batch)?;
        }
        text.push(b'}');
    }
    text.push(b'}');
    Ok(Bytes::from(text))
}

fn write(text: &mut Vec<u8>, tensor: &Tensor, batch: Batch) -> Result<()> {
    let shape = match (batch, &**tensor.shape()) {
        (Batch::Strip, [1, row @ ..]) => row,
        (_, shape) => shape,
    };
    write_elements(text, tensor, shape, NotFinite::Null)
}

/// Writes the elements, nested as a shape of as many elements says.
///
/// # Errors
/// As [`encode`].
pub(crate) fn write_elements(
    text: &mut Vec<u8>,
    tensor: &Tensor,
    shape: &[u64],
    not_finite: NotFinite,
) -> Result<()> {
    match tensor.datatype() {
        Datatype::Bool => {
            let mut elements = tensor.data().iter();
            nest(text, shape, &mut |text: &mut Vec<u8>| {
                let value = elements.next().is_some_and(|value| *value != 0);
                text.extend_from_slice(if value { b"true" } else { b"false" });
            });
        }
        Datatype::Bytes => return write_texts(text, tensor, shape),
        Datatype::Uint8 => integers::<u8>(text, tensor, shape)?,
        Datatype::Uint16 => integers::<u16>(text, tensor, shape)?,
        Datatype::Uint32 => integers::<u32>(text, tensor, shape)?,
        Datatype::Uint64 => integers::<u64>(text, tensor, shape)?,
        Datatype::Int8 => integers::<i8>(text, tensor, shape)?,
        Datatype::Int16 => integers::<i16>(text, tensor, shape)?,
        Datatype::Int32 => integers::<i32>(text, tensor, shape)?,
        Datatype::Int64 => integers::<i64>(text, tensor, shape)?,
        Datatype::Fp16 => elements(text, tensor, shape, |text, value: f16| {
            float(text, value.to_f32(), not_finite);
        })?,
        Datatype::Bf16 => elements(text, tensor, shape, |text, value: bf16| {
            float(text, value.to_f32(), not_finite);
        })?,
        Datatype::Fp32 => elements(text, tensor, shape, |text, value: f32| {
            float(text, value, not_finite);
        })?,
        Datatype::Fp64 => elements(text, tensor, shape, |text, value: f64| {
            float(text, value, not_finite);
        })?,
    }
    Ok(())
}

fn integers<T: Element + itoa::Integer>(
    text: &mut Vec<u8>,
    tensor: &Tensor,
    shape: &[u64],
) -> Result<()> {
    elements(text, tensor, shape, |text, value: T| {
        text.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    })
}

fn elements<T: Element>(
    text: &mut Vec<u8>,
    tensor: &Tensor,
    shape: &[u64],
    write: impl Fn(&mut Vec<u8>, T),
) -> Result<()> {
    let slice = tensor.as_slice::<T>().map_err(Error::internal)?;
    let mut elements = slice.iter();
    nest(text, shape, &mut |text: &mut Vec<u8>| {
        if let Some(element) = elements.next() {
            write(text, *element);
        }
    });
    Ok(())
}

fn write_texts(text: &mut Vec<u8>, tensor: &Tensor, shape: &[u64]) -> Result<()> {
    let mut elements = tensor.elements().map_err(Error::internal)?;
    let mut is_text = true;
    nest(
        text,
        shape,
        &mut |text: &mut Vec<u8>| match std::str::from_utf8(elements.next().unwrap_or_default()) {
            Ok(element) => write_text(text, element),
            Err(_) => is_text = false,
        },
    );
    if is_text {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Unprocessable,
            "the output has bytes that are not UTF-8, and JSON has no other text; add a postprocess \
             stage that writes them in another form",
        )
        .with_field(tensor.name().to_owned()))
    }
}

/// Writes text between quotes, escaped.
pub(crate) fn write_text(text: &mut Vec<u8>, element: &str) {
    // Writing text to a Vec cannot fail.
    let _ = serde_json::to_writer(text, element);
}

/// What the shortest decimal that reads back as the same value is made of.
fn float<T: zmij::Float + Into<f64> + Copy>(text: &mut Vec<u8>, value: T, not_finite: NotFinite) {
    if value.into().is_finite() {
        text.extend_from_slice(zmij::Buffer::new().format_finite(value).as_bytes());
    } else {
        text.extend_from_slice(match (not_finite, value.into()) {
            (NotFinite::Null, _) => b"null",
            (_, value) if value.is_nan() => b"NaN",
            (_, value) if value > 0.0 => b"Infinity",
            _ => b"-Infinity",
        });
    }
}

/// Writes the brackets and commas of the shape around its elements.
fn nest(text: &mut Vec<u8>, shape: &[u64], element: &mut impl FnMut(&mut Vec<u8>)) {
    let [size, inner @ ..] = shape else {
        return element(text);
    };
    text.push(b'[');
    for index in 0..*size {
        if index > 0 {
            text.push(b',');
        }
        nest(text, inner, element);
    }
    text.push(b']');
}
