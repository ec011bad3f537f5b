//! What people say of the models of a site, and how each is. It is read from the folder whenever somebody asks, and written into it:
//! what is changed by hand and what is changed by request are the same.

mod document;
mod read;

use std::collections::BTreeMap;

use tokio::task::spawn_blocking;
use wharf_core::{Digest, Error, Modality, Name, Result, Tenants};

use crate::lifecycle::{IndexEntry, ModelState, SettingValue, no_such_model};
use crate::serving::Serving;

pub use document::read_entries;
pub(crate) use document::{lay, values_of};
pub(crate) use read::model as read_model;
pub use read::tenants_of;

/// What people say of a model: `[registry]` of its `model.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registration {
    /// What it is for.
    pub description: String,
    /// What goes into it.
    pub modalities: Vec<Modality>,
    /// Words to find it by.
    pub labels: BTreeMap<String, String>,
    /// The versions that were promoted before the present one, the latest last.
    pub history: Vec<u64>,
}

/// Everything that a `model.toml` says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelDocument {
    /// What people say of the model. The history is not replaced: it is the server's.
    pub registration: Registration,
    /// The other tables.
    pub settings: Vec<(String, SettingValue)>,
}

/// A model of the site.
#[derive(Clone, Debug)]
pub struct ModelRecord {
    /// Its name.
    pub name: Name,
    /// The digest of the text of `model.toml`, which is empty where there is none.
    pub digest: Digest,
    /// What `model.toml` says; nothing where it cannot be read.
    pub document: ModelDocument,
    /// Whose it is, by `model.toml`; the operator's where that cannot be read.
    pub tenants: Tenants,
    /// Whether `model.toml` can be read. Where not, it can be replaced, and not be changed in part.
    pub is_readable: bool,
    /// Every version, and how it is; an entry without a version says how the model is that has none.
    pub versions: Vec<IndexEntry>,
    /// The version of requests that name none; none where none is in force.
    pub(crate) default: Option<u64>,
}

impl ModelRecord {
    /// The version that requests go to which name none, where one is in force.
    #[must_use]
    pub fn serving(&self) -> Option<u64> {
        self.default
    }

    /// How the model is as a whole: what its best version is.
    #[must_use]
    pub fn state(&self) -> ModelState {
        let order = [
            ModelState::Ready,
            ModelState::Loading,
            ModelState::Unloading,
            ModelState::Unavailable,
        ];
        let has = |state: &ModelState| self.versions.iter().any(|entry| entry.state == *state);
        order
            .into_iter()
            .find(has)
            .unwrap_or(ModelState::Registered)
    }

    /// Why the model is not as it should be; empty where there is nothing to say.
    #[must_use]
    pub fn reason(&self) -> &str {
        let state = self.state();
        let mut of_state = self.versions.iter().filter(|entry| entry.state == state);
        of_state
            .find(|entry| !entry.reason.is_empty())
            .map_or("", |entry| &entry.reason)
    }
}

impl Serving {
    /// Every model of the site, sorted by name.
    ///
    /// # Errors
    /// `Unavailable` where the site cannot be read.
    pub async fn models(&self) -> Result<Vec<ModelRecord>> {
        let site = self.in_force().site.clone();
        let read = spawn_blocking(move || read::models(&site)).await;
        let mut records = read.map_err(Error::internal)??;
        let mut states = self.states();
        let snapshot = self.snapshot();
        for record in &mut records {
            record.default = snapshot.default_version(&record.name);
            record.versions = states.remove(&record.name).unwrap_or_default();
        }
        Ok(records)
    }

    /// A model of the site, whosever it is.
    ///
    /// # Errors
    /// `NotFound` where it has none of this name; `Unavailable` where it cannot be read.
    pub async fn model(&self, name: &Name) -> Result<ModelRecord> {
        let (site, wanted) = (self.in_force().site.clone(), name.clone());
        let read = spawn_blocking(move || read::model(&site, &wanted)).await;
        let record = read.map_err(Error::internal)??;
        let mut record = record.ok_or_else(|| no_such_model(name))?;
        record.default = self.snapshot().default_version(name);
        record.versions = self.states().remove(name).unwrap_or_default();
        Ok(record)
    }

    fn states(&self) -> BTreeMap<Name, Vec<IndexEntry>> {
        let mut states = BTreeMap::<Name, Vec<IndexEntry>>::new();
        for entry in self.in_force().model_index() {
            states.entry(entry.name.clone()).or_default().push(entry);
        }
        states
    }
}
