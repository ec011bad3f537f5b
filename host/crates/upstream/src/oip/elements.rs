//! The elements of an output that are not raw: in JSON nested lists, or one; in gRPC lists by their kind. They are kept as what
//! they are, and become the datatype's bytes when that is known, since in JSON it may stand after them.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};
use half::{bf16, f16};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use wharf_core::Datatype;

use crate::fault::Fault;
use crate::oip::check::lying;

/// Elements of one kind, in their order.
#[derive(Debug, Default, PartialEq)]
pub(crate) enum Elements {
    #[default]
    None,
    Booleans(Vec<u8>),
    Integers(Vec<i64>),
    /// Where one is too large for the signed ones, and none is negative.
    Naturals(Vec<u64>),
    Numbers(Vec<f64>),
    /// As a tensor of `BYTES` has them: each behind its length.
    Texts(BytesMut),
}

impl Elements {
    /// The bytes of a tensor of this datatype.
    ///
    /// # Errors
    /// Where an element is none of it.
    pub(crate) fn into_bytes(self, datatype: Datatype) -> Result<Bytes, Fault> {
        /// Numbers that fit, as their bytes.
        fn whole<T, const N: usize>(
            integers: impl Iterator<Item = T>,
            bytes: impl Fn(T) -> Option<[u8; N]>,
        ) -> Result<Bytes, Fault> {
            let mut all = BytesMut::with_capacity(integers.size_hint().0 * N);
            for integer in integers {
                let bytes = bytes(integer).ok_or_else(|| lying("a number beyond its datatype"))?;
                all.put_slice(&bytes);
            }
            Ok(all.freeze())
        }
        macro_rules! integers {
            ($integers:expr, $kind:ty) => {
                whole($integers.into_iter(), |n| {
                    <$kind>::try_from(n).ok().map(<$kind>::to_le_bytes)
                })
            };
        }
        macro_rules! of {
            ($integers:expr) => {
                match datatype {
                    Datatype::Uint8 => integers!($integers, u8),
                    Datatype::Uint16 => integers!($integers, u16),
                    Datatype::Uint32 => integers!($integers, u32),
                    Datatype::Uint64 => integers!($integers, u64),
                    Datatype::Int8 => integers!($integers, i8),
                    Datatype::Int16 => integers!($integers, i16),
                    Datatype::Int32 => integers!($integers, i32),
                    Datatype::Int64 => integers!($integers, i64),
                    _ => floats($integers.into_iter().map(|n| n as f64), datatype),
                }
            };
        }
        match self {
            Self::None => Ok(Bytes::new()),
            Self::Booleans(values) if datatype == Datatype::Bool => Ok(values.into()),
            Self::Texts(texts) if datatype == Datatype::Bytes => Ok(texts.freeze()),
            Self::Integers(integers) => of!(integers),
            Self::Naturals(naturals) => of!(naturals),
            Self::Numbers(numbers) => floats(numbers.into_iter(), datatype),
            Self::Booleans(_) | Self::Texts(_) => Err(lying("an element of another datatype")),
        }
    }

    pub(crate) fn integer(&mut self, value: i64) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Integers(vec![value]),
            Self::Integers(integers) => integers.push(value),
            Self::Naturals(naturals) => {
                naturals.push(u64::try_from(value).map_err(|_| MIXED)?);
            }
            Self::Numbers(numbers) => numbers.push(value as f64),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    pub(crate) fn natural(&mut self, value: u64) -> Result<(), &'static str> {
        if let Ok(value) = i64::try_from(value) {
            return self.integer(value);
        }
        match self {
            Self::None => *self = Self::Naturals(vec![value]),
            Self::Integers(integers) => {
                let naturals: Result<Vec<u64>, _> =
                    integers.iter().map(|n| u64::try_from(*n)).collect();
                let mut naturals = naturals.map_err(|_| MIXED)?;
                naturals.push(value);
                *self = Self::Naturals(naturals);
            }
            Self::Naturals(naturals) => naturals.push(value),
            Self::Numbers(numbers) => numbers.push(value as f64),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    pub(crate) fn number(&mut self, value: f64) -> Result<(), &'static str> {
        let mut numbers = match std::mem::take(self) {
            Self::None => Vec::new(),
            Self::Integers(integers) => integers.into_iter().map(|n| n as f64).collect(),
            Self::Naturals(naturals) => naturals.into_iter().map(|n| n as f64).collect(),
            Self::Numbers(numbers) => numbers,
            _ => return Err(MIXED),
        };
        numbers.push(value);
        *self = Self::Numbers(numbers);
        Ok(())
    }

