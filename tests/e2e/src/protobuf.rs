//! The wire format of protocol buffers, as far as the tests need it: they know nothing of the server's own code.

use anyhow::{Context, Result, bail};

/// A message that is being written.
#[derive(Clone, Default)]
pub(crate) struct Message(Vec<u8>);

impl Message {
    pub(crate) fn int(&mut self, field: u64, number: i64) -> &mut Self {
        self.varint(field << 3);
        self.varint(number.cast_unsigned());
        self
    }

    pub(crate) fn bytes(&mut self, field: u64, bytes: &[u8]) -> &mut Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(crate) fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.bytes(field, text.as_bytes())
    }

    pub(crate) fn message(&mut self, field: u64, message: &Message) -> &mut Self {
        self.bytes(field, &message.0)
    }

    pub(crate) fn packed(&mut self, field: u64, numbers: &[i64]) -> &mut Self {
        let mut packed = Message::default();
        for number in numbers {
            packed.varint(number.cast_unsigned());
        }
        self.message(field, &packed)
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// The fields of a message that are bytes, text or messages, with their numbers. Other fields are left out.
///
/// # Errors
/// Where the bytes are no message.
pub(crate) fn fields(mut rest: &[u8]) -> Result<Vec<(u64, &[u8])>> {
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let key = take_varint(&mut rest)?;
        let skipped = match key & 7 {
            0 => {
                take_varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => {
                let length = usize::try_from(take_varint(&mut rest)?)?;
                let field = rest.get(..length).context("a field is cut off")?;
                fields.push((key >> 3, field));
                length
            }
            5 => 4,
            kind => bail!("a field of the kind {kind}"),
        };
        rest = rest.get(skipped..).context("a field is cut off")?;
    }
    Ok(fields)
}

fn take_varint(rest: &mut &[u8]) -> Result<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first().context("a number is cut off")?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    bail!("a number is too long")
}
