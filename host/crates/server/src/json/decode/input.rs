//! The value of `input`: the arrays of the only input, or an object of named inputs.

use std::fmt;

use half::{bf16, f16};
use serde::de::value::SeqAccessDeserializer;
use serde::de::{DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use wharf_core::{Datatype, Result, Tensor, TensorSpec};

use super::{Reading, shorten};
use crate::json::array::{Array, Bools, Elements, Number, Texts};

/// The value of `input`: the arrays of the only input, or an object of named inputs.
pub(super) struct InputValue<'a, 'b>(pub(super) &'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for InputValue<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl InputValue<'_, '_> {
    /// Reads what is no object: the arrays of the only input.
    fn only<'de, D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        if self.0.specs.len() == 1 {
            return InputNamed(self.0, 0).deserialize(value);
        }
        let message = format!("does not name its inputs; {}", self.0.expectation());
        Err(self.0.refuse(message))
    }
}

impl<'de> Visitor<'de> for InputValue<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("arrays, or an object of named arrays")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error> {
        self.only(SeqAccessDeserializer::new(array))
    }

    fn visit_u64<R: serde::de::Error>(self, number: u64) -> Result<(), R> {
        self.only(number.into_deserializer())
    }

    fn visit_i64<R: serde::de::Error>(self, number: i64) -> Result<(), R> {
        self.only(number.into_deserializer())
    }

    fn visit_f64<R: serde::de::Error>(self, number: f64) -> Result<(), R> {
        self.only(number.into_deserializer())
    }

    fn visit_bool<R: serde::de::Error>(self, value: bool) -> Result<(), R> {
        self.only(value.into_deserializer())
    }

    fn visit_str<R: serde::de::Error>(self, text: &str) -> Result<(), R> {
        self.only(text.into_deserializer())
    }

    fn visit_unit<R: serde::de::Error>(self) -> Result<(), R> {
        let message = format!("is null; {}", self.0.expectation());
        Err(self.0.refuse(message))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        reading.named = true;
        while let Some(index) = map.next_key_seed(InputName(reading))? {
            reading.name = Some(index);
            if reading.inputs[index].is_some() {
                return Err(reading.refuse("is given twice"));
            }
            map.next_value_seed(InputNamed(reading, index))?;
            reading.name = None;
        }
        Ok(())
    }
}

/// The name of an input: gives its place among the specs.
struct InputName<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for InputName<'_, '_> {
    type Value = usize;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for InputName<'_, '_> {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an input")
    }

    fn visit_str<R: serde::de::Error>(self, name: &str) -> Result<usize, R> {
        let found = self.0.specs.iter().position(|spec| &*spec.name == name);
        found.ok_or_else(|| {
            let message = format!("has no input {:?}; {}", shorten(name), self.0.expectation());
            self.0.refuse(message)
        })
    }
}

/// The arrays of one input.
struct InputNamed<'a, 'b>(&'a mut Reading<'b>, usize);

impl<'de> DeserializeSeed<'de> for InputNamed<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<(), D::Error> {
        let Self(reading, index) = self;
        let spec = &reading.specs[index];
        let tensor = match spec.datatype {
            Datatype::Bool => reading.tensor(value, spec, Bools::default()),
            Datatype::Bytes => reading.tensor(value, spec, Texts::default()),
            Datatype::Uint8 => reading.numbers::<u8, D>(value, spec),
            Datatype::Uint16 => reading.numbers::<u16, D>(value, spec),
            Datatype::Uint32 => reading.numbers::<u32, D>(value, spec),
            Datatype::Uint64 => reading.numbers::<u64, D>(value, spec),
            Datatype::Int8 => reading.numbers::<i8, D>(value, spec),
            Datatype::Int16 => reading.numbers::<i16, D>(value, spec),
            Datatype::Int32 => reading.numbers::<i32, D>(value, spec),
            Datatype::Int64 => reading.numbers::<i64, D>(value, spec),
            Datatype::Fp16 => reading.numbers::<f16, D>(value, spec),
            Datatype::Bf16 => reading.numbers::<bf16, D>(value, spec),
            Datatype::Fp32 => reading.numbers::<f32, D>(value, spec),
            Datatype::Fp64 => reading.numbers::<f64, D>(value, spec),
        }?;
        reading.inputs[index] = Some(tensor);
        Ok(())
    }
}

impl Reading<'_> {
    fn numbers<'de, T: Number, D: Deserializer<'de>>(
        &mut self,
        value: D,
        spec: &TensorSpec,
    ) -> Result<Tensor, D::Error> {
        // A row of the sizes that are known; never more than the document could hold.
        let row: u64 = spec.shape.iter().flatten().product();
        let room = usize::try_from(row).map_or(self.room, |row| row.min(self.room));
        self.tensor(value, spec, Vec::<T>::with_capacity(room))
    }

    fn tensor<'de, E: Elements, D: Deserializer<'de>>(
        &mut self,
        value: D,
        spec: &TensorSpec,
        elements: E,
    ) -> Result<Tensor, D::Error> {
        let (shape, elements) = Array::new(spec.datatype, elements, &mut self.fault).read(value)?;
        elements
            .into_tensor(spec, shape)
            .map_err(|error| self.refuse(error.to_string()))
    }
}
