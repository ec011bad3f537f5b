//! The members of JSON objects of a model configuration, taken one by one: what is left in the end is refused, so that
//! nothing is dropped in silence.
//!
//! Names and values are read as Protocol Buffers write them in JSON: in snake case or camel case, 64-bit numbers also as
//! text.

use serde_json::{Map, Value};
use wharf_core::{Error, Result};
use wharf_serving::SettingValue;

/// An object, and where it is.
pub(super) struct Fields {
    path: String,
    members: Map<String, Value>,
}

/// A value, and where it is.
pub(super) struct Field {
    path: String,
    value: Value,
}

impl Fields {
    /// Takes a member; none where it is not there, or `null`.
    pub(super) fn take(&mut self, name: &str) -> Option<Field> {
        let value = match self.members.remove(name) {
            Some(value) => value,
            None => self.members.remove(&camel(name))?,
        };
        let path = format!("{}.{name}", self.path);
        (!value.is_null()).then_some(Field { path, value })
    }

    /// Takes a member of which only some values mean what is done here anyway; what stands for 'not set' does too.
    pub(super) fn only(&mut self, name: &str, accepted: &[Value], why: &'static str) -> Result<()> {
        match self.take(name) {
            Some(field) if !is_empty(&field.value) => field.among(accepted, why),
            _ => Ok(()),
        }
    }

    /// Every member that is left, with its own name.
    pub(super) fn rest(&mut self) -> impl Iterator<Item = (String, Field)> {
        let path = self.path.clone();
        std::mem::take(&mut self.members)
            .into_iter()
            .map(move |(name, value)| {
                let path = format!("{path}.{name}");
                (name, Field { path, value })
            })
    }

    pub(super) fn wrong(&self, message: &'static str) -> Error {
        Error::invalid(self.path.clone(), message)
    }

    /// Refuses what was not taken.
    pub(super) fn finish(self) -> Result<()> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::invalid(
                format!("{}.{name}", self.path),
                "this server has no such setting; leave it out",
            )),
        }
    }
}

impl Field {
    pub(super) fn new(path: &str, value: Value) -> Self {
        let path = path.to_owned();
        Self { path, value }
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) fn wrong(&self, message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
        Error::invalid(self.path.clone(), message)
    }

    /// Refuses all values but some.
    pub(super) fn among(&self, accepted: &[Value], why: &'static str) -> Result<()> {
        match accepted.contains(&self.value) {
            true => Ok(()),
            false => Err(self.wrong(why)),
        }
    }

    pub(super) fn object(self) -> Result<Fields> {
        match self.value {
            Value::Object(members) => Ok(Fields {
                path: self.path,
                members,
            }),
            _ => Err(self.wrong("is an object")),
        }
    }

    pub(super) fn list(self) -> Result<Vec<Field>> {
        match self.value {
            Value::Array(values) => {
                let place = |(index, value)| Field {
                    path: format!("{}[{index}]", self.path),
                    value,
                };
                Ok(values.into_iter().enumerate().map(place).collect())
            }
            _ => Err(self.wrong("is a list")),
        }
    }

    pub(super) fn text(self) -> Result<String> {
        match self.value {
            Value::String(text) => Ok(text),
            _ => Err(self.wrong("is text")),
        }
    }

    pub(super) fn bool(&self) -> Result<bool> {
        match &self.value {
            Value::Bool(value) => Ok(*value),
            _ => Err(self.wrong("is true or false")),
        }
    }

    /// A whole number, not below 0.
    pub(super) fn number(&self) -> Result<i64> {
        let number = self.signed()?;
        if number < 0 {
            return Err(self.wrong("is not below 0"));
        }
        Ok(number)
    }

    pub(super) fn signed(&self) -> Result<i64> {
        let number = match &self.value {
            Value::Number(number) => number.as_i64(),
            Value::String(text) => text.parse().ok(),
            _ => None,
        };
        number.ok_or_else(|| self.wrong("is a whole number"))
    }

    pub(super) fn numbers(self) -> Result<Vec<i64>> {
        self.list()?.iter().map(Field::number).collect()
    }

    /// A time in microseconds, as the milliseconds of a setting that takes decimals.
    pub(super) fn exact_ms(&self) -> Result<SettingValue> {
        let micros = self.number()?;
        Ok(match micros % 1000 {
            0 => SettingValue::Integer(micros / 1000),
            // Exact where the setting takes it; what is larger is refused there.
            _ => SettingValue::Decimal(micros as f64 / 1000.0),
        })
    }

    /// A time in microseconds, as the whole milliseconds of a setting that takes no others: rounded up, so that none
    /// becomes 0.
    pub(super) fn whole_ms(&self) -> Result<i64> {
        let micros = self.number()?;
        Ok(micros / 1000 + i64::from(micros % 1000 > 0))
    }
}

/// What stands for 'not set' in Protocol Buffers, and so says nothing.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(members) => members.is_empty(),
    }
}

fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
