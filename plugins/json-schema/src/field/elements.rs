//! From a JSON value to an element of a tensor.

use std::collections::BTreeMap;

use half::{bf16, f16};
use serde::Deserialize;
use serde_json::Value;
use wharf_plugin_sdk::Datatype;

/// The datatype of a tensor.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ElementType {
    Bool,
    Uint8,
    Uint16,
    Uint32,
    Uint64,
    Int8,
    Int16,
    Int32,
    Int64,
    Fp16,
    Bf16,
    Fp32,
    Fp64,
    Bytes,
}

impl ElementType {
    pub(super) fn datatype(self) -> Datatype {
        match self {
            Self::Bool => Datatype::Boolean,
            Self::Uint8 => Datatype::Uint8,
            Self::Uint16 => Datatype::Uint16,
            Self::Uint32 => Datatype::Uint32,
            Self::Uint64 => Datatype::Uint64,
            Self::Int8 => Datatype::Int8,
            Self::Int16 => Datatype::Int16,
            Self::Int32 => Datatype::Int32,
            Self::Int64 => Datatype::Int64,
            Self::Fp16 => Datatype::Fp16,
            Self::Bf16 => Datatype::Bf16,
            Self::Fp32 => Datatype::Fp32,
            Self::Fp64 => Datatype::Fp64,
            Self::Bytes => Datatype::Bytes,
        }
    }

    /// The bytes of an element; a guess for texts.
    pub(super) fn width(self) -> usize {
        self.datatype().width().unwrap_or(16)
    }

    pub(super) fn is_integer(self) -> bool {
        self.range().is_some()
    }

    /// Whether an integer is in the range of the datatype.
    pub(super) fn holds(self, integer: i128) -> bool {
        self.range()
            .is_some_and(|(least, most)| (least..=most).contains(&integer))
    }

    /// The least and the largest integer; none for other datatypes.
    fn range(self) -> Option<(i128, i128)> {
        let signed = match self {
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 => true,
            Self::Uint8 | Self::Uint16 | Self::Uint32 | Self::Uint64 => false,
            _ => return None,
        };
        let bits = 8 * self.width() as u32;
        Some(if signed {
            (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)
        } else {
            (0, (1 << bits) - 1)
        })
    }
}

/// Ids of texts.
pub(super) struct Vocabulary {
    ids: BTreeMap<String, i64>,
    /// That of all other texts, where there is one.
    unknown: Option<i64>,
}

impl Vocabulary {
    pub(super) fn new(ids: BTreeMap<String, i64>, unknown: Option<i64>) -> Self {
        Self { ids, unknown }
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = i128> {
        self.ids
            .values()
            .copied()
            .chain(self.unknown)
            .map(i128::from)
    }

    fn id(&self, value: &Value) -> Result<i128, String> {
        let Value::String(text) = value else {
            return Err(format!("needs a text, and is {}", kind(value)));
        };
        let id = self.ids.get(text).copied().or(self.unknown);
        id.map(i128::from).ok_or_else(|| {
            // A few are enough to see what is meant.
            let some: Vec<&str> = self.ids.keys().take(8).map(String::as_str).collect();
            let more = if some.len() < self.ids.len() {
                ", ..."
            } else {
                ""
            };
            format!(
                "is none of the texts that are known: {}{more}",
                some.join(", ")
            )
        })
    }
}

/// Appends an element in the form of its tensor. An error says what the value needs.
pub(super) fn append(
    datatype: ElementType,
    vocabulary: Option<&Vocabulary>,
    value: &Value,
    data: &mut Vec<u8>,
) -> Result<(), String> {
    let float = || {
        value
            .as_f64()
            .ok_or_else(|| format!("needs a number, and is {}", kind(value)))
    };
    let too_large = || format!("is too large for {}", datatype.datatype());
    match datatype {
        ElementType::Fp32 => {
            let number = float()? as f32;
            if !number.is_finite() {
                return Err(too_large());
            }
            data.extend(number.to_le_bytes());
        }
        ElementType::Fp64 => data.extend(float()?.to_le_bytes()),
        ElementType::Fp16 => {
            let number = f16::from_f64(float()?);
            if !number.is_finite() {
                return Err(too_large());
            }
            data.extend(number.to_le_bytes());
        }
        ElementType::Bf16 => {
            let number = bf16::from_f64(float()?);
            if !number.is_finite() {
                return Err(too_large());
            }
            data.extend(number.to_le_bytes());
        }
        ElementType::Bool => match value {
            Value::Bool(truth) => data.push(u8::from(*truth)),
            _ => return Err(format!("needs true or false, and is {}", kind(value))),
        },
        ElementType::Bytes => match value {
            Value::String(text) => {
                let length = u32::try_from(text.len()).map_err(|_| too_large())?;
                data.extend(length.to_le_bytes());
                data.extend_from_slice(text.as_bytes());
            }
            _ => return Err(format!("needs a text, and is {}", kind(value))),
        },
        _ => {
            let integer = match vocabulary {
                Some(vocabulary) => vocabulary.id(value)?,
                None => integer(value)?,
            };
            if !datatype.holds(integer) {
                return Err(format!("is outside of {}", datatype.datatype()));
            }
            data.extend_from_slice(&integer.to_le_bytes()[..datatype.width()]);
        }
    }
    Ok(())
}

/// An integer, which JSON may write as 1.0 too.
fn integer(value: &Value) -> Result<i128, String> {
    if let Some(integer) = value.as_i64() {
        return Ok(integer.into());
    }
    if let Some(integer) = value.as_u64() {
        return Ok(integer.into());
    }
    match value.as_f64() {
        // Beyond 2^53 a binary64 no longer says which integer is meant.
        Some(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
            Ok(number as i128)
        }
        Some(_) => Err("needs an integer".to_owned()),
        None => Err(format!("needs an integer, and is {}", kind(value))),
    }
}

/// What a value is, for a client.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
