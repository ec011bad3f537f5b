//! A `ModelInferRequest` in its encoding, to a request for inference.
//!
//! Reading it into what prost generates costs a string or a list for every field, and a message that is nothing but empty
//! inputs would take some two hundred times its size. So it is read in place: a field is a slice of the message, and nothing
//! is allocated for it.

use bytes::Bytes;
use smallvec::SmallVec;
use wharf_core::{Error, ErrorKind, Result, Scheduling, Shape};
use wharf_protobuf::{Field, Fields, Malformed, varint};
use wharf_serving::RouteInput;

use super::contents;
use crate::json::shorten;
use crate::oip::inputs::{Inputs, field};
use crate::oip::parameters::{InputParameters, OutputParameters, RequestParameters, Value};
use crate::oip::shared_memory::{self, SharedMemory};
use crate::oip::{InferRequest, RequestedOutput};

/// The most fields of a message: so many inputs, outputs and parameters together. Each costs more than its bytes.
const MAX_FIELDS: usize = 16_384;
/// Contents that are not raw are read number by number: above this size, it takes longer than a neighbour should wait.
const INLINE_BYTES: usize = 256 << 10;

/// The fields of a request, as they stand in its message. Parameters, inputs and outputs are not read yet.
#[derive(Debug, Default)]
pub(super) struct Request<'a> {
    pub(super) model: &'a str,
    pub(super) version: &'a str,
    pub(super) id: &'a str,
    parameters: SmallVec<[&'a [u8]; 4]>,
    inputs: SmallVec<[&'a [u8]; 4]>,
    outputs: SmallVec<[&'a [u8]; 4]>,
    raw: SmallVec<[&'a [u8]; 4]>,
}

impl<'a> Request<'a> {
    /// Tells the fields apart.
    ///
    /// # Errors
    /// `InvalidArgument` where the message is none of these; `TooLarge` where it has too many fields.
    pub(super) fn of(message: &'a [u8]) -> Result<Self> {
        let mut request = Self::default();
        for (count, field) in Fields::of(message).enumerate() {
            if count >= MAX_FIELDS {
                let message = "the request has more than 16384 inputs, outputs and parameters";
                return Err(Error::new(ErrorKind::TooLarge, message).with_field("request"));
            }
            request.take(field).map_err(malformed)?;
        }
        Ok(request)
    }

    fn take(&mut self, field: Result<(u64, Field<'a>), Malformed>) -> Result<(), Malformed> {
        match field? {
            (1, field) => self.model = field.text()?,
            (2, field) => self.version = field.text()?,
            (3, field) => self.id = field.text()?,
            (4, field) => self.parameters.push(field.bytes()?),
            (5, field) => self.inputs.push(field.bytes()?),
            (6, field) => self.outputs.push(field.bytes()?),
            (7, field) => self.raw.push(field.bytes()?),
            // From a later version of the protocol.
            _ => {}
        }
        Ok(())
    }

    /// Whether reading the inputs may take long.
    pub(super) fn is_heavy(&self) -> bool {
        let size: usize = self.inputs.iter().map(|input| input.len()).sum();
        size > INLINE_BYTES || self.inputs.iter().any(|input| reads_much(input))
    }

    /// Reads the request as a whole.
    ///
    /// # Errors
    /// `InvalidArgument` with the field.
    pub(super) fn read(
        &self,
        message: &Bytes,
        input: RouteInput<'_>,
        shared: &SharedMemory,
    ) -> Result<InferRequest> {
        let outputs = self.outputs.iter().map(|output| requested(output));
        Ok(InferRequest {
            id: self.id.to_owned(),
            scheduling: self.scheduling()?,
            outputs: outputs.collect::<Result<_>>()?,
            input: self.inputs(message, input, shared)?,
        })
    }

    /// Reads what the request says of its place among others.
    ///
    /// # Errors
    /// `InvalidArgument` with the parameter as the field.
    pub(super) fn scheduling(&self) -> Result<Scheduling> {
        let mut parameters = RequestParameters::default();
        for entry in &self.parameters {
            let (name, value) = parameter(entry).map_err(malformed)?;
            if let Some(value) = value {
                parameters.set(name, value)?;
            }
        }
        Ok(parameters.scheduling())
    }

    fn inputs(
        &self,
        message: &Bytes,
        input: RouteInput<'_>,
        shared: &SharedMemory,
    ) -> Result<wharf_core::Payload> {
        let mut inputs = Inputs::of(input);
        let mut raw = self.raw.iter();
        for entry in &self.inputs {
            let mut input = Input::of(entry)?;
            let name = input.name;
            let slot = inputs.slot(name, input.datatype, input.shape)?;
            if let Some(content_type) = input.parameters.content_type.take() {
                inputs.set_content_type(content_type);
            }
            let region = input.parameters.take_region(name)?;
            let tensor = match (region, input.contents) {
                (Some(_), Some(_)) => {
                    let message = "has both contents and a region of shared memory; send one";
                    return Err(Error::invalid(field(name), message));
                }
                (Some(region), None) => {
                    let contents = shared.read(&region);
                    let contents = contents.map_err(|error| error.with_field(field(name)))?;
                    contents::raw(&slot, contents)?
                }
                (None, Some(_)) if !self.raw.is_empty() => {
                    let message = "has typed contents, but the request has raw_input_contents; send \
                                   all inputs raw, or all typed";
                    return Err(Error::invalid(field(name), message));
                }
                (None, Some(contents)) => contents::typed(&slot, contents, message)?,
                (None, None) => match raw.next() {
                    Some(bytes) => contents::raw(&slot, message.slice_ref(bytes))?,
                    // An empty tensor needs no contents.
                    None if slot.shape.elements() == Some(0) => contents::raw(&slot, Bytes::new())?,
                    None => {
                        let message = "has neither contents nor an entry of raw_input_contents";
                        return Err(Error::invalid(field(name), message));
                    }
                },
            };
            inputs.fill(&slot, tensor);
        }
        if raw.next().is_some() {
            let message = format!(
                "has {} entries; one is for each input that is not in shared memory",
                self.raw.len()
            );
            return Err(Error::invalid("raw_input_contents", message));
        }
        inputs.finish()
    }
}

/// An `InferInputTensor`.
struct Input<'a> {
    name: &'a str,
    datatype: &'a str,
    shape: Shape,
    parameters: InputParameters,
    contents: Option<&'a [u8]>,
}

impl<'a> Input<'a> {
    fn of(entry: &'a [u8]) -> Result<Self> {
        let mut input = Self {
            name: "",
            datatype: "",
            shape: Shape::default(),
            parameters: InputParameters::default(),
            contents: None,
        };
        let mut shape: SmallVec<[i64; 8]> = SmallVec::new();
        let mut has_parameters = false;
        for item in Fields::of(entry) {
            match item.map_err(malformed)? {
                (1, text) => input.name = text.text().map_err(malformed)?,
                (2, text) => input.datatype = text.text().map_err(malformed)?,
                (3, Field::Varint(size)) => shape.push(size as i64),
                (3, Field::Bytes(mut sizes)) => {
                    while !sizes.is_empty() && shape.len() <= MAX_DIMENSIONS {
                        shape.push(varint(&mut sizes).map_err(malformed)? as i64);
                    }
                }
                (3, _) => return Err(malformed(Malformed::OTHER_TYPE)),
                (4, _) => has_parameters = true,
                (5, contents) => {
                    let contents = contents.bytes().map_err(malformed)?;
                    if input.contents.is_some() {
                        return Err(Error::invalid(field(input.name), "has its contents twice"));
                    }
                    // Some clients write a message with nothing in it beside raw contents.
                    input.contents = (!contents.is_empty()).then_some(contents);
                }
                _ => {}
            }
            if shape.len() > MAX_DIMENSIONS {
                let message = "has more than 64 dimensions";
                return Err(Error::invalid(field(input.name), message));
            }
        }
        input.shape = shape
            .iter()
            .map(|size| u64::try_from(*size).ok())
            .collect::<Option<Shape>>()
            .ok_or_else(|| Error::invalid(field(input.name), "has a negative dimension"))?;
        if has_parameters {
            // After the name, which errors of theirs tell, whatever the order of the fields is.
            for item in Fields::of(entry) {
                if let Ok((4, entry)) = item {
                    let entry = entry.bytes().map_err(malformed)?;
                    if let (name, Some(value)) = parameter(entry).map_err(malformed)? {
                        input.parameters.set(input.name, name, value)?;
                    }
                }
            }
        }
        Ok(input)
    }
}

/// Whether an input is so large a part of shared memory that reading it takes long.
fn reads_much(entry: &[u8]) -> bool {
    const REGION: &[u8] = b"shared_memory_region";
    if memchr::memmem::find(entry, REGION).is_none() {
        return false;
    }
    // What is wrong with it shows when it is read.
    let Ok(mut input) = Input::of(entry) else {
        return false;
    };
    let region = input.parameters.take_region(input.name).ok().flatten();
    region.is_some_and(|region| region.byte_size > shared_memory::INLINE_BYTES)
}

/// The most dimensions of a tensor: far more than any model has.
const MAX_DIMENSIONS: usize = 64;

/// An `InferRequestedOutputTensor`.
fn requested(entry: &[u8]) -> Result<RequestedOutput> {
    let mut name = "";
    for item in Fields::of(entry) {
        if let (1, text) = item.map_err(malformed)? {
            name = text.text().map_err(malformed)?;
        }
    }
    let mut parameters = OutputParameters::default();
    for item in Fields::of(entry) {
        if let Ok((2, entry)) = item {
            let entry = entry.bytes().map_err(malformed)?;
            if let (key, Some(value)) = parameter(entry).map_err(malformed)? {
                parameters.set(name, key, value)?;
            }
        }
    }
    Ok(RequestedOutput {
        name: name.to_owned(),
        binary: None,
        classification: parameters.classification,
        shared_memory: parameters.take_region(&shorten(name))?,
    })
}

/// An entry of a map of parameters: `string key = 1; InferParameter value = 2`.
fn parameter(entry: &[u8]) -> Result<(&str, Option<Value<'_>>), Malformed> {
    let (mut name, mut value) = ("", None);
    for field in Fields::of(entry) {
        match field? {
            (1, field) => name = field.text()?,
            (2, field) => {
                for choice in Fields::of(field.bytes()?) {
                    value = match choice? {
                        (1, field) => Some(Value::Bool(field.varint()? != 0)),
                        (2, field) => Some(Value::Int(field.varint()? as i64)),
                        (3, field) => Some(Value::Text(field.text()?)),
                        (4, Field::Fixed64(bits)) => Some(Value::Double(f64::from_bits(bits))),
                        (4, _) => return Err(Malformed::OTHER_TYPE),
                        (5, field) => Some(Value::Uint(field.varint()?)),
                        _ => value,
                    };
                }
            }
            _ => {}
        }
    }
    Ok((name, value))
}

fn malformed(_: Malformed) -> Error {
    let message = "is not a ModelInferRequest in the encoding of protobuf";
    Error::invalid("request", message)
}

#[cfg(test)]
mod tests;
