//! What clients put into the site and take out of it beside versions of models: plugins, their settings, routes, and whole models.
//!
//! A plugin or a route is one file that is replaced by one rename, so that the site has the old or the new. Before, it is checked as
//! `wharf check` would: the plugin is compiled, started and tests itself, the route is linked with what is in force.

mod staged;

use std::path::PathBuf;

use bytes::Bytes;
use tokio::task::spawn_blocking;
use wharf_core::{Error, ErrorKind, Name, Result};

use super::author::Author;
use super::change::SettingValue;
use super::precondition::Precondition;
use crate::serving::Serving;
use crate::watcher::Ask;

pub(crate) use staged::StagedPart;

/// A part of the site that is changed as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SitePart {
    /// The component of a plugin. Taking it out takes its settings and its signature along.
    Plugin(Name),
    /// The settings of a plugin. They may come before their component, and are checked with it.
    PluginSettings(Name),
    /// The file of a route.
    Route(Name),
    /// A model with all its versions. It can only be taken out: a load changes it.
    Model(Name),
}

/// What a part is to be.
#[derive(Clone, Debug)]
pub enum PartContent {
    /// These bytes.
    Bytes(Bytes),
    /// TOML of these entries. What stays the same keeps its place and its comments.
    Entries(Vec<(String, SettingValue)>),
    /// It is taken out.
    Nothing,
}

/// A change of a part of the site.
#[derive(Clone, Debug)]
pub struct SiteChange {
    /// The part.
    pub part: SitePart,
    /// What it is to be.
    pub content: PartContent,
    /// What must be so for the change to be made. Of a model, the content is that of `model.toml`.
    pub only_if: Precondition,
    /// Who asks for it. Parts but models are everybody's: their operator changes them.
    pub by: Author,
}

impl SitePart {
    /// The name of what it is a part of.
    #[must_use]
    pub fn name(&self) -> &Name {
        match self {
            Self::Plugin(name)
            | Self::PluginSettings(name)
            | Self::Route(name)
            | Self::Model(name) => name,
        }
    }

    /// The path of its file inside the site; of a model, of its folder.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Plugin(name) => format!("plugins/{name}.wasm"),
            Self::PluginSettings(name) => format!("plugins/{name}.toml"),
            Self::Route(name) => format!("routes/{name}.toml"),
            Self::Model(name) => format!("models/{name}"),
        }
    }

    /// The word for it in messages and fields.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Plugin(_) | Self::PluginSettings(_) => "plugin",
            Self::Route(_) => "route",
            Self::Model(_) => "model",
        }
    }

    pub(crate) fn not_found(&self) -> Error {
        let (word, name) = (self.word(), self.name());
        let message = format!(
            "the site has no {word} {name} of its own; GET /v1/{word}s lists those in force"
        );
        Error::new(ErrorKind::NotFound, message).with_field(word)
    }
}

impl Serving {
    /// Changes a part of the site, and says when that is in force. Where it would be refused, nothing has changed, but that a load of a
    /// model that is to be taken out has ended.
    ///
    /// # Errors
    /// `NotFound` where what is to be taken out is not there; `Conflict` where routes need it, or what must be so is not;
    /// `Unprocessable` with the key as the field where it would be refused; `Unavailable` where the site cannot be written.
    pub async fn change_site(&self, change: SiteChange) -> Result<()> {
        if let (SitePart::Model(name), PartContent::Nothing) = (&change.part, &change.content) {
            self.in_force().cancel_loads(name, &change.by);
        }
        self.ask(|answer| Ask::Change(change, answer)).await
    }

    /// What the site has of a part that is a file; none where it has none.
    ///
    /// # Errors
    /// `Unavailable` where it cannot be read.
    pub async fn site_part(&self, part: &SitePart) -> Result<Option<Bytes>> {
        let path: PathBuf = self.in_force().site.join(part.path());
        let read = spawn_blocking(move || staged::read_file(&path)).await;
        read.map_err(Error::internal)?
    }
}
