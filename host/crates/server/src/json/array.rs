//! Nested JSON arrays, read straight into the elements of one tensor.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use half::{bf16, f16};
use smallvec::SmallVec;
use wharf_core::{Datatype, Element, Shape, Tensor, TensorError, TensorSpec};

use super::Fault;
use super::cursor::{Cursor, Plain};
use super::number::Decimal;

/// Arrays may nest this deep: more than any model takes.
const MAX_RANK: usize = 32;

/// Reads the arrays of a tensor. Their nesting is its shape.
pub(crate) fn nested(cursor: &mut Cursor<'_>, spec: &TensorSpec) -> Result<Tensor, Fault> {
    let tensor = Target {
        name: &spec.name,
        shape: None,
        // A row of the sizes that are known.
        elements: spec.shape.iter().flatten().product(),
    };
    tensor.read(cursor, spec.datatype)
}

/// Reads the arrays of a tensor whose shape is known. They may be nested or flat; their elements must be as many as the
/// shape takes.
pub(crate) fn shaped(
    cursor: &mut Cursor<'_>,
    name: &Arc<str>,
    datatype: Datatype,
    shape: &Shape,
) -> Result<Tensor, Fault> {
    let tensor = Target {
        name,
        shape: Some(shape),
        elements: shape.elements().unwrap_or(u64::MAX),
    };
    tensor.read(cursor, datatype)
}

/// The tensor that is to be.
struct Target<'a> {
    name: &'a Arc<str>,
    shape: Option<&'a Shape>,
    /// How many elements to make room for.
    elements: u64,
}

impl Target<'_> {
    fn read(self, cursor: &mut Cursor<'_>, datatype: Datatype) -> Result<Tensor, Fault> {
        match datatype {
            Datatype::Bool => self.elements::<Bools>(cursor, datatype),
            Datatype::Bytes => self.elements::<Texts>(cursor, datatype),
            Datatype::Uint8 => self.elements::<Vec<u8>>(cursor, datatype),
            Datatype::Uint16 => self.elements::<Vec<u16>>(cursor, datatype),
            Datatype::Uint32 => self.elements::<Vec<u32>>(cursor, datatype),
            Datatype::Uint64 => self.elements::<Vec<u64>>(cursor, datatype),
            Datatype::Int8 => self.elements::<Vec<i8>>(cursor, datatype),
            Datatype::Int16 => self.elements::<Vec<i16>>(cursor, datatype),
            Datatype::Int32 => self.elements::<Vec<i32>>(cursor, datatype),
            Datatype::Int64 => self.elements::<Vec<i64>>(cursor, datatype),
            Datatype::Fp16 => self.elements::<Vec<f16>>(cursor, datatype),
            Datatype::Bf16 => self.elements::<Vec<bf16>>(cursor, datatype),
            Datatype::Fp32 => self.elements::<Vec<f32>>(cursor, datatype),
            Datatype::Fp64 => self.elements::<Vec<f64>>(cursor, datatype),
        }
    }

    fn elements<E: Elements>(
        self,
        cursor: &mut Cursor<'_>,
        datatype: Datatype,
    ) -> Result<Tensor, Fault> {
        // Never more than the text can hold: each element takes two characters.
        let room = (cursor.left() as u64 / 2).min(self.elements) as usize;
        let mut array = Array {
            datatype,
            elements: E::with_room(room),
            dimensions: SmallVec::new(),
            depth: None,
            at: SmallVec::new(),
        };
        if let Err(fault) = array.value(cursor) {
            return Err(fault.at(&array.at));
        }
        let shape = match self.shape {
            Some(shape) => shape.clone(),
            // A dimension inside an empty one has no size.
            None => array.dimensions.iter().map_while(|size| *size).collect(),
        };
        let tensor = array.elements.into_tensor(Arc::clone(self.name), shape);
        tensor.map_err(|error| Fault::new(error.to_string()))
    }
}

/// Collects the elements of one datatype.
trait Elements: Sized {
    fn with_room(elements: usize) -> Self;

    /// Reads an element. Where none of the datatype follows, the cursor stays.
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Refused>;

    fn into_tensor(self, name: Arc<str>, shape: Shape) -> Result<Tensor, TensorError>;
}

/// Why a value is no element.
enum Refused {
    Type,
    Range(String),
    Fault(Fault),
}

/// Numbers.
impl<T: Number> Elements for Vec<T> {
    fn with_room(elements: usize) -> Self {
        Self::with_capacity(elements)
    }

