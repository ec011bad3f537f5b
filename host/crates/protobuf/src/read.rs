//! Reads the fields of a message one by one. What is small is inlined into other crates: a request is read on the path where
//! microseconds count.

/// The value of a field, as the wire tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    /// A whole number, a truth value or an enumeration.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64(u64),
    /// Four bytes, little-endian.
    Fixed32(u32),
    /// Text, bytes, a message or a packed list.
    Bytes(&'a [u8]),
}

/// The bytes break the rules of the format; with the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

impl Malformed {
    /// A field is a number where it should be text, or the like.
    pub const OTHER_TYPE: Self = Self("a field has another type than it should");
}

/// The fields of a message in their order, with their numbers. After an error it is at its end.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// The fields of a message.
    #[must_use]
    pub fn of(message: &'a [u8]) -> Self {
        Self(message)
    }

    #[inline]
    fn field(&mut self) -> Result<(u64, Field<'a>), Malformed> {
        let key = varint(&mut self.0)?;
        let number = key >> 3;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(Malformed("a field has an impossible number"));
        }
        let field = match key & 7 {
            0 => Field::Varint(varint(&mut self.0)?),
            1 => Field::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).map_err(|_| PAST_END)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(PAST_END)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups left the language long ago, and a parser that skips them would read on where this one cannot.
            _ => return Err(Malformed("a field has an unknown wire type")),
        };
        Ok((number, field))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(PAST_END)?;
        self.0 = rest;
        Ok(*bytes)
    }
}

const PAST_END: Malformed = Malformed("a field runs past the end of its message");
const ENDLESS: Malformed = Malformed("a number does not end");

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Malformed>;

    #[inline]
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
    /// The bytes.
    ///
    /// # Errors
    /// Where the field is of another type.
    #[inline]
    pub fn bytes(self) -> Result<&'a [u8], Malformed> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::OTHER_TYPE),
        }
    }

    /// The bytes as text.
    ///
    /// # Errors
    /// Where the field is of another type, or no UTF-8.
    #[inline]
    pub fn text(self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Malformed("a text is not UTF-8"))
    }

    /// The number.
    ///
    /// # Errors
    /// Where the field is of another type.
    #[inline]
    pub fn varint(self) -> Result<u64, Malformed> {
        match self {
            Self::Varint(value) => Ok(value),
            _ => Err(Malformed::OTHER_TYPE),
        }
    }
}

/// Takes a varint off the front.
///
/// # Errors
/// Where it does not end, or has more than 64 bits.
#[inline]
pub fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
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
                return Err(ENDLESS);
            }
            *bytes = &bytes[index + 1..];
            return Ok(value);
        }
    }
    Err(ENDLESS)
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn what_breaks_the_rules_is_refused_and_ends_the_message() {
        for message in [
            // A key of no field, and one beyond the highest; a group; a length past the end; a value cut off; a varint of
            // eleven bytes, and one of 65 bits.
            &b"\x00\x01"[..],
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b",
            b"\x0a\x05hi",
            b"\x12\x05x",
            b"\x0d\x01",
            b"\x0d\x00",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02",
        ] {
            let mut fields = Fields::of(message);
            assert!(fields.by_ref().last().unwrap().is_err(), "{message:x?}");
            assert_eq!(fields.next(), None);
        }
    }
}
