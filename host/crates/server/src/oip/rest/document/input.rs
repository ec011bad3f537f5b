//! An input in the document: its elements are here, in the binary data, or in shared memory.

use std::borrow::Cow;

use bytes::Bytes;
use smallvec::SmallVec;
use wharf_core::{Error, Result, Shape, Tensor};

use super::{Reader, parameters};
use crate::json::{Cursor, Fault, Plain, Unplaced, shaped, shorten};
use crate::oip::inputs::{Slot, field};
use crate::oip::parameters::InputParameters;

/// The most dimensions of a tensor: far more than any model has.
const MAX_DIMENSIONS: usize = 64;

/// The members of an input, as they are read.
#[derive(Default)]
struct Members<'a> {
    name: Option<Cow<'a, str>>,
    datatype: Option<Cow<'a, str>>,
    shape: Option<Shape>,
    parameters: Option<Cursor<'a>>,
    data: Option<Elements<'a>>,
}

/// The elements of an input in the document.
enum Elements<'a> {
    /// Read: what they are was said before them.
    Read(Slot, Tensor),
    /// Passed over, and read once it is known what they are.
    Kept(Cursor<'a>),
}

impl Members<'_> {
    /// The name where it is known, else the place in the list.
    fn field(&self, index: usize) -> String {
        match &self.name {
            Some(name) => field(name),
            None => format!("inputs[{index}]"),
        }
    }
}

impl Reader<'_> {
    /// Reads an input.
    pub(super) fn input(&mut self, cursor: &mut Cursor<'_>, index: usize) -> Result<(), Unplaced> {
        let mut members = Members::default();
        let read = cursor.members(|cursor, key| self.input_member(cursor, key, &mut members));
        read.map_err(|error| error.within(members.field(index)))?;
        let missing = |what: &str, is_there: bool| match is_there {
            true => Ok(()),
            false => Err(Error::invalid(
                format!("{}.{what}", members.field(index)),
                "is missing",
            )),
        };
        missing("name", members.name.is_some())?;
        missing("datatype", members.datatype.is_some())?;
        missing("shape", members.shape.is_some())?;
        let (slot, data) = self.elements(&mut members)?;
        let parameters = self.input_parameters(&slot, members.parameters)?;
        if let Some(tensor) = self.source(&slot, data, parameters)? {
            self.inputs.fill(&slot, tensor);
        }
        Ok(())
    }

    fn input_member<'a>(
        &self,
        cursor: &mut Cursor<'a>,
        key: &str,
        members: &mut Members<'a>,
    ) -> Result<(), Unplaced> {
        let is_twice = match key {
            "name" => members.name.is_some(),
            "datatype" => members.datatype.is_some(),
            "shape" => members.shape.is_some(),
            "parameters" => members.parameters.is_some(),
            "data" => members.data.is_some(),
            _ => false,
        };
        // The index is not known here: an input without a name is told apart by the error around this one.
        let at = |members: &Members<'_>, fault: Fault| match &members.name {
            Some(name) => fault.within(format!("{}.{key}", field(name))).into(),
            None => Unplaced::Fault(fault),
        };
        if is_twice {
            return Err(at(members, Fault::new(format!("has {key} twice"))));
        }
        match key {
            "name" => match parameters::text(cursor) {
                Ok(name) => members.name = Some(name),
                Err(fault) => return Err(at(members, fault)),
            },
            "datatype" => match parameters::text(cursor) {
                Ok(datatype) => members.datatype = Some(datatype),
                Err(fault) => return Err(at(members, fault)),
            },
            "shape" => match shape(cursor) {
                Ok(shape) => members.shape = Some(shape),
                Err(fault) => return Err(at(members, fault)),
            },
            "parameters" => members.parameters = Some(cursor.skip()?),
            "data" => {
                members.data = Some(match (&members.name, &members.datatype, &members.shape) {
                    (Some(name), Some(datatype), Some(shape)) => {
                        let slot = self.inputs.slot(name, datatype, shape.clone())?;
                        let tensor = elements(cursor, &slot)?;
                        Elements::Read(slot, tensor)
                    }
                    _ => Elements::Kept(cursor.skip().map_err(|fault| at(members, fault))?),
                });
            }
            _ => {
                cursor.skip()?;
            }
        }
        Ok(())
    }

    /// The place of the input, with its elements where the document has them.
    fn elements(&self, members: &mut Members<'_>) -> Result<(Slot, Option<Tensor>)> {
        let kept = match members.data.take() {
            Some(Elements::Read(slot, tensor)) => return Ok((slot, Some(tensor))),
            Some(Elements::Kept(cursor)) => Some(cursor),
            None => None,
        };
        let name = members.name.as_deref().unwrap_or_default();
        let datatype = members.datatype.as_deref().unwrap_or_default();
        let shape = members.shape.take().unwrap_or_default();
        let slot = self.inputs.slot(name, datatype, shape)?;
        let tensor = kept.map(|mut cursor| elements(&mut cursor, &slot));
        Ok((slot, tensor.transpose()?))
    }

    fn input_parameters(
        &mut self,
        slot: &Slot,
        kept: Option<Cursor<'_>>,
    ) -> Result<InputParameters> {
        let mut read = InputParameters::default();
        if let Some(mut kept) = kept {
            let field = format!("inputs.{}.parameters", slot.name);
            parameters::read(&mut kept, &field, |key, value| {
                read.set(&slot.name, key, value)
            })?;
        }
        if let Some(content_type) = read.content_type.take() {
            self.inputs.set_content_type(content_type);
        }
        Ok(read)
    }

    /// Takes the elements from the one place where they are; none where there is more shared memory than is to be read.
    fn source(
        &mut self,
        slot: &Slot,
        data: Option<Tensor>,
        mut parameters: InputParameters,
    ) -> Result<Option<Tensor>> {
        let region = parameters.take_region(&slot.name)?;
        match (data, parameters.binary_data_size, region) {
            (Some(tensor), None, None) => Ok(Some(tensor)),
            (None, Some(size), None) => tensor(slot, self.blob(slot, size)?).map(Some),
            (None, None, Some(region)) if region.byte_size > self.sources.max_shared => {
                self.is_too_much = true;
                Ok(None)
            }
            (None, None, Some(region)) => {
                let data = self.sources.shared.read(&region);
                let data = data.map_err(|error| error.with_field(field(&slot.name)))?;
                tensor(slot, data).map(Some)
            }
            // An empty tensor needs no elements.
            (None, None, None) if slot.shape.elements() == Some(0) => {
                tensor(slot, Bytes::new()).map(Some)
            }
            (None, None, None) => Err(Error::invalid(
                field(&slot.name),
                "has no elements; send data, or the parameter binary_data_size or \
                 shared_memory_region",
            )),
            _ => Err(Error::invalid(
                field(&slot.name),
                "has elements in two places; send one of data, binary_data_size and \
                 shared_memory_region",
            )),
        }
    }

    /// The next so many bytes of the binary data.
    fn blob(&mut self, slot: &Slot, size: u64) -> Result<Bytes> {
        let left = self.sources.blobs.len() - self.taken;
        let size = usize::try_from(size).ok().filter(|size| *size <= left);
        let size = size.ok_or_else(|| {
            let field = format!("inputs.{}.parameters.binary_data_size", slot.name);
            let message = format!("is more than the {left} bytes that the body has left");
            Error::invalid(field, message)
        })?;
        let start = self.taken;
        self.taken += size;
        Ok(self.sources.blobs.slice(start..self.taken))
    }
}