    #[inline]
    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Refused> {
        let before = cursor.clone();
        let Some(number) = cursor.number() else {
            return no_number(self, cursor);
        };
        match T::of(number) {
            Some(element) => {
                self.push(element);
                Ok(())
            }
            None => match T::of_point(number) {
                Some(element) => {
                    self.push(element);
                    Ok(())
                }
                None => Err(refused_number::<T>(number, cursor, before)),
            },
        }
    }

    fn into_tensor(self, name: Arc<str>, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::from_vec(name, shape, self)
    }
}

/// Reads what is no number of JSON into elements that can be so: `null` stands for what is no number, as answers have it.
#[cold]
fn no_number<T: Number>(elements: &mut Vec<T>, cursor: &mut Cursor<'_>) -> Result<(), Refused> {
    let mut ahead = cursor.clone();
    let value = match ahead.null() {
        true => Some(f64::NAN),
        false => ahead.not_finite(),
    };
    let element = value.and_then(T::of_not_finite).ok_or(Refused::Type)?;
    *cursor = ahead;
    elements.push(element);
    Ok(())
}

#[cold]
fn refused_number<'a, T: Number>(
    number: Decimal<'_>,
    cursor: &mut Cursor<'a>,
    before: Cursor<'a>,
) -> Refused {
    if number.is_whole() || T::FRACTIONS {
        return Refused::Range(shorten(number.text));
    }
    *cursor = before;
    Refused::Type
}

/// The elements of a `BOOL` tensor, a byte each.
struct Bools(Vec<u8>);

impl Elements for Bools {
    fn with_room(elements: usize) -> Self {
        Self(Vec::with_capacity(elements))
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Refused> {
        let value = cursor.boolean().ok_or(Refused::Type)?;
        self.0.push(value.into());
        Ok(())
    }

    fn into_tensor(self, name: Arc<str>, shape: Shape) -> Result<Tensor, TensorError> {
        let data = Bytes::from(self.0);
        Tensor::new(name, Datatype::Bool, shape, data)
    }
}

/// The elements of a `BYTES` tensor, each after its length.
struct Texts(BytesMut);

impl Elements for Texts {
    fn with_room(_elements: usize) -> Self {
        Self(BytesMut::new())
    }

    fn read(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Refused> {
        if cursor.peek() != Some(b'"') {
            return Err(Refused::Type);
        }
        let text = cursor.text().map_err(Refused::Fault)?;
        let length = u32::try_from(text.len());
        self.0
            .put_u32_le(length.map_err(|_| Refused::Range("text of more than 4 GiB".to_owned()))?);
        self.0.put_slice(text.as_bytes());
        Ok(())
    }

    fn into_tensor(self, name: Arc<str>, shape: Shape) -> Result<Tensor, TensorError> {
        Tensor::new(name, Datatype::Bytes, shape, self.0.freeze())
    }
}

/// An element that JSON writes as a number.
trait Number: Element {
    const FRACTIONS: bool;

    fn of(number: Decimal<'_>) -> Option<Self>;

    /// The integer that is written with a point or an exponent, such as `2.0`; none where it is another number. To JSON the two
    /// are one, and some clients write every number so.
    fn of_point(number: Decimal<'_>) -> Option<Self>;

    /// The element that is no number, or infinite; none where the datatype has none.
    fn of_not_finite(value: f64) -> Option<Self>;
}

macro_rules! integers {
    ($($rust:ty),+) => {
        $(impl Number for $rust {
            const FRACTIONS: bool = false;

            #[inline]
            fn of(number: Decimal<'_>) -> Option<Self> {
                number.integer()?.try_into().ok()
            }

            #[cold]
            fn of_point(number: Decimal<'_>) -> Option<Self> {
                number.integral()?.try_into().ok()
            }

            fn of_not_finite(_value: f64) -> Option<Self> {
                None
            }
        })+
    };
}

integers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($rust:ty, $of:expr, $round:expr);+) => {
        $(impl Number for $rust {
            const FRACTIONS: bool = true;

            #[inline]
            fn of(number: Decimal<'_>) -> Option<Self> {
                let of: fn(Decimal<'_>) -> $rust = $of;
                Some(of(number)).filter(|element| element.is_finite())
            }

            fn of_point(_number: Decimal<'_>) -> Option<Self> {
                None
            }

            fn of_not_finite(value: f64) -> Option<Self> {
                let round: fn(f64) -> $rust = $round;
                Some(round(value))
            }
        })+
    };
}

// Processors round to half precision by way of single precision, and so take a little less than what rounds to a finite element. Which
// requests are taken is not to depend on them.
floats!(
    f16, |number| f16::from_f64_const(number.to_f64()), f16::from_f64_const;
    bf16, |number| bf16::from_f64(number.to_f64()), bf16::from_f64;
    f32, |number| number.to_f32(), |value| value as f32;
    f64, |number| number.to_f64(), |value| value
);

/// Reads one tensor, and keeps where in the arrays it is: that is what an error names.
struct Array<E> {
    datatype: Datatype,
    elements: E,
    /// The size of each dimension, once its first array has ended.
    dimensions: SmallVec<[Option<u64>; 5]>,
    /// The depth of the elements, once one was seen.
    depth: Option<usize>,
    /// The indices that lead to the value being read.
    at: SmallVec<[u64; 5]>,
}

impl<E: Elements> Array<E> {
    /// Reads an element, or an array of values.
    #[inline]
    fn value(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        if cursor.peek() == Some(b'[') {
            return self.array(cursor);
        }
        if self.depth != Some(self.at.len()) {
            self.first_element(cursor)?;
        }
        match self.elements.read(cursor) {
            Ok(()) => Ok(()),
            Err(refused) => Err(self.refused(cursor, refused)),
        }
    }

