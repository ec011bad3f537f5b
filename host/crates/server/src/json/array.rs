//! Nested JSON arrays, read straight into the elements of one tensor.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use half::{bf16, f16};
use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};
use smallvec::SmallVec;
use wharf_core::{Datatype, Element, Shape, Tensor, TensorError, TensorSpec};

/// Arrays may nest this deep: more than any model takes, and less than the parser's own limit.
const MAX_RANK: usize = 32;

/// What a JSON number or text is, as it is read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'a> {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
}

impl fmt::Display for Scalar<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Signed(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::Text(_) => f.write_str("text"),
        }
    }
}

/// Collects the elements of one datatype.
pub(super) trait Elements: Sized {
    /// Takes an element; refuses it where the datatype cannot hold it.
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), Refused>;

    fn into_tensor(self, spec: &TensorSpec, shape: Shape) -> Result<Tensor, TensorError>;
}

/// Why a value is no element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    Type,
    Range,
}

/// Numbers.
impl<T: Number> Elements for Vec<T> {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), Refused> {
        Vec::push(self, T::of(scalar)?);
        Ok(())
    }

    fn into_tensor(self, spec: &TensorSpec, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::from_vec(spec.name.clone(), shape, self)
    }
}

/// The elements of a `BOOL` tensor, a byte each.
#[derive(Default)]
pub(super) struct Bools(Vec<u8>);

impl Elements for Bools {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), Refused> {
        match scalar {
            Scalar::Bool(value) => {
                self.0.push(value.into());
                Ok(())
            }
            _ => Err(Refused::Type),
        }
    }

    fn into_tensor(self, spec: &TensorSpec, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::new(
            spec.name.clone(),
            Datatype::Bool,
            shape,
            Bytes::from(self.0),
        )
    }
}

/// The elements of a `BYTES` tensor, each after its length.
#[derive(Default)]
pub(super) struct Texts(BytesMut);

impl Elements for Texts {
    fn push(&mut self, scalar: Scalar<'_>) -> Result<(), Refused> {
        let Scalar::Text(text) = scalar else {
            return Err(Refused::Type);
        };
        self.0
            .put_u32_le(u32::try_from(text.len()).map_err(|_| Refused::Range)?);
        self.0.put_slice(text.as_bytes());
        Ok(())
    }

    fn into_tensor(self, spec: &TensorSpec, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::new(spec.name.clone(), Datatype::Bytes, shape, self.0.freeze())
    }
}

/// An element that JSON writes as a number.
pub(super) trait Number: Element {
    fn of(scalar: Scalar<'_>) -> Result<Self, Refused>;
}

macro_rules! integers {
    ($($rust:ty),+) => {
        $(impl Number for $rust {
            fn of(scalar: Scalar<'_>) -> Result<Self, Refused> {
                match scalar {
                    Scalar::Unsigned(number) => number.try_into().map_err(|_| Refused::Range),
                    Scalar::Signed(number) => number.try_into().map_err(|_| Refused::Range),
                    _ => Err(Refused::Type),
                }
            }
        })+
    };
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($rust:ty, $convert:expr);+) => {
        $(impl Number for $rust {
            fn of(scalar: Scalar<'_>) -> Result<Self, Refused> {
                let number = match scalar {
                    Scalar::Float(number) => number,
                    Scalar::Unsigned(number) => number as f64,
                    Scalar::Signed(number) => number as f64,
                    _ => return Err(Refused::Type),
                };
                let convert: fn(f64) -> $rust = $convert;
                let element = convert(number);
                if element.is_finite() { Ok(element) } else { Err(Refused::Range) }
            }
        })+
    };
}

floats!(f16, f16::from_f64; bf16, bf16::from_f64; f32, |number| number as f32; f64, |number| number);

/// Reads one tensor, and keeps where in the arrays it is: that is what an error names.
pub(super) struct Array<'a, E> {
    datatype: Datatype,
    pub(super) elements: E,
    /// The size of each dimension, once its first array has ended.
    dimensions: SmallVec<[Option<u64>; 5]>,
    /// The depth of the elements, once one was seen.
    depth: Option<usize>,
    /// The indices that lead to the value being read.
    at: SmallVec<[u64; 5]>,
    fault: &'a mut Fault,
}

/// What is wrong with an array, and where. Errors of the parser hold text alone.
#[derive(Debug, Default)]
pub(super) struct Fault {
    pub(super) at: SmallVec<[u64; 5]>,
    pub(super) message: Option<String>,
}

impl<'a, E: Elements> Array<'a, E> {
    pub(super) fn new(datatype: Datatype, elements: E, fault: &'a mut Fault) -> Self {
        Self {
            datatype,
            elements,
            dimensions: SmallVec::new(),
            depth: None,
            at: SmallVec::new(),
            fault,
        }
    }

