//! The settings of a plugin: the table `[settings]` of its file in the site, read by serde.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// The settings of a plugin that has none. Any setting is refused by its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoSettings {}

/// Reads settings from the JSON object that the host gives.
///
/// # Errors
/// `invalid-input` with the setting as the field: a path such as `mean[0]`, or the name of one that is unknown or missing.
pub(crate) fn parse<S: DeserializeOwned>(json: &str) -> Result<S> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let text = error.inner().to_string();
        // serde_json ends its text with a position in a document that the operator never sees.
        let message = text.split(" at line ").next().unwrap_or(&text).to_owned();
        match setting(&path, &message) {
            Some(setting) => Error::invalid_field(setting, message),
            None => Error::invalid(message),
        }
    })
}

/// The setting that an error is about. A missing one has the path of the table that it is missing from.
fn setting(path: &str, message: &str) -> Option<String> {
    let missing = message
        .strip_prefix("missing field `")
        .and_then(|rest| rest.split('`').next());
    match (path, missing) {
        (".", None) => None,
        (".", Some(name)) => Some(name.to_owned()),
        (table, Some(name)) => Some(format!("{table}.{name}")),
        (path, None) => Some(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        width: u32,
        #[serde(default)]
        mean: Vec<f32>,
        #[serde(default)]
        inner: Option<Inner>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        depth: u8,
    }

    fn field(json: &str) -> Option<String> {
        parse::<Settings>(json)
            .unwrap_err()
            .field()
            .map(str::to_owned)
    }

    #[test]
    fn reads_settings() {
        let settings: Settings = parse(r#"{"width": 8, "mean": [0.5]}"#).unwrap();
        assert_eq!(
            settings,
            Settings {
                width: 8,
                mean: vec![0.5],
                inner: None
            }
        );
    }

    #[test]
    fn an_error_names_the_setting() {
        assert_eq!(field("{}").as_deref(), Some("width"));
        assert_eq!(field(r#"{"width": "wide"}"#).as_deref(), Some("width"));
        assert_eq!(
            field(r#"{"width": 1, "mean": [1, "x"]}"#).as_deref(),
            Some("mean[1]")
        );
        assert_eq!(
            field(r#"{"width": 1, "widht": 2}"#).as_deref(),
            Some("widht")
        );
        assert_eq!(
            field(r#"{"width": 1, "inner": {}}"#).as_deref(),
            Some("inner.depth")
        );
        assert_eq!(
            field(r#"{"width": 1, "inner": {"depth": 300}}"#).as_deref(),
            Some("inner.depth")
        );
        assert_eq!(field("[").as_deref(), None);
    }

    #[test]
    fn no_settings_refuses_any() {
        assert_eq!(parse::<NoSettings>("{}"), Ok(NoSettings {}));
        assert_eq!(
            parse::<NoSettings>(r#"{"k": 1}"#).unwrap_err().field(),
            Some("k")
        );
    }
}
