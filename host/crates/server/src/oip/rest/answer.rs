//! An answer: a JSON document, and after it the binary data that was asked for.

use bytes::Bytes;
use smallvec::SmallVec;
use wharf_core::{Error, ErrorKind, Result, Sequence, SequenceId};

use crate::infer::{INLINE_BYTES, blocking};
use crate::json::{NotFinite, write_elements, write_text};
use crate::oip::{InferResponse, Output, Region};

/// Binary data up to here is copied behind the document: a write of its own would cost more.
const JOIN_BYTES: usize = 16 << 10;

/// How an answer is to be written.
pub(super) struct Form {
    /// Whether outputs that do not say it themselves come as binary data.
    pub(super) binary_output: bool,
    /// The sequence that the request is part of, which the answer repeats.
    pub(super) sequence: Option<Sequence>,
}

/// What is sent.
#[derive(Debug)]
pub(super) struct Answer {
    /// The document first; large outputs are not copied.
    pub(super) parts: SmallVec<[Bytes; 2]>,
    /// The length of the document, where binary data follows it.
    pub(super) document: Option<usize>,
}

/// Writes an answer.
///
/// # Errors
/// `Unprocessable` with the output as the field, where an element of `BYTES` is not UTF-8 and is to be JSON.
pub(super) async fn write(response: InferResponse, form: Form) -> Result<Answer> {
    let texts = response
        .outputs
        .iter()
        .filter(|output| form.is_text(output));
    let size: usize = texts.map(|output| output.tensor.data().len()).sum();
    if size <= INLINE_BYTES / 2 {
        form.write(&response, size)
    } else {
        blocking(move || form.write(&response, size)).await
    }
}

impl Form {
    fn is_binary(&self, output: &Output) -> bool {
        output.shared_memory.is_none() && output.binary.unwrap_or(self.binary_output)
    }

    fn is_text(&self, output: &Output) -> bool {
        output.shared_memory.is_none() && !self.is_binary(output)
    }

    fn write(&self, response: &InferResponse, size: usize) -> Result<Answer> {
        let blobs = response
            .outputs
            .iter()
            .filter(|output| self.is_binary(output));
        let blobs: SmallVec<[&Bytes; 4]> = blobs.map(|output| output.tensor.data()).collect();
        let binary: usize = blobs.iter().map(|blob| blob.len()).sum();
        let join = binary <= JOIN_BYTES;
        // A float of four bytes is about ten characters, a comma with it.
        let mut room = 192 + size.saturating_mul(3) + 96 * response.outputs.len();
        room += if join { binary } else { 0 };
        let mut text = Vec::with_capacity(room);
        self.document(&mut text, response)?;
        let document = (!blobs.is_empty()).then_some(text.len());
        let mut parts = SmallVec::new();
        if join {
            for blob in blobs {
                text.extend_from_slice(blob);
            }
            parts.push(Bytes::from(text));
        } else {
            parts.push(Bytes::from(text));
            parts.extend(blobs.into_iter().cloned());
        }
        Ok(Answer { parts, document })
    }

    fn document(&self, text: &mut Vec<u8>, response: &InferResponse) -> Result<()> {
        text.extend_from_slice(b"{\"model_name\":");
        write_text(text, &response.model_name);
        text.extend_from_slice(b",\"model_version\":\"");
        integer(text, response.model_version);
        text.push(b'"');
        if !response.id.is_empty() {
            text.extend_from_slice(b",\"id\":");
            write_text(text, &response.id);
        }
        if let Some(sequence) = &self.sequence {
            write_sequence(text, sequence);
        }
        text.extend_from_slice(b",\"outputs\":[");
        for (index, output) in response.outputs.iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            self.output(text, output)?;
        }
        text.extend_from_slice(b"]}");
        Ok(())
    }

    fn output(&self, text: &mut Vec<u8>, output: &Output) -> Result<()> {
        let tensor = &output.tensor;
        text.extend_from_slice(b"{\"name\":");
        write_text(text, tensor.name());
        text.extend_from_slice(b",\"datatype\":\"");
        text.extend_from_slice(tensor.datatype().name().as_bytes());
        text.extend_from_slice(b"\",\"shape\":[");
        for (index, size) in tensor.shape().iter().enumerate() {
            if index > 0 {
                text.push(b',');
            }
            integer(text, *size);
        }
        text.push(b']');
        let binary = self.is_binary(output).then(|| tensor.data().len());
        write_parameters(text, output, binary);
        if self.is_text(output) {
            text.extend_from_slice(b",\"data\":");
            // Flat, as Triton has it.
            let count = tensor.shape().elements().unwrap_or(0);
            write_elements(text, tensor, &[count], NotFinite::Literal)
                .map_err(|error| explain(error, output))?;
        }
        text.push(b'}');
        Ok(())
    }
}

fn explain(error: Error, output: &Output) -> Error {
    if error.kind() != ErrorKind::Unprocessable {
        return error;
    }
    let message = "the output has bytes that are not UTF-8, and JSON has no other text; ask for it as \
                   binary data, with the parameter binary_data";
    let field = format!("outputs.{}", output.tensor.name());
    Error::new(ErrorKind::Unprocessable, message).with_field(field)
}

fn write_sequence(text: &mut Vec<u8>, sequence: &Sequence) {
    text.extend_from_slice(b",\"parameters\":{\"sequence_id\":");
    match &sequence.id {
        SequenceId::Number(number) => integer(text, number.get()),
        SequenceId::Text(id) => write_text(text, id),
    }
    text.extend_from_slice(b",\"sequence_start\":");
    boolean(text, sequence.start);
    text.extend_from_slice(b",\"sequence_end\":");
    boolean(text, sequence.end);
    text.push(b'}');
}

fn write_parameters(text: &mut Vec<u8>, output: &Output, binary: Option<usize>) {
    if binary.is_none() && output.content_type.is_none() && output.shared_memory.is_none() {
        return;
    }
    text.extend_from_slice(b",\"parameters\":{");
    if let Some(size) = binary {
        key(text, "binary_data_size");
        integer(text, size);
    }
    if let Some(content_type) = &output.content_type {
        key(text, "content_type");
        write_text(text, content_type);
    }
    if let Some(Region { name, offset, .. }) = &output.shared_memory {
        key(text, "shared_memory_region");
        write_text(text, name);
        key(text, "shared_memory_offset");
        integer(text, *offset);
        key(text, "shared_memory_byte_size");
        integer(text, output.tensor.data().len());
    }
    text.push(b'}');
}

/// Writes a key of an object, after a comma where it is not the first.
fn key(text: &mut Vec<u8>, key: &str) {
    if text.last() != Some(&b'{') {
        text.push(b',');
    }
    write_text(text, key);
    text.push(b':');
}

fn integer(text: &mut Vec<u8>, number: impl itoa::Integer) {
    text.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn boolean(text: &mut Vec<u8>, value: bool) {
    text.extend_from_slice(if value { b"true" } else { b"false" });
}