    #[cold]
    fn first_element(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        // Clients send it for what they leave out; among elements, it is one.
        if self.at.is_empty() && cursor.peek() == Some(b'n') {
            return Err(self.refused(cursor, Refused::Type));
        }
        if self.depth.is_some() || self.dimensions.len() > self.at.len() {
            return Err(Fault::new(
                "is one element where its neighbours are arrays; make every array of a dimension \
                 equally long and deep",
            ));
        }
        self.depth = Some(self.at.len());
        Ok(())
    }

    #[cold]
    fn refused(&self, cursor: &mut Cursor<'_>, why: Refused) -> Fault {
        let datatype = self.datatype;
        let is = match why {
            Refused::Fault(fault) => return fault,
            Refused::Range(value) => {
                return Fault::new(format!("is {value}, which {datatype} cannot hold"));
            }
            Refused::Type if cursor.peek() == Some(b'{') => "an object".to_owned(),
            Refused::Type => match cursor.plain() {
                Err(fault) => return fault,
                Ok(Some(Plain::Null)) => "null".to_owned(),
                Ok(Some(Plain::Bool(value))) => value.to_string(),
                Ok(Some(Plain::Number(number))) => shorten(number.text),
                Ok(Some(Plain::NotFinite)) => "no finite number".to_owned(),
                Ok(Some(Plain::Text(_)) | None) => "text".to_owned(),
            },
        };
        let takes = match datatype {
            Datatype::Bool => "true or false",
            Datatype::Bytes => "text",
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => "a number",
            _ => "an integer",
        };
        Fault::new(format!("is {is}, but an element of {datatype} is {takes}"))
    }

    fn array(&mut self, cursor: &mut Cursor<'_>) -> Result<(), Fault> {
        let depth = self.at.len();
        if self.depth == Some(depth) {
            return Err(Fault::new(
                "is an array where its neighbours are elements; make every array of a dimension \
                 equally long and deep",
            ));
        }
        if depth == MAX_RANK {
            return Err(Fault::new(format!("nests more than {MAX_RANK} arrays")));
        }
        if self.dimensions.len() == depth {
            self.dimensions.push(None);
        }
        let expected = self.dimensions[depth].unwrap_or(u64::MAX);
        self.at.push(0);
        let mut count = 0;
        cursor.take(b'[');
        let mut more = !cursor.take(b']');
        while more {
            self.value(cursor)?;
            count += 1;
            self.at[depth] = count;
            if count > expected {
                break;
            }
            more = cursor.comma()?;
        }
        self.at.pop();
        if self.dimensions[depth].is_some() && count != expected {
            let than = if count > expected { "more" } else { "fewer" };
            return Err(Fault::new(format!(
                "has {than} than the {expected} elements of its neighbours; make every array of a \
                 dimension equally long and deep"
            )));
        }
        self.dimensions[depth] = Some(count);
        Ok(())
    }
}

/// What a message repeats of a number that a client sent.
fn shorten(number: &[u8]) -> String {
    String::from_utf8_lossy(&number[..number.len().min(64)]).into_owned()
}
