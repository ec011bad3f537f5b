//! The settings.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

/// `[settings]` of `plugins/mean-pool.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Settings {
    /// The output with the embeddings of the tokens; empty for the only one of three dimensions.
    pub(crate) name: String,
    /// The output with the attention mask; empty where all tokens count.
    pub(crate) mask: String,
    /// The name of the tensor that is answered.
    pub(crate) output: String,
    pub(crate) normalise: bool,
    pub(crate) datatype: Answer,
}

/// The element type of the answer.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    #[default]
    Fp32,
    Fp16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: String::new(),
            mask: String::new(),
            output: "sentence_embedding".to_owned(),
            normalise: true,
            datatype: Answer::default(),
        }
    }
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        if self.output.is_empty() {
            return Err(Error::invalid_field(
                "output",
                "give the name of the tensor that is answered",
            ));
        }
        if !self.mask.is_empty() && self.mask == self.name {
            return Err(Error::invalid_field(
                "mask",
                "is the output that `name` names: name the one with the attention mask",
            ));
        }
        Ok(())
    }
}