    pub(crate) fn boolean(&mut self, value: bool) -> Result<(), &'static str> {
        match self {
            Self::None => *self = Self::Booleans(vec![value.into()]),
            Self::Booleans(values) => values.push(value.into()),
            _ => return Err(MIXED),
        }
        Ok(())
    }

    pub(crate) fn text(&mut self, text: &[u8]) -> Result<(), &'static str> {
        if *self == Self::None {
            *self = Self::Texts(BytesMut::new());
        }
        let Self::Texts(texts) = self else {
            return Err(MIXED);
        };
        texts.put_u32_le(u32::try_from(text.len()).map_err(|_| "a text is too long")?);
        texts.put_slice(text);
        Ok(())
    }
}

const MIXED: &str = "elements of several kinds";

fn floats(numbers: impl Iterator<Item = f64>, datatype: Datatype) -> Result<Bytes, Fault> {
    let mut bytes = BytesMut::with_capacity(numbers.size_hint().0 * datatype.size().unwrap_or(1));
    for number in numbers {
        match datatype {
            Datatype::Fp16 => bytes.put_slice(&f16::from_f64(number).to_le_bytes()),
            Datatype::Bf16 => bytes.put_slice(&bf16::from_f64(number).to_le_bytes()),
            Datatype::Fp32 => bytes.put_f32_le(number as f32),
            Datatype::Fp64 => bytes.put_f64_le(number),
            _ => return Err(lying("an element of another datatype")),
        }
    }
    Ok(bytes.freeze())
}

impl<'de> Deserialize<'de> for Elements {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut elements = Self::None;
        Behind(&mut elements).deserialize(deserializer)?;
        Ok(elements)
    }
}

/// Reads an element, or a list of them at any depth, behind those that are there.
struct Behind<'a>(&'a mut Elements);

impl<'de> DeserializeSeed<'de> for Behind<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Behind<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers, truth values or texts, and lists of them")
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.0.integer(value).map_err(E::custom)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.0.natural(value).map_err(E::custom)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.0.number(value).map_err(E::custom)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.0.boolean(value).map_err(E::custom)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        self.0.text(text.as_bytes()).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Behind(&mut *self.0))?.is_some() {}
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Err(E::custom("null is no element"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(json: &str, datatype: Datatype) -> Option<Vec<u8>> {
        let elements: Elements = serde_json::from_str(json).ok()?;
        elements
            .into_bytes(datatype)
            .ok()
            .map(|bytes| bytes.to_vec())
    }

    #[test]
    fn elements_become_their_datatype_whatever_the_lists_look_like() {
        let floats = [1.0_f32, 2.5, -3.0].map(f32::to_le_bytes).concat();
        for json in ["[1, 2.5, -3]", "[[1], [2.5, -3]]", "[[[1, 2.5]], -3]"] {
            assert_eq!(bytes(json, Datatype::Fp32), Some(floats.clone()), "{json}");
        }
        let large = [1, u64::MAX].map(u64::to_le_bytes).concat();
        assert_eq!(
            bytes("[1, 18446744073709551615]", Datatype::Uint64),
            Some(large)
        );
        assert_eq!(bytes("[-1, 127]", Datatype::Int8), Some(vec![255, 127]));
        assert_eq!(bytes("[true, false]", Datatype::Bool), Some(vec![1, 0]));
        assert_eq!(
            bytes(r#"["a", "bc"]"#, Datatype::Bytes),
            Some(b"\x01\0\0\0a\x02\0\0\0bc".to_vec())
        );
        assert_eq!(bytes("[]", Datatype::Fp32), Some(Vec::new()));
        assert_eq!(bytes("1", Datatype::Fp16), Some(vec![0, 0x3c]));
    }

    #[test]
    fn what_is_none_of_its_datatype_is_refused() {
        for (json, datatype) in [
            ("[256]", Datatype::Uint8),
            ("[-1]", Datatype::Uint64),
            ("[1.5]", Datatype::Int32),
            ("[1]", Datatype::Bool),
            ("[true]", Datatype::Fp32),
            ("[\"a\"]", Datatype::Fp32),
            ("[1]", Datatype::Bytes),
            ("[null]", Datatype::Fp32),
            ("[1, true]", Datatype::Fp32),
            ("[-1, 18446744073709551615]", Datatype::Uint64),
            ("{}", Datatype::Fp32),
        ] {
            assert_eq!(bytes(json, datatype), None, "{json}");
        }
    }
}