/// Reads the elements of an input from the document.
fn elements(cursor: &mut Cursor<'_>, slot: &Slot) -> Result<Tensor> {
    let tensor = shaped(cursor, &slot.name, slot.datatype, &slot.shape);
    tensor.map_err(|fault| fault.within(format!("inputs.{}.data", slot.name)))
}

/// Makes a tensor of bytes: they are shared where they are aligned, and copied once where not.
fn tensor(slot: &Slot, data: Bytes) -> Result<Tensor> {
    let (name, shape) = (slot.name.clone(), slot.shape.clone());
    let tensor = Tensor::new(name, slot.datatype, shape, data);
    tensor.map_err(|error| Error::invalid(field(&slot.name), error.to_string()))
}

/// Reads a shape.
fn shape(cursor: &mut Cursor<'_>) -> Result<Shape, Fault> {
    let mut sizes: SmallVec<[u64; 8]> = SmallVec::new();
    cursor.elements(|cursor, index| {
        if index == MAX_DIMENSIONS {
            return Err(Fault::new(format!(
                "has more than {MAX_DIMENSIONS} dimensions"
            )));
        }
        let at = |message: String| Fault::new(message).at(&[index as u64]);
        let size = match cursor.plain()? {
            Some(Plain::Number(number)) => {
                let text = String::from_utf8_lossy(number.text);
                let size = number.integer().map(u64::try_from);
                size.and_then(Result::ok).ok_or_else(|| {
                    at(format!(
                        "is {}, but a size is a whole number, not below 0",
                        shorten(&text)
                    ))
                })?
            }
            _ => return Err(at("is a whole number, not below 0".to_owned())),
        };
        sizes.push(size);
        Ok(())
    })?;
    Ok(sizes.iter().copied().collect())
}
