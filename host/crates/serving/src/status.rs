//! What serving tells an operator.

use std::sync::Arc;
use std::time::SystemTime;

use wharf_core::{Digest, LoadError, ModelLoad, Name, PluginHealth};

use crate::events::{Event, FileError};

/// What a reload came to.
#[derive(Clone, Debug, Default)]
pub struct ReloadReport {
    /// The generation in force after it.
    pub generation: u64,
    /// Whether it made a new snapshot.
    pub changed: bool,
    /// Every error of the site after it, new or not.
    pub errors: Vec<Arc<LoadError>>,
}

/// What is loaded, what drains, and what went wrong.
#[derive(Clone, Debug)]
pub struct SiteStatus {
    /// The generation in force.
    pub generation: u64,
    /// Whether the first load is done.
    pub loaded: bool,
    /// Whether requests are to be sent here.
    pub ready: bool,
    /// The plugins in force, sorted by name.
    pub plugins: Vec<PluginStatus>,
    /// The models in force, sorted by name and version.
    pub models: Vec<ModelStatus>,
    /// What is not in force any more but still used by requests.
    pub draining: Vec<DrainStatus>,
    /// The newest events, oldest first.
    pub events: Vec<Event>,
    /// The present error of each file that is not in force as it stands.
    pub errors: Vec<FileError>,
}

/// A plugin in force.
#[derive(Clone, Debug)]
pub struct PluginStatus {
    /// The name.
    pub name: Name,
    /// The digest of component and settings.
    pub digest: Digest,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// The release before it, where that is kept for a roll-back or a failure policy.
    pub previous: Option<Digest>,
    /// The release that was rolled back and is not loaded again until its content changes.
    pub rejected: Option<Digest>,
    /// How it does.
    pub health: PluginHealth,
}

/// A model in force.
#[derive(Clone, Debug)]
pub struct ModelStatus {
    /// The name.
    pub name: Name,
    /// The version.
    pub version: u64,
    /// The labels that requests may name instead of the version, sorted.
    pub labels: Vec<Arc<str>>,
    /// The digest of its files and settings.
    pub digest: Digest,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// The device that it runs on.
    pub device: String,
    /// How it does.
    pub load: ModelLoad,
}

/// Something that is not in force any more but still used.
#[derive(Clone, Debug)]
pub struct DrainStatus {
    /// `snapshot`, `model` or `plugin`.
    pub kind: &'static str,
    /// The generation of a snapshot; the name of a plugin; name and version of a model, `digits/2`.
    pub subject: String,
    /// Since when.
    pub since: SystemTime,
    /// Who still holds it: requests, snapshots that drain.
    pub references: usize,
}