    /// Reads the value; gives the shape with the elements.
    pub(super) fn read<'de, D: Deserializer<'de>>(
        mut self,
        deserializer: D,
    ) -> Result<(Shape, E), D::Error> {
        let result = Value(&mut self).deserialize(deserializer);
        if let Err(error) = result {
            self.fault.at = self.at;
            return Err(error);
        }
        // A dimension inside an empty one has no size.
        let shape = self.dimensions.iter().map_while(|size| *size).collect();
        Ok((shape, self.elements))
    }

    fn refuse<R: serde::de::Error>(&mut self, message: String) -> R {
        self.fault.message = Some(message);
        R::custom("refused")
    }

    #[inline]
    fn element<R: serde::de::Error>(&mut self, scalar: Scalar<'_>) -> Result<(), R> {
        if self.depth != Some(self.at.len()) {
            self.first_element::<R>()?;
        }
        match self.elements.push(scalar) {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.refused_element(scalar, refused)),
        }
    }

    #[cold]
    fn first_element<R: serde::de::Error>(&mut self) -> Result<(), R> {
        if self.depth.is_some() || self.dimensions.len() > self.at.len() {
            let message = "is one element where its neighbours are arrays; make every array of a \
                           dimension equally long and deep";
            return Err(self.refuse(message.to_owned()));
        }
        self.depth = Some(self.at.len());
        Ok(())
    }

    #[cold]
    fn refused_element<R: serde::de::Error>(&mut self, scalar: Scalar<'_>, why: Refused) -> R {
        let datatype = self.datatype;
        let takes = match datatype {
            Datatype::Bool => "true or false",
            Datatype::Bytes => "text",
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => "a number",
            _ => "an integer",
        };
        self.refuse(match why {
            Refused::Type => format!("is {scalar}, but an element of {datatype} is {takes}"),
            Refused::Range => format!("is {scalar}, which {datatype} cannot hold"),
        })
    }

    fn array<'de, A: SeqAccess<'de>>(&mut self, mut array: A) -> Result<(), A::Error> {
        let depth = self.at.len();
        if self.depth == Some(depth) {
            let message = "is an array where its neighbours are elements; make every array of a \
                           dimension equally long and deep";
            return Err(self.refuse(message.to_owned()));
        }
        if depth == MAX_RANK {
            return Err(self.refuse(format!("nests more than {MAX_RANK} arrays")));
        }
        if self.dimensions.len() == depth {
            self.dimensions.push(None);
        }
        let expected = self.dimensions[depth].unwrap_or(u64::MAX);
        self.at.push(0);
        let mut count = 0;
        while array.next_element_seed(Value(self))?.is_some() {
            count += 1;
            self.at[depth] = count;
            if count > expected {
                break;
            }
        }
        self.at.pop();
        if self.dimensions[depth].is_some() && count != expected {
            let than = if count > expected { "more" } else { "fewer" };
            return Err(self.refuse(format!(
                "has {than} than the {expected} elements of its neighbours; make every array of a \
                 dimension equally long and deep"
            )));
        }
        self.dimensions[depth] = Some(count);
        Ok(())
    }
}

/// One value: an element, or an array of values.
struct Value<'a, 'b, E>(&'a mut Array<'b, E>);

impl<'de, E: Elements> DeserializeSeed<'de> for Value<'_, '_, E> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, E: Elements> Visitor<'de> for Value<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "arrays of {}", self.0.datatype)
    }

    #[inline]
    fn visit_u64<R: serde::de::Error>(self, number: u64) -> Result<(), R> {
        self.0.element(Scalar::Unsigned(number))
    }

    #[inline]
    fn visit_i64<R: serde::de::Error>(self, number: i64) -> Result<(), R> {
        self.0.element(Scalar::Signed(number))
    }

    #[inline]
    fn visit_f64<R: serde::de::Error>(self, number: f64) -> Result<(), R> {
        self.0.element(Scalar::Float(number))
    }

    fn visit_bool<R: serde::de::Error>(self, value: bool) -> Result<(), R> {
        self.0.element(Scalar::Bool(value))
    }

    fn visit_str<R: serde::de::Error>(self, text: &str) -> Result<(), R> {
        self.0.element(Scalar::Text(text))
    }

    fn visit_unit<R: serde::de::Error>(self) -> Result<(), R> {
        let message = format!("is null, but takes arrays of {}", self.0.datatype);
        Err(self.0.refuse(message))
    }

    fn visit_map<A: serde::de::MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        let message = format!("is an object, but takes arrays of {}", self.0.datatype);
        Err(self.0.refuse(message))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        self.0
            .array(array)
            .map_err(|error| match &self.0.fault.message {
                Some(_) => A::Error::custom("refused"),
                None => error,
            })
    }
}
