//! The settings.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

use crate::patterns::{Known, Pattern, Patterns};

/// What stands for the name of the pattern in a replacement.
const NAME: &str = "{name}";
/// The most own patterns, and the longest replacement in bytes.
const MAX_PATTERNS: usize = 64;
const MAX_REPLACEMENT: usize = 256;

/// `[settings]` of `plugins/redact.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    kinds: Vec<Known>,
    patterns: Vec<Own>,
    replacement: String,
    replacement_id: u32,
}

/// One of `[[settings.patterns]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    name: String,
    pattern: String,
    replacement: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            kinds: vec![Known::Email, Known::Phone, Known::Card],
            patterns: Vec::new(),
            replacement: "[{name}]".to_owned(),
            replacement_id: 0,
        }
    }
}

impl Settings {
    pub(crate) fn compile(&self) -> Result<Patterns> {
        check_replacement("replacement", &self.replacement)?;
        if self.patterns.len() > MAX_PATTERNS {
            return Err(Error::invalid_field(
                "patterns",
                format!("give at most {MAX_PATTERNS}"),
            ));
        }
        let mut patterns = Vec::new();
        // Of equal matches the first pattern names the replacement: own ones are more special.
        for (index, own) in self.patterns.iter().enumerate() {
            let field = |key: &str| format!("patterns[{index}].{key}");
            if own.name.is_empty() {
                return Err(Error::invalid_field(
                    field("name"),
                    "give the pattern a name",
                ));
            }
            let replacement = own.replacement.as_ref().unwrap_or(&self.replacement);
            check_replacement(&field("replacement"), replacement)?;
            patterns.push(Pattern {
                known: None,
                hir: crate::patterns::parse(&own.pattern)
                    .map_err(|message| Error::invalid_field(field("pattern"), message))?,
                replacement: replacement.replace(NAME, &own.name),
            });
        }
        for (index, known) in self.kinds.iter().enumerate() {
            if self.kinds[..index].contains(known) {
                return Err(Error::invalid_field(
                    format!("kinds[{index}]"),
                    "is there twice",
                ));
            }
            patterns.push(Pattern {
                known: Some(*known),
                hir: crate::patterns::parse(known.pattern()).map_err(Error::failed)?,
                replacement: self.replacement.replace(NAME, known.name()),
            });
        }
        if patterns.is_empty() {
            return Err(Error::invalid_field(
                "patterns",
                "give a pattern, or one of `kinds`",
            ));
        }
        Patterns::compile(patterns, self.replacement_id)
            .map_err(|message| Error::invalid_field("patterns", message))
    }
}

fn check_replacement(field: &str, replacement: &str) -> Result<()> {
    if replacement.len() <= MAX_REPLACEMENT {
        return Ok(());
    }
    Err(Error::invalid_field(
        field,
        format!("give at most {MAX_REPLACEMENT} bytes"),
    ))
}
