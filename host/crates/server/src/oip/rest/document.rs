//! The JSON document of a request, read once from its first byte to its last: numbers go straight into tensors.

mod input;
mod parameters;

use bytes::Bytes;
use wharf_core::{Error, Result};
use wharf_serving::RouteInput;

use super::Request;
use crate::json::{Cursor, Fault, Unplaced, shorten};
use crate::oip::inputs::Inputs;
use crate::oip::parameters::{OutputParameters, RequestParameters};
use crate::oip::shared_memory::SharedMemory;
use crate::oip::{InferRequest, MAX_OUTPUTS, RequestedOutput};

/// Where elements may be that the document does not hold.
#[derive(Clone, Copy)]
pub(crate) struct Sources<'a> {
    /// The binary data after the document.
    pub(crate) blobs: &'a Bytes,
    pub(crate) shared: &'a SharedMemory,
    /// The most bytes of shared memory that are read; where an input has more, nothing is read.
    pub(crate) max_shared: u64,
}

/// Reads a document; none where it names more shared memory than is to be read.
///
/// # Errors
/// `InvalidArgument` with the place in the document as the field: `inputs.x.data[3]`, `parameters.priority`; as
/// [`SharedMemory::read`].
pub(crate) fn read(
    document: &[u8],
    sources: Sources<'_>,
    input: RouteInput<'_>,
) -> Result<Option<Request>> {
    let mut reader = Reader {
        sources,
        taken: 0,
        is_too_much: false,
        inputs: Inputs::of(input),
        id: None,
        parameters: None,
        outputs: None,
        has_inputs: false,
        at: "body",
    };
    let mut cursor = Cursor::new(document);
    let read = cursor
        .members(|cursor, key| reader.member(cursor, key))
        .and_then(|()| Ok(cursor.end()?));
    read.map_err(|error: Unplaced| error.within(reader.at))?;
    reader.finish()
}

/// What has been read, and where the reader is.
struct Reader<'a> {
    sources: Sources<'a>,
    /// So much of the binary data has found its input.
    taken: usize,
    is_too_much: bool,
    inputs: Inputs<'a>,
    has_inputs: bool,
    id: Option<String>,
    parameters: Option<RequestParameters>,
    outputs: Option<Vec<RequestedOutput>>,
    /// The key being read, which a fault of syntax names.
    at: &'static str,
}

impl Reader<'_> {
    /// Reads a member of the document. Keys that nobody knows are let be: clients send more than the protocol has.
    fn member(&mut self, cursor: &mut Cursor<'_>, key: &str) -> Result<(), Unplaced> {
        let twice = |is_there: bool| match is_there {
            true => Err(Fault::new("is given twice")),
            false => Ok(()),
        };
        match key {
            "id" => {
                self.at = "id";
                twice(self.id.is_some())?;
                self.id = Some(parameters::text_or_null(cursor)?.unwrap_or_default());
            }
            "parameters" => {
                self.at = "parameters";
                twice(self.parameters.is_some())?;
                let read = self.parameters.insert(RequestParameters::default());
                parameters::read(cursor, "parameters", |name, value| read.set(name, value))?;
            }
            "inputs" => {
                self.at = "inputs";
                twice(self.has_inputs)?;
                self.has_inputs = true;
                cursor.elements(|cursor, index| self.input(cursor, index))?;
            }
            "outputs" => {
                self.at = "outputs";
                twice(self.outputs.is_some())?;
                let mut outputs = Vec::new();
                if !parameters::null(cursor) {
                    cursor.elements(|cursor, index| {
                        outputs.push(output(cursor, index)?);
                        Ok::<_, Unplaced>(())
                    })?;
                }
                self.outputs = Some(outputs);
            }
            _ => {
                self.at = "body";
                cursor.skip()?;
            }
        }
        self.at = "body";
        Ok(())
    }

    /// Checks that everything was there, and everything was used.
    fn finish(self) -> Result<Option<Request>> {
        if self.is_too_much {
            return Ok(None);
        }
        let left = self.sources.blobs.len() - self.taken;
        if left > 0 {
            let message = format!(
                "has {left} bytes after the JSON that belong to no input; binary_data_size of the \
                 inputs and inference-header-content-length add up to the body"
            );
            return Err(Error::invalid("body", message));
        }
        let input = self.inputs.finish()?;
        let parameters = self.parameters.unwrap_or_default();
        Ok(Some(Request {
            binary_output: parameters.binary_output,
            request: InferRequest {
                id: self.id.unwrap_or_default(),
                scheduling: parameters.scheduling(),
                input,
                outputs: self.outputs.unwrap_or_default(),
            },
        }))
    }
}

/// Reads an output that is asked for.
fn output(cursor: &mut Cursor<'_>, index: usize) -> Result<RequestedOutput, Unplaced> {
    if index == MAX_OUTPUTS {
        return Err(Fault::new(format!("asks for more than {MAX_OUTPUTS} outputs")).into());
    }
    let at = |key: &str| format!("outputs[{index}]{key}");
    let mut name = None;
    let mut kept: Option<Cursor<'_>> = None;
    let read = cursor.members(|cursor, key| {
        match key {
            "name" if name.is_some() => {
                return Err(Fault::new("is given twice").within(at(".name")).into());
            }
            "name" => {
                let text = parameters::text(cursor);
                name = Some(text.map_err(|fault| fault.within(at(".name")))?);
            }
            "parameters" if kept.is_some() => {
                let twice = Fault::new("is given twice");
                return Err(twice.within(at(".parameters")).into());
            }
            "parameters" => kept = Some(cursor.skip()?),
            _ => {
                cursor.skip()?;
            }
        }
        Ok::<_, Unplaced>(())
    });
    read.map_err(|error| error.within(at("")))?;
    let Some(name) = name else {
        return Err(Error::invalid(at(".name"), "is missing").into());
    };
    let mut read = OutputParameters::default();
    let short = shorten(&name);
    if let Some(mut kept) = kept {
        let field = format!("outputs.{short}.parameters");
        parameters::read(&mut kept, &field, |key, value| read.set(&short, key, value))?;
    }
    Ok(RequestedOutput {
        name: name.into_owned(),
        binary: read.binary,
        classification: read.classification,
        shared_memory: read.take_region(&short)?,
    })
}

#[cfg(test)]
mod tests;
