//! Settings as JSON, both ways.

use serde_json::{Map, Value};
use wharf_core::{Error, LoadError, Result};
use wharf_serving::SettingValue;

/// The entries of an object.
///
/// # Errors
/// `InvalidArgument` with the member as the field where a value is none of TOML's.
pub(super) fn entries(
    field: &str,
    object: Map<String, Value>,
) -> Result<Vec<(String, SettingValue)>> {
    let entry = |(key, value): (String, Value)| {
        let field = match field {
            "" => key.clone(),
            field => format!("{field}.{}", LoadError::key_part(&key)),
        };
        Ok((key, setting(&field, value)?))
    };
    object.into_iter().map(entry).collect()
}

fn setting(field: &str, value: Value) -> Result<SettingValue> {
    let wrong = |message| {
        let field: String = field.chars().take(256).collect();
        Error::invalid(field, message)
    };
    Ok(match value {
        Value::Null => return Err(wrong("is null; leave it out, and its default holds")),
        Value::Bool(value) => SettingValue::Bool(value),
        Value::String(text) => SettingValue::Text(text),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(number), _) => SettingValue::Integer(number),
            (None, Some(decimal)) if !number.is_u64() => SettingValue::Decimal(decimal),
            _ => return Err(wrong("is too large a number")),
        },
        Value::Array(values) => {
            let mut list = Vec::with_capacity(values.len());
            for (index, value) in values.into_iter().enumerate() {
                list.push(setting(&format!("{field}[{index}]"), value)?);
            }
            SettingValue::List(list)
        }
        Value::Object(object) => SettingValue::Table(entries(field, object)?),
    })
}

/// An object of settings.
pub(super) fn object(entries: &[(String, SettingValue)]) -> Map<String, Value> {
    let member = |(key, value): &(String, SettingValue)| (key.clone(), json(value));
    entries.iter().map(member).collect()
}

fn json(value: &SettingValue) -> Value {
    match value {
        SettingValue::Bool(value) => Value::Bool(*value),
        SettingValue::Integer(number) => (*number).into(),
        SettingValue::Decimal(number) => (*number).into(),
        SettingValue::Text(text) => Value::String(text.clone()),
        SettingValue::List(values) => values.iter().map(json).collect(),
        SettingValue::Table(entries) => Value::Object(object(entries)),
        SettingValue::Default => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_the_same_in_json() {
        let Value::Object(document) = json!({
            "batching": {"max_rows": 8, "delay_ms": 0.1},
            "warmup": {"samples": [{"inputs": {"x": {"shape": [1, 3]}}}]},
            "cache": {"enabled": true},
        }) else {
            unreachable!("it is an object")
        };
        let settings = entries("settings", document.clone()).unwrap();
        assert_eq!(object(&settings), document);
    }

    #[test]
    fn what_toml_does_not_have_is_refused_with_its_place() {
        for (document, field) in [
            (json!({"a": null}), "settings.a"),
            (json!({"a": {"b c": [1, null]}}), "settings.a.\"b c\"[1]"),
            (json!({"a": 18446744073709551615_u64}), "settings.a"),
        ] {
            let Value::Object(document) = document else {
                unreachable!("it is an object")
            };
            let error = entries("settings", document).unwrap_err();
            assert_eq!(error.field(), Some(field));
        }
    }
}
