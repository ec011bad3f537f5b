//! Writes a message field by field.

/// A message that grows.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// An empty message.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a whole number.
    #[must_use]
    pub fn varint(mut self, field: u32, number: u64) -> Self {
        self.raw(u64::from(field) << 3);
        self.raw(number);
        self
    }

    /// Adds a signed whole number.
    #[must_use]
    pub fn int(self, field: u32, number: i64) -> Self {
        self.varint(field, number.cast_unsigned())
    }

    /// Adds bytes or text.
    #[must_use]
    pub fn bytes(mut self, field: u32, bytes: impl AsRef<[u8]>) -> Self {
        self.raw(u64::from(field) << 3 | 2);
        self.raw(bytes.as_ref().len() as u64);
        self.0.extend_from_slice(bytes.as_ref());
        self
    }

    /// Adds a message.
    #[must_use]
    pub fn message(self, field: u32, message: &Self) -> Self {
        self.bytes(field, &message.0)
    }

    /// Adds messages under one number.
    #[must_use]
    pub fn messages(self, field: u32, messages: &[Self]) -> Self {
        messages
            .iter()
            .fold(self, |this, message| this.message(field, message))
    }

    /// Adds a packed list of signed numbers.
    #[must_use]
    pub fn packed(self, field: u32, numbers: &[i64]) -> Self {
        let mut packed = Self::default();
        for number in numbers {
            packed.raw(number.cast_unsigned());
        }
        self.message(field, &packed)
    }

    /// The bytes of the message.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    fn raw(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_the_format_wants_them() {
        let message = Message::new().varint(1, 300).bytes(2, "ab");
        assert_eq!(message.into_bytes(), b"\x08\xac\x02\x12\x02ab");
        let packed = Message::new().packed(3, &[1, 128]);
        assert_eq!(packed.into_bytes(), b"\x1a\x03\x01\x80\x01");
    }

    #[test]
    fn numbers_are_read_back() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let message = Message::new().varint(1, value).into_bytes();
            let mut number = &message[1..];
            assert_eq!(crate::varint(&mut number), Ok(value));
            assert!(number.is_empty());
        }
    }
}
