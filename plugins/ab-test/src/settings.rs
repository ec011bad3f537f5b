//! The settings.

use std::collections::BTreeMap;

use serde::Deserialize;
use wharf_plugin_sdk::{Error, HeaderName, Result};

/// The most variants: each has a metric, and a plugin may have 64.
const MOST_VARIANTS: usize = 32;
/// The most bytes of a variant's name, which is a part of its metric's.
const MOST_NAME_BYTES: usize = 32;

/// `[settings]` of `plugins/ab-test.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The salt: users of one experiment say nothing about those of another.
    pub(crate) experiment: String,
    pub(crate) variants: BTreeMap<String, Variant>,
    #[serde(default)]
    pub(crate) sticky_by: StickyBy,
    pub(crate) sticky_header: Option<HeaderName>,
    pub(crate) force_header: Option<HeaderName>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Variant {
    /// The label of its candidates; the variant's name where there is none.
    label: Option<String>,
    pub(crate) weight: f64,
}

/// What a user is known by.
#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum StickyBy {
    Header,
    Tenant,
    #[default]
    Request,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        if self.experiment.is_empty() {
            return Err(Error::invalid_field(
                "experiment",
                "give the experiment a name: another name draws all users anew",
            ));
        }
        self.check_variants()?;
        match (self.sticky_by, &self.sticky_header) {
            (StickyBy::Header, None) => Err(Error::invalid_field(
                "sticky_header",
                "goes with `sticky_by = \"header\"`: give the name of a header field",
            )),
            (StickyBy::Tenant | StickyBy::Request, Some(_)) => Err(Error::invalid_field(
                "sticky_by",
                "is not `\"header\"`, which `sticky_header` is for",
            )),
            _ => Ok(()),
        }
    }

    fn check_variants(&self) -> Result<()> {
        if !(2..=MOST_VARIANTS).contains(&self.variants.len()) {
            return Err(Error::invalid_field(
                "variants",
                format!("give 2 to {MOST_VARIANTS} variants"),
            ));
        }
        for (name, variant) in &self.variants {
            let word =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            if name.is_empty() || name.len() > MOST_NAME_BYTES || !name.bytes().all(word) {
                return Err(Error::invalid_field(
                    format!("variants.{name}"),
                    format!(
                        "names a metric: use up to {MOST_NAME_BYTES} lower-case letters, digits and underscores"
                    ),
                ));
            }
            if !variant.weight.is_finite() || variant.weight < 0.0 {
                return Err(Error::invalid_field(
                    format!("variants.{name}.weight"),
                    "give 0 or a positive number",
                ));
            }
            if variant.label.as_ref().is_some_and(String::is_empty) {
                return Err(Error::invalid_field(
                    format!("variants.{name}.label"),
                    "give the label of a candidate, or leave it out for the variant's own name",
                ));
            }
        }
        if !self.variants.values().any(|variant| variant.weight > 0.0) {
            return Err(Error::invalid_field(
                "variants",
                "give at least one variant a weight above 0",
            ));
        }
        Ok(())
    }

    /// The label of a variant's candidates.
    pub(crate) fn label(&self, variant: usize) -> &str {
        let found = self.variants.iter().nth(variant);
        let (name, variant) = found.expect("the place of a variant");
        variant.label.as_deref().unwrap_or(name)
    }
}
