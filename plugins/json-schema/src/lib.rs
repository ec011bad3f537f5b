//! Checks JSON against a schema and makes tensors of its fields. `README.md` has the settings, and the keywords of a schema.

mod field;
mod schema;
mod settings;
#[cfg(test)]
mod tests;

use serde_json::Value;
use wharf_plugin_sdk::{Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, Tensor};

use field::Field;
use schema::Schema;
use settings::Settings;

/// What the client gets as the field of an error that is about the whole.
const BODY: &str = "body";

struct JsonSchema {
    schema: Option<Schema>,
    fields: Vec<Field>,
    max_bytes: u64,
}

impl Plugin for JsonSchema {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()
    }
}

impl Preprocess for JsonSchema {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let body = input.body()?;
        let (length, max) = (body.byte_length(), self.max_bytes);
        // Before it is copied: parsed it takes many times its size.
        if length > max {
            let message = format!("has {length} bytes, and at most {max} are taken");
            return Err(Error::invalid_field(BODY, message));
        }
        let value: Value = serde_json::from_slice(&body.bytes())
            .map_err(|error| Error::invalid_field(BODY, format!("is no JSON: {error}")))?;
        if let Some(schema) = &self.schema {
            schema.check(&value)?;
        }
        let tensors: Result<Vec<Tensor>> = self
            .fields
            .iter()
            .map(|field| field.tensor(&value))
            .collect();
        Ok(tensors?.into())
    }
}

impl Lifecycle for JsonSchema {}

wharf_plugin_sdk::export!(JsonSchema: preprocess, lifecycle);

/// A JSON pointer as the field of an error: that of the whole is the body.
fn place(pointer: &str) -> &str {
    if pointer.is_empty() { BODY } else { pointer }
}
