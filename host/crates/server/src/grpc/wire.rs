//! Writes messages of inference, whose size is counted before. What reads them is `wharf_protobuf`.

use bytes::{BufMut, BytesMut};

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
            assert_eq!(wharf_protobuf::varint(&mut bytes), Ok(value));
            assert!(bytes.is_empty());
        }
    }
}
