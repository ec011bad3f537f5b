//! What the bodies of these requests say.

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Number, Value};
use utoipa::ToSchema;
use wharf_core::{Error, Result};

use crate::budget::Reservation;
use crate::call::{Call, Object, parse};
use crate::json::shorten;
use crate::oip::Region;
use crate::oip::logging::LogValue;
use crate::oip::repository::{Dependents, FILE, LoadParameters, MAX_FILES, NO_LOAD_PARAMETER};
use crate::oip::tracing::TraceChange;
use crate::problem::Problem;

/// Files above this size are decoded where it delays nobody.
const INLINE_BYTES: usize = 256 << 10;
#[derive(Default, Deserialize, ToSchema)]
#[schema(as = RepositoryIndexRequest)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Index {
    /// Whether only versions that take requests are listed.
    pub(super) ready: Option<bool>,
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = UnloadRequest)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Unload {
    #[serde(default)]
    #[schema(value_type = UnloadParameters)]
    parameters: Object<UnloadParameters>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct UnloadParameters {
    /// Whether the models of a route are unloaded, where the name is a route's.
    #[serde(default)]
    unload_dependents: bool,
}

impl Unload {
    /// What becomes of the models that a route leads to.
    pub(super) fn dependents(&self) -> Dependents {
        self.parameters.0.unload_dependents.into()
    }
}

#[derive(Default, Deserialize, ToSchema)]
#[schema(as = RegisterRequest)]
#[serde(deny_unknown_fields, expecting = "an object")]
pub(crate) struct Register {
    /// The name of the object, as `shm_open` takes it.
    #[schema(required, value_type = String)]
    key: Option<String>,
    /// Where the region begins in the object, in bytes.
    #[serde(default)]
    offset: u64,
    /// How long it is, in bytes.
    #[schema(required, value_type = u64, minimum = 1)]
    byte_size: Option<u64>,
}

impl Register {
    /// The region under a name, and the key of its object.
    ///
    /// # Errors
    /// `InvalidArgument` with the member as the field where one is missing.
    pub(super) fn into_region(self, name: String) -> Result<(Region, String)> {
        let missing = |member: &'static str| Error::invalid(member, "is missing");
        let key = self.key.ok_or_else(|| missing("key"))?;
        let region = Region {
            name,
            offset: self.offset,
            byte_size: self.byte_size.ok_or_else(|| missing("byte_size"))?,
        };
        Ok((region, key))
    }
}

impl Call {
    /// What a load carries, with what is set aside for it.
    pub(super) async fn load_body(&mut self) -> Result<(LoadParameters, Reservation), Problem> {
        let (bytes, mut reservation) = self.bytes().await?;
        // The files are there twice while they are decoded.
        reservation.grow_to(bytes.len() + bytes.len() / 4 * 3)?;
        let parameters = if bytes.len() <= INLINE_BYTES {
            load_parameters(&bytes)?
        } else {
            tokio::task::spawn_blocking(move || load_parameters(&bytes))
                .await
                .map_err(Error::internal)??
        };
        Ok((parameters, reservation))
    }

    pub(super) async fn log_changes(&mut self) -> Result<Vec<(String, LogValue)>, Problem> {
        let members = self.document::<Map<String, Value>>().await?;
        let change = |(name, value): (String, Value)| {
            let value = match value {
                Value::Bool(value) => LogValue::Bool(value),
                Value::String(text) => LogValue::Text(text),
                Value::Number(number) if whole(&number).is_some() => {
                    LogValue::Number(whole(&number).unwrap_or_default())
                }
                _ => {
                    let message = "is true or false, a whole number or text";
                    return Err(Error::invalid(shorten(&name), message).into());
                }
            };
            Ok((name, value))
        };
        members.into_iter().map(change).collect()
    }

    pub(super) async fn trace_changes(&mut self) -> Result<Vec<TraceChange>, Problem> {
        let members = self.document::<Map<String, Value>>().await?;
        let one = |value: Value| match value {
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        };
        let change = |(name, value): (String, Value)| {
            let values = match value {
                Value::Null => return Ok((name, None)),
                Value::Array(values) => values.into_iter().map(one).collect(),
                value => one(value).map(|value| vec![value]),
            };
            match values {
                Some(values) => Ok((name, Some(values))),
                None => Err(Error::invalid(
                    shorten(&name),
                    "is text, a list of texts, or null to clear it",
                )
                .into()),
            }
        };
        members.into_iter().map(change).collect()
    }
}

/// A whole number, not below 0; `2.0` is one, too, as JSON Schema has it.
fn whole(number: &Number) -> Option<u64> {
    let real = || {
        let real = number.as_f64()?;
        let exact = real.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&real);
        exact.then_some(real as u64)
    };
    number.as_u64().or_else(real)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Load<'a> {
    #[serde(borrow, default)]
    parameters: Parameters<'a>,
}

/// Parameters in their order. Files are large: their text is borrowed from the body.
#[derive(Default)]
struct Parameters<'a>(Vec<(Cow<'a, str>, Parameter<'a>)>);

enum Parameter<'a> {
    Text(Cow<'a, str>),
    Other,
}

fn load_parameters(body: &[u8]) -> Result<LoadParameters> {
    let Load { parameters } = parse(body)?;
    let mut load = LoadParameters::default();
    for (name, value) in parameters.0 {
        let field = || format!("parameters.{}", shorten(&name));
        let wrong = |message: String| Error::invalid(field(), message);
        let is_file = name.starts_with(FILE);
        let text = match value {
            _ if name != "config" && !is_file => {
                return Err(wrong(NO_LOAD_PARAMETER.to_owned()));
            }
            Parameter::Text(text) => text,
            Parameter::Other => return Err(wrong("is text".to_owned())),
        };
        if is_file {
            let data = STANDARD
                .decode(text.as_bytes())
                .map_err(|error| wrong(format!("is no base64: {error}")))?;
            load.files.push((name.into_owned(), data.into()));
        } else {
            load.config = Some(text.into_owned());
        }
    }
    Ok(load)
}

impl<'de: 'a, 'a> Deserialize<'de> for Parameters<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Parameters<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Parameters<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((Key(name), value)) = map.next_entry()? {
                    // The configuration comes beside the files.
                    if members.len() > MAX_FILES {
                        return Err(serde::de::Error::custom(
                            "a load carries at most 1024 files",
                        ));
                    }
                    members.push((name, value));
                }
                Ok(Parameters(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Parameter<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Parameter<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a parameter")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Parameter::Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Parameter::Text(Cow::Owned(text.to_owned())))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
                Ok(Parameter::Other)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
                Ok(Parameter::Other)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
                Ok(Parameter::Other)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
                Ok(Parameter::Other)
            }

            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Parameter::Other)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Parameter::Other)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Parameter::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_may_be_written_with_a_point() {
        let of = |text: &str| whole(&serde_json::from_str(text).unwrap());
        for (text, number) in [
            ("2", Some(2)),
            ("2.0", Some(2)),
            ("4e3", Some(4000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("2.5", None),
            ("-1", None),
            ("-1.0", None),
            ("1e300", None),
        ] {
            assert_eq!(of(text), number, "{text}");
        }
    }
}
