//! The settings.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, HeaderName, Result};

/// `[settings]` of `plugins/shadow.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// A route or a model that the grant names.
    pub(crate) target: String,
    /// A version or a label of it.
    pub(crate) version: Option<String>,
    pub(crate) percent: f64,
    pub(crate) sticky_header: Option<HeaderName>,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        if self.target.is_empty() {
            return Err(Error::invalid_field(
                "target",
                "give the name of a route or of a model",
            ));
        }
        if self.version.as_ref().is_some_and(String::is_empty) {
            return Err(Error::invalid_field(
                "version",
                "give a version or a label, or leave it out for the one in force",
            ));
        }
        if !(0.0..=100.0).contains(&self.percent) {
            return Err(Error::invalid_field(
                "percent",
                "give a number from 0 to 100",
            ));
        }
        Ok(())
    }
}
