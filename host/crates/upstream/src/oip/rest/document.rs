//! The documents of an inference: the inputs that are written, and the outputs that are read and checked.

use bytes::Bytes;
use serde::Deserialize;
use wharf_core::{Datatype, Element, Error, Tensor, TensorSpec};

use crate::fault::Fault;
use crate::oip::check::{self, Outputs, lying};
use crate::oip::elements::Elements;

/// Writes the list of inputs: with their sizes where the data is behind the document, and else with the data.
///
/// # Errors
/// `InvalidArgument` with the input's name, where JSON has no way to write it.
pub(super) fn write_inputs(inputs: &[Tensor], binary: bool) -> Result<Vec<u8>, Error> {
    let mut text = vec![b'['];
    for (index, input) in inputs.iter().enumerate() {
        if index > 0 {
            text.push(b',');
        }
        let dimensions: &[u64] = input.shape();
        text.extend_from_slice(br#"{"name":"#);
        write(&mut text, &input.name())?;
        text.extend_from_slice(br#","shape":"#);
        write(&mut text, &dimensions)?;
        text.extend_from_slice(br#","datatype":"#);
        write(&mut text, &input.datatype().name())?;
        if binary {
            text.extend_from_slice(br#","parameters":{"binary_data_size":"#);
            write(&mut text, &input.data().len())?;
            text.push(b'}');
        } else {
            text.extend_from_slice(br#","data":"#);
            write_data(&mut text, input)?;
        }
        text.push(b'}');
    }
    text.push(b']');
    Ok(text)
}

fn write(text: &mut Vec<u8>, value: &impl serde::Serialize) -> Result<(), Error> {
    serde_json::to_writer(text, value).map_err(Error::internal)
}

fn write_data(text: &mut Vec<u8>, input: &Tensor) -> Result<(), Error> {
    fn elements<T: Element>(input: &Tensor) -> Result<&[T], Error> {
        input.as_slice().map_err(Error::internal)
    }
    let finite = |numbers: &[f64]| match numbers.iter().all(|number| number.is_finite()) {
        true => Ok(()),
        // JSON has no way to write them (RFC 8259, 6), and the peer takes nothing else.
        false => Err(Error::invalid(
            input.name().to_owned(),
            "has a number that is not finite, and the upstream takes only JSON, which cannot say that",
        )),
    };
    match input.datatype() {
        Datatype::Bool => {
            let values: Vec<bool> = input.data().iter().map(|byte| *byte == 1).collect();
            write(text, &values)
        }
        Datatype::Uint8 => write(text, &elements::<u8>(input)?),
        Datatype::Uint16 => write(text, &elements::<u16>(input)?),
        Datatype::Uint32 => write(text, &elements::<u32>(input)?),
        Datatype::Uint64 => write(text, &elements::<u64>(input)?),
        Datatype::Int8 => write(text, &elements::<i8>(input)?),
        Datatype::Int16 => write(text, &elements::<i16>(input)?),
        Datatype::Int32 => write(text, &elements::<i32>(input)?),
        Datatype::Int64 => write(text, &elements::<i64>(input)?),
        Datatype::Fp16 => {
            let numbers: Vec<f64> = elements::<half::f16>(input)?
                .iter()
                .map(|n| n.to_f64())
                .collect();
            finite(&numbers).and_then(|()| write(text, &numbers))
        }
        Datatype::Bf16 => {
            let numbers: Vec<f64> = elements::<half::bf16>(input)?
                .iter()
                .map(|n| n.to_f64())
                .collect();
            finite(&numbers).and_then(|()| write(text, &numbers))
        }
        Datatype::Fp32 => {
            let numbers = elements::<f32>(input)?;
            let wide: Vec<f64> = numbers.iter().map(|number| f64::from(*number)).collect();
            finite(&wide).and_then(|()| write(text, &numbers))
        }
        Datatype::Fp64 => {
            let numbers = elements::<f64>(input)?;
            finite(numbers).and_then(|()| write(text, &numbers))
        }
        Datatype::Bytes => {
            let elements = input.elements().map_err(Error::internal)?;
            let texts: Result<Vec<&str>, _> = elements.map(std::str::from_utf8).collect();
            let texts = texts.map_err(|_| {
                let message = "has bytes that are no UTF-8, and the upstream takes only JSON, which cannot say that";
                Error::invalid(input.name().to_owned(), message)
            })?;
            write(text, &texts)
        }
    }
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    outputs: Vec<Output>,
}

#[derive(Deserialize)]
struct Output {
    name: String,
    datatype: String,
    shape: Vec<i64>,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Elements>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parameters {
    binary_data_size: Option<u64>,
}

/// Reads the answer to an inference: the outputs that were asked for, each once, in the model's order.
///
/// # Errors
/// Where it is anything else.
pub(super) fn read_outputs(
    document: &[u8],
    mut data: Bytes,
    specs: &[TensorSpec],
) -> Result<Vec<Tensor>, Fault> {
    let answer: Answer = super::parse(document)?;
    let mut outputs = Outputs::of(specs);
    for output in answer.outputs {
        let shape = check::shape(&output.shape)?;
        let place = check::place(specs, &output.name, &output.datatype, &shape)?;
        if outputs.has(place) {
            return Err(lying("an output twice"));
        }
        let spec = &specs[place];
        let bytes = match (output.parameters.binary_data_size, output.data) {
            (Some(size), None) => {
                let size = usize::try_from(size)
                    .ok()
                    .filter(|size| *size <= data.len());
                data.split_to(size.ok_or_else(|| lying("less data than it says"))?)
            }
            (None, Some(elements)) => elements.into_bytes(spec.datatype)?,
            _ => return Err(lying("an output without data, or with data twice")),
        };
        let tensor = Tensor::new(
            std::sync::Arc::clone(&spec.name),
            spec.datatype,
            shape,
            bytes,
        );
        outputs.put(place, tensor)?;
    }
    if !data.is_empty() {
        return Err(lying("more data than its outputs have"));
    }
    outputs.complete()
}

#[cfg(test)]
mod tests;
