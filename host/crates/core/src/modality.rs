//! What goes into a model, as people say it.

use std::fmt;
use std::str::FromStr;

/// A kind of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Modality {
    /// Pictures.
    Image,
    /// Texts.
    Text,
    /// Sounds.
    Audio,
    /// Rows of numbers and categories.
    Tabular,
}

impl Modality {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 4] = [Self::Image, Self::Text, Self::Audio, Self::Tabular];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Text => "text",
            Self::Audio => "audio",
            Self::Tabular => "tabular",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no modality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a modality is image, text, audio or tabular")]
pub struct UnknownModality;

impl FromStr for Modality {
    type Err = UnknownModality;

    fn from_str(name: &str) -> Result<Self, UnknownModality> {
        let mut all = Self::ALL.into_iter();
        all.find(|modality| modality.name() == name)
            .ok_or(UnknownModality)
    }
}
