//! The settings.

use serde::Deserialize;
use wharf_plugin_sdk::codec::EncodingOptions;
use wharf_plugin_sdk::{Error, Result};

/// The most ids of a text, and the most texts, so that a wrong setting makes no tensor without end.
const MOST: u32 = 1 << 20;

/// `[settings]` of `plugins/tokenize.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The name that the grant gives a tokenizer.
    pub(crate) tokenizer: String,
    max_length: Option<u32>,
    pad_to: Option<u32>,
    #[serde(default = "yes")]
    special: bool,
    /// The names of the outputs; empty for one that is left out.
    #[serde(default = "input_ids")]
    pub(crate) ids: String,
    #[serde(default = "attention_mask")]
    pub(crate) mask: String,
    #[serde(default)]
    pub(crate) segments: String,
    #[serde(default)]
    pub(crate) datatype: Datatype,
    #[serde(default = "max_texts")]
    pub(crate) max_texts: u32,
    #[serde(default = "max_bytes")]
    pub(crate) max_bytes: u64,
}

/// The element type of the tensors.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Datatype {
    #[default]
    Int64,
    Int32,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        for (setting, number) in [
            ("max_length", self.max_length),
            ("pad_to", self.pad_to),
            ("max_texts", Some(self.max_texts)),
        ] {
            if number.is_some_and(|number| !(1..=MOST).contains(&number)) {
                let message = format!("give a number from 1 to {MOST}");
                return Err(Error::invalid_field(setting, message));
            }
        }
        if let (Some(most), Some(padded)) = (self.max_length, self.pad_to)
            && padded > most
        {
            return Err(Error::invalid_field(
                "pad_to",
                format!("is more than `max_length`: no text has more than {most} ids"),
            ));
        }
        if self.max_bytes == 0 {
            return Err(Error::invalid_field("max_bytes", "give at least 1"));
        }
        self.check_names()
    }

    fn check_names(&self) -> Result<()> {
        if self.ids.is_empty() {
            return Err(Error::invalid_field(
                "ids",
                "give the name of the model's input that takes the ids",
            ));
        }
        if self.mask == self.ids {
            return Err(Error::invalid_field(
                "mask",
                "is the name of `ids`: give another, or \"\" for none",
            ));
        }
        if !self.segments.is_empty() && [&self.ids, &self.mask].contains(&&self.segments) {
            return Err(Error::invalid_field(
                "segments",
                "is the name of another output: give one of its own, or \"\" for none",
            ));
        }
        Ok(())
    }

    /// How texts become ids.
    pub(crate) fn options(&self) -> EncodingOptions {
        let mut options = EncodingOptions::default();
        if let Some(most) = self.max_length {
            options = options.with_max_length(most);
        }
        if let Some(length) = self.pad_to {
            options = options.with_padding_to(length);
        }
        if self.special {
            options
        } else {
            options.without_special()
        }
    }
}

fn yes() -> bool {
    true
}

fn input_ids() -> String {
    "input_ids".to_owned()
}

fn attention_mask() -> String {
    "attention_mask".to_owned()
}

fn max_texts() -> u32 {
    64
}

fn max_bytes() -> u64 {
    1 << 20
}
