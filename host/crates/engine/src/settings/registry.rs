//! `[registry]` of a `model.toml`: what people say of a model. Nothing here changes how it is run.

use std::collections::BTreeMap;

use serde::Deserialize;
use wharf_core::{LoadError, Modality};

/// The longest description, and the most labels with their longest value, in bytes.
const MAX_DESCRIPTION: usize = 4096;
const MAX_LABELS: usize = 64;
const MAX_VALUE: usize = 256;

/// What people say of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Registry {
    /// What the model is for.
    pub description: String,
    /// What goes into it: names of [`Modality`].
    pub modalities: Vec<String>,
    /// Words to find it by: `team = "vision"`. Labels of versions are in `[versions]`.
    pub labels: BTreeMap<String, String>,
    /// The versions that were promoted before the present one, the latest last.
    pub history: Vec<u64>,
}

impl Registry {
    pub(super) fn check(&self, file: &str) -> Result<(), LoadError> {
        let wrong = |key: &str, message: &str| {
            Err(LoadError::new(file, message).with_key(format!("registry.{key}")))
        };
        if self.description.len() > MAX_DESCRIPTION {
            return wrong("description", "is longer than 4096 bytes; make it shorter");
        }
        for modality in &self.modalities {
            if let Err(error) = modality.parse::<Modality>() {
                return wrong("modalities", &error.to_string());
            }
        }
        if self.labels.len() > MAX_LABELS {
            return wrong("labels", "are more than 64; leave some out");
        }
        for (label, value) in &self.labels {
            let key = || format!("labels.{}", LoadError::key_part(label));
            if wharf_core::Name::new(label).is_err() {
                let message = "a label is made of letters, digits, '-', '_' and '.', and begins with a letter or a digit";
                return wrong(&key(), message);
            }
            if value.len() > MAX_VALUE || value.chars().any(char::is_control) {
                let message = "is text of at most 256 bytes, without control characters";
                return wrong(&key(), message);
            }
        }
        Ok(())
    }
}
