//! The languages that plugins are written in, and the stages that a new one may have.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use wharf_toolchain::{Foreign, PythonToolchain};

/// A language that there is a template and a build for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Language {
    /// With the SDK, by cargo.
    Rust,
    /// By a toolchain of its own, from the contract alone.
    Foreign(Foreign),
}

impl ValueEnum for Language {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Rust,
            Self::Foreign(Foreign::Python),
            Self::Foreign(Foreign::JavaScript),
            Self::Foreign(Foreign::C),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let value = PossibleValue::new(self.name());
        Some(match self {
            Self::Foreign(Foreign::JavaScript) => value.alias("js"),
            _ => value,
        })
    }
}

impl Language {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Foreign(language) => language.name(),
        }
    }

    /// What an author does once in a new folder, before the first build.
    pub(super) fn setup(self) -> Option<String> {
        match self {
            Self::Rust | Self::Foreign(Foreign::C) => None,
            Self::Foreign(Foreign::Python) => Some(format!(
                "python3 -m venv .venv && .venv/bin/pip install {}",
                PythonToolchain::PACKAGE
            )),
            Self::Foreign(Foreign::JavaScript) => Some("npm install".to_owned()),
        }
    }
}

/// The stage of a new plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum NewStage {
    /// Before the model.
    Preprocess,
    /// After the model.
    Postprocess,
    /// Chooses the model.
    Router,
    /// Sees generated tokens.
    TokenFilter,
    /// Sees a body that comes in chunks.
    ChunkFilter,
}

impl NewStage {
    /// The world of the contract that exports it.
    pub(super) fn world(self) -> &'static str {
        match self {
            Self::Preprocess => "preprocessor",
            Self::Postprocess => "postprocessor",
            Self::Router => "routing",
            Self::TokenFilter => "token-filtering",
            Self::ChunkFilter => "chunk-filtering",
        }
    }

    /// What the template's plugin does.
    pub(super) fn summary(self) -> &'static str {
        match self {
            Self::Preprocess => {
                "Multiplies every element of FP32 tensors by a factor before the model sees them."
            }
            Self::Postprocess => "Turns the model's FP32 scores into the best class, as JSON.",
            Self::Router => {
                "Chooses the candidate with the least to do, or the one that a header asks for."
            }
            Self::TokenFilter => {
                "Replaces a token of a generated text, and ends the text at a stop word."
            }
            Self::ChunkFilter => {
                "Replaces a word in the lines of a body that comes in chunks, and ends the body at a line."
            }
        }
    }

    /// The line of a route file that calls a plugin; none where no route does.
    pub(super) fn route_line(self, plugin: &str) -> Option<String> {
        match self {
            Self::Preprocess => Some(format!("pre = [\"{plugin}\"]")),
            Self::Postprocess => Some(format!("post = [\"{plugin}\"]")),
            Self::Router => Some(format!("router = \"{plugin}\"")),
            // Filters see what comes piece by piece, and no route gives an answer so yet.
            Self::TokenFilter | Self::ChunkFilter => None,
        }
    }
}
