//! The encoding of protobuf messages, as far as inference needs it.
//!
//! Reading the messages of inference into what prost generates costs a string or a list for every field, and a message
//! that is nothing but empty inputs would take some two hundred times its size. So they are read in place: a field is a
//! slice of the message, and nothing is allocated for it.

use bytes::{BufMut, BytesMut};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Field<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    /// Text, bytes, a message or a packed list.
    Bytes(&'a [u8]),
}

/// The message breaks the rules of the encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// The fields of a message, in their order, with their numbers.
#[derive(Clone, Debug)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let key = varint(&mut self.0)?;
        let number = key >> 3;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(Malformed);
        }
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut self.0)?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups left the language long ago.
            _ => return Err(Malformed),
        };
        Ok((number, field))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(Malformed)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed)
    }

    pub(super) fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed),
        }
    }
}

/// Takes a varint off the front.
pub(super) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    // Most are one byte.
    if let [byte @ 0..0x80, rest @ ..] = *bytes {
        *bytes = rest;
        return Ok(u64::from(*byte));
    }
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            // The tenth byte holds the last bit.
            if index == 9 && *byte > 1 {
                return Err(Malformed);
            }
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(Malformed)
}

/// The bytes that a varint takes.
pub(super) fn varint_len(value: u64) -> usize {
    // Seven bits a byte, and 0 takes one.
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// The bytes that a field with a length takes, its key and length included. The number is below 16.
pub(super) fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

/// As [`field_len`], of a field that is left out where it is empty.
pub(super) fn text_len(text: &str) -> usize {
    if text.is_empty() {
        0
    } else {
        field_len(text.len())
    }
}

/// Writes a message whose size was counted before.
pub(super) trait Write {
    fn varint(&mut self, value: u64);
    /// The key of a field and the length of what follows.
    fn key(&mut self, number: u8, length: usize);
    /// A field of text, left out where it is empty.
    fn text(&mut self, number: u8, text: &str);
}

impl Write for BytesMut {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn key(&mut self, number: u8, length: usize) {
        self.put_u8(number << 3 | 2);
        self.varint(length as u64);
    }

    fn text(&mut self, number: u8, text: &str) {
        if !text.is_empty() {
            self.key(number, text.len());
            self.put_slice(text.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_are_read_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut buffer = BytesMut::new();
            buffer.varint(value);
            assert_eq!(buffer.len(), varint_len(value), "{value}");
            let mut bytes = &buffer[..];
            assert_eq!(varint(&mut bytes), Ok(value));
            assert!(bytes.is_empty());
        }
    }

    #[test]
    fn fields_are_told_apart() {
        let message = b"\x08\x96\x01\x12\x02hi\x1d\x01\x00\x00\x00\x21\x02\0\0\0\0\0\0\0";
        let fields: Result<Vec<_>, _> = Fields::of(message).collect();
        let expected = [
            (1, Field::Varint(150)),
            (2, Field::Bytes(b"hi")),
            (3, Field::Fixed32(1)),
            (4, Field::Fixed64(2)),
        ];
        assert_eq!(fields.unwrap(), expected);
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        for message in [
            // A key of no field; a group; a length past the end; a value cut off; a varint of eleven bytes, and one of 65
            // bits.
            &b"\x00\x01"[..],
            b"\x0b",
            b"\x0a\x05hi",
            b"\x0d\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        ] {
            let last = Fields::of(message).last();
            assert_eq!(last, Some(Err(Malformed)), "{message:?}");
        }
    }
}
