//! The settings.

use serde::Deserialize;
use serde_json::Value;
use wharf_plugin_sdk::{Error, Result};

use crate::JsonSchema;
use crate::field::{Field, FieldSettings};
use crate::schema::Schema;

/// The most tensors that are made.
const MAX_FIELDS: usize = 1024;

/// `[settings]` of `plugins/json-schema.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A table, or a text of JSON.
    schema: Option<Value>,
    fields: Vec<FieldSettings>,
    #[serde(default = "default_max_bytes")]
    max_bytes: u64,
}

impl Settings {
    pub(crate) fn check(self) -> Result<JsonSchema> {
        if self.max_bytes == 0 {
            return Err(Error::invalid_field(
                "max_bytes",
                "give the bytes of the largest body that is read",
            ));
        }
        let schema = match self.schema {
            Some(Value::String(text)) => {
                let parsed = serde_json::from_str(&text).map_err(|error| {
                    Error::invalid_field("schema", format!("is no JSON: {error}"))
                })?;
                Some(Schema::compile(&parsed)?)
            }
            Some(table) => Some(Schema::compile(&table)?),
            None => None,
        };
        if !(1..=MAX_FIELDS).contains(&self.fields.len()) {
            return Err(Error::invalid_field(
                "fields",
                format!("give the tensors that the model takes, 1 to {MAX_FIELDS}"),
            ));
        }
        let mut fields: Vec<Field> = Vec::with_capacity(self.fields.len());
        for (index, settings) in self.fields.into_iter().enumerate() {
            let field = settings.check(index)?;
            if fields.iter().any(|other| other.name() == field.name()) {
                let setting = format!("fields[{index}].name");
                return Err(Error::invalid_field(
                    setting,
                    "is the name of a field before",
                ));
            }
            fields.push(field);
        }
        Ok(JsonSchema {
            schema,
            fields,
            max_bytes: self.max_bytes,
        })
    }
}

fn default_max_bytes() -> u64 {
    4 * 1024 * 1024
}
