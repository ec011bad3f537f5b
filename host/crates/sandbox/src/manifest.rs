//! `plugins/NAME.toml`: who may share an instance, what the plugin may take and use, and its own settings.

use std::sync::Arc;

use toml::{Table, Value};
use wharf_core::{Digest, Isolation, LoadError, Name};

use crate::Limits;
use crate::abilities::Grants;
use crate::recording::Policy;

/// The checked settings of a plugin.
#[derive(Debug)]
pub(crate) struct Manifest {
    pub(crate) isolation: Isolation,
    /// The digest that the component must have.
    pub(crate) pin: Option<Digest>,
    /// What the plugin may use beyond log, metrics and settings.
    pub(crate) grants: Grants,
    pub(crate) limits: Limits,
    /// Which of its calls are recorded; none where none is.
    pub(crate) record: Option<Policy>,
    /// The table `[settings]` as one JSON object.
    pub(crate) settings: Arc<str>,
}

impl Manifest {
    /// Reads the text of the file; an empty one is a plugin without settings.
    ///
    /// # Errors
    /// Where it is no TOML, or a key is unknown or has a value that it cannot have.
    pub(crate) fn parse(name: &Name, text: &str, defaults: &Limits) -> Result<Self, LoadError> {
        let file = format!("plugins/{name}.toml");
        let table: Table = text.parse().map_err(|error: toml::de::Error| {
            LoadError::new(
                &file,
                format!("this is no TOML: {}", error.message().trim()),
            )
            .with_source(error)
        })?;
        let mut manifest = Self {
            isolation: Isolation::default(),
            pin: None,
            grants: Grants::default(),
            limits: defaults.clone(),
            record: None,
            settings: Arc::from("{}"),
        };
        for (key, value) in &table {
            manifest
                .set(key, value)
                .map_err(|(key, message)| LoadError::new(&file, message).with_key(key))?;
        }
        Ok(manifest)
    }

    /// # Errors
    /// The dotted key and what is wrong with it.
    fn set(&mut self, key: &str, value: &Value) -> Result<(), (String, String)> {
        let here = |message: String| (key.to_owned(), message);
        match key {
            "isolation" => self.isolation = isolation(value).map_err(here)?,
            "sha256" => self.pin = Some(pin(value).map_err(here)?),
            "grants" => self.grants = Grants::parse(value)?,
            "record" => self.record = Policy::parse(value)?,
            "limits" => {
                let limits = value
                    .as_table()
                    .ok_or_else(|| here("must be a table".to_owned()))?;
                for (name, value) in limits {
                    self.limits
                        .set(name, value)
                        .map_err(|message| (format!("limits.{name}"), message))?;
                }
            }
            "settings" => {
                let settings = value
                    .as_table()
                    .ok_or_else(|| here("must be a table".to_owned()))?;
                self.settings = json_object(settings, "settings")?.to_string().into();
            }
            _ => {
                return Err(here(
                    "there is no such key: use isolation, sha256, grants, limits, record, settings"
                        .to_owned(),
                ));
            }
        }
        Ok(())
    }
}

