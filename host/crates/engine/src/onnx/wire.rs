//! The protobuf wire format, read in place.

use super::OnnxError;

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    pub(super) value: Value<'a>,
}

/// A field's value, as the wire tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value<'a> {
    Varint(u64),
    /// Fixed 32 or 64 bits; nothing that is looked at here.
    Fixed,
    /// A string, bytes, a message, or packed numbers.
    Bytes(&'a [u8]),
}

/// Reads the fields of a message one by one. After an error it is at its end.
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    fn read(&mut self) -> Result<Field<'a>, OnnxError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(OnnxError::Malformed("a field has an impossible number"))?;
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let len = self.varint()?;
                Value::Bytes(self.take(len)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups are of no use in ONNX, and a parser that skips them would read on where this one cannot.
            _ => return Err(OnnxError::Malformed("a field has an unknown wire type")),
        };
        Ok(Field { number, value })
    }

    fn varint(&mut self) -> Result<u64, OnnxError> {
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f)
                .checked_shl(7 * index as u32)
                .unwrap_or(0);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        Err(OnnxError::Malformed("a number does not end"))
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8], OnnxError> {
        let (taken, rest) = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len))
            .ok_or(OnnxError::Malformed(
                "a field runs past the end of its message",
            ))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, OnnxError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Reads text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, OnnxError> {
    std::str::from_utf8(bytes).map_err(|_| OnnxError::Malformed("a name is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_in_order() {
        let fields: Vec<_> =
            Fields::new(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x1d, 0, 0, 0, 0])
                .collect::<Result<_, _>>()
                .unwrap();
        assert_eq!(
            fields[0],
            Field {
                number: 1,
                value: Value::Varint(150)
            }
        );
        assert_eq!(
            fields[1],
            Field {
                number: 2,
                value: Value::Bytes(b"hi")
            }
        );
        assert_eq!(
            fields[2],
            Field {
                number: 3,
                value: Value::Fixed
            }
        );
    }

    #[test]
    fn garbage_ends_in_an_error() {
        for garbage in [
            &[0x80_u8; 11][..],  // a varint of eleven bytes
            &[0x12, 0x05, b'x'], // longer than the message
            &[0x0b],             // a group
            &[0x00, 0x01],       // field number 0
            &[0x0d, 0x00],       // half a fixed32
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
        ] {
            let mut fields = Fields::new(garbage);
            assert!(fields.by_ref().any(|field| field.is_err()), "{garbage:x?}");
            assert!(fields.next().is_none());
        }
    }
}
