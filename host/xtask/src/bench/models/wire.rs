//! Protocol buffers, as much as ONNX and gRPC messages need, written by hand.

/// A message that grows field by field.
#[derive(Clone, Default)]
pub(in crate::bench) struct Message(Vec<u8>);

impl Message {
    pub(in crate::bench) fn int(mut self, field: u64, number: i64) -> Self {
        self.varint(field << 3);
        self.varint(number.cast_unsigned());
        self
    }

    pub(in crate::bench) fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
        self
    }

    pub(in crate::bench) fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }

    pub(in crate::bench) fn message(self, field: u64, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    pub(in crate::bench) fn packed(self, field: u64, numbers: &[i64]) -> Self {
        let mut packed = Self::default();
        for number in numbers {
            packed.varint(number.cast_unsigned());
        }
        self.message(field, &packed)
    }

    pub(in crate::bench) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_format_wants_them() {
        let message = Message::default().int(1, 300).text(2, "ab");
        assert_eq!(message.into_bytes(), b"\x08\xac\x02\x12\x02ab");
        let packed = Message::default().packed(3, &[1, 128]);
        assert_eq!(packed.into_bytes(), b"\x1a\x03\x01\x80\x01");
    }
}