fn isolation(value: &Value) -> Result<Isolation, String> {
    [Isolation::Request, Isolation::Tenant, Isolation::Shared]
        .into_iter()
        .find(|isolation| value.as_str() == Some(isolation.name()))
        .ok_or_else(|| r#"must be "request", "tenant" or "shared""#.to_owned())
}

fn pin(value: &Value) -> Result<Digest, String> {
    let digits = value
        .as_str()
        .filter(|text| text.is_ascii() && text.len() == 64);
    let bytes: Option<Vec<u8>> = digits.and_then(|digits| {
        (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok())
            .collect()
    });
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .map(Digest::new)
        .ok_or_else(|| "must be the component's SHA-256, 64 hexadecimal digits".to_owned())
}

fn json_object(table: &Table, key: &str) -> Result<serde_json::Value, (String, String)> {
    table
        .iter()
        .map(|(name, value)| Ok((name.clone(), json(value, &format!("{key}.{name}"))?)))
        .collect::<Result<serde_json::Map<_, _>, _>>()
        .map(serde_json::Value::Object)
}

fn json(value: &Value, key: &str) -> Result<serde_json::Value, (String, String)> {
    Ok(match value {
        Value::String(text) => text.as_str().into(),
        Value::Integer(number) => (*number).into(),
        Value::Float(number) => serde_json::Number::from_f64(*number)
            .map(serde_json::Value::Number)
            .ok_or_else(|| (key.to_owned(), "must be a finite number".to_owned()))?,
        Value::Boolean(flag) => (*flag).into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items
            .iter()
            .map(|item| json(item, key))
            .collect::<Result<Vec<_>, _>>()?
            .into(),
        Value::Table(table) => json_object(table, key)?,
    })
}

#[cfg(test)]
mod tests {
    use wharf_testkit::Reference;

    use super::*;

    fn parse(text: &str) -> Result<Manifest, LoadError> {
        Manifest::parse(&"top-k".parse().unwrap(), text, &Limits::default())
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let manifest = parse("").unwrap();
        assert_eq!(manifest.isolation, Isolation::Request);
        assert_eq!(manifest.limits, Limits::default());
        assert_eq!(&*manifest.settings, "{}");
    }

    #[test]
    fn settings_become_json() {
        let manifest = parse(
            "[settings]\nk = 3\nlabels = ['a', 'b']\nwhen = 2026-11-22\nnested = { scale = 0.5, on = true }",
        )
        .unwrap();
        let settings: serde_json::Value = serde_json::from_str(&manifest.settings).unwrap();
        assert_eq!(
            settings,
            serde_json::json!({"k": 3, "labels": ["a", "b"], "when": "2026-11-22", "nested": {"scale": 0.5, "on": true}})
        );
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (text, expected) in [
            (
                "isolation = 'none'",
                "plugins/top-k.toml [isolation]: must be \"request\", \"tenant\" or \"shared\"",
            ),
            (
                "memory = 3",
                "plugins/top-k.toml [memory]: there is no such key: use isolation, sha256, grants, limits, record, settings",
            ),
            (
                "[limits]\ncall_ms = 0",
                "plugins/top-k.toml [limits.call_ms]: must be a whole number from 1 to 600000",
            ),
            (
                "sha256 = 'abc'",
                "plugins/top-k.toml [sha256]: must be the component's SHA-256, 64 hexadecimal digits",
            ),
            (
                "[grants]\nfiles = true",
                "plugins/top-k.toml [grants.files]: there is no such grant: use state, model, codec, http, secret",
            ),
            (
                "grants = ['state']",
                "plugins/top-k.toml [grants]: must be a table of grants, such as `state = true`, out of state, model, codec, http, secret",
            ),
            (
                "[grants]\ncodec = 3",
                "plugins/top-k.toml [grants.codec]: must be a table, or `true` for its defaults",
            ),
            (
                "[settings]\nscale = nan",
                "plugins/top-k.toml [settings.scale]: must be a finite number",
            ),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        assert!(
            parse("k = = 3")
                .unwrap_err()
                .message
                .starts_with("this is no TOML")
        );
    }

    const REFERENCE: &str = include_str!("../../../reference/plugin.toml");

    #[test]
    fn the_reference_gives_the_defaults() {
        let manifest = parse(REFERENCE).unwrap();
        assert_eq!(format!("{manifest:?}"), format!("{:?}", parse("").unwrap()));
    }

    #[test]
    fn the_reference_has_every_key() {
        let reference = Reference::new(REFERENCE);
        assert!(parse(reference.text()).unwrap().pin.is_some());
        let error = parse("no-such-key = 1").unwrap_err();
        let (_, known) = error.message.split_once(": use ").unwrap();
        for key in known.split(", ") {
            assert!(reference.has("", key), "{key} is missing");
        }
    }
}
