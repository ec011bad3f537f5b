//! Brings versions from the store of artifacts into the site, and says which version serves.
//!
//! The files of a version are fetched into a folder beside the site's, checked by their digests on the way, and then moved there like the
//! files of any load: they are loaded and warmed up before they come into force, together with the policy that makes them serve.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;
use wharf_core::{
    Artifact, ArtifactError, ArtifactKind, ArtifactStore, Error, ErrorKind, Name, Result,
};

use super::change::{FileContent, ModelChange, ModelFile, SettingEdit, SettingValue};
use super::precondition::Precondition;
use crate::registry::ModelRecord;
use crate::serving::Serving;

/// The folder of the site that files are fetched into. Nothing in it is served or watched, and a start empties it.
pub(crate) const LANDING: &str = ".landing";
/// The file without which a folder is no version.
const MODEL_FILE: &str = "model.onnx";
/// The most versions that are remembered for rolling back.
const MAX_HISTORY: usize = 16;
/// The part of the way that fetching is.
const FETCHED: f64 = 0.5;

/// What becomes of a version once it is in the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Promotion {
    /// What the version policy says.
    None,
    /// It serves alone, and the one that served is remembered.
    Serve,
    /// It gets a label, and serves for it whatever the policy says.
    Label(Name),
}

/// Told how far a piece of work is, from 0 to 1.
pub type Progress = Arc<dyn Fn(f64) + Send + Sync>;

impl Serving {
    /// Says where the artifacts of this site are kept; without, it has none. Only the first word counts.
    pub fn keep_artifacts_in(&self, store: Arc<dyn ArtifactStore>) {
        if self.artifact_cell().set(store).is_err() {
            tracing::warn!("the store of artifacts is set already");
        }
    }

    /// The store of artifacts.
    ///
    /// # Errors
    /// `Unimplemented` where this server has none.
    pub fn artifacts(&self) -> Result<&Arc<dyn ArtifactStore>> {
        self.artifact_cell().get().ok_or_else(|| {
            let message = "this server keeps no artifacts; put files into the site, or load them by the Open Inference Protocol";
            Error::new(ErrorKind::Unimplemented, message)
        })
    }

    /// Brings the artifacts of a version into the site, and says when it is in force. Without a promotion all of them are brought anew;
    /// with one only where the site does not have the version.
    ///
    /// # Errors
    /// `NotFound` where there is no such model or version; as [`Serving::load_model`].
    pub async fn land(
        &self,
        name: &Name,
        version: u64,
        promotion: Promotion,
        progress: Progress,
    ) -> Result<()> {
        let record = self.model(name).await?;
        let is_there = record
            .versions
            .iter()
            .any(|entry| entry.version == Some(version));
        let artifacts = match is_there && promotion != Promotion::None {
            true => Vec::new(),
            false => self.artifacts_of(name, version).await?,
        };
        let settings = edits(&record, version, &promotion);
        self.bring(&record, artifacts, settings, progress).await
    }

    /// Lets the version serve that did before the present one was promoted. Gives that version.
    ///
    /// # Errors
    /// `Conflict` where none is remembered; as [`Serving::land`].
    pub async fn roll_back_model(&self, name: &Name, progress: Progress) -> Result<u64> {
        let record = self.model(name).await?;
        let mut history = record.document.registration.history.clone();
        let Some(version) = history.pop() else {
            let message = "no version of this model was promoted before the present one; promote the one that is to serve";
            return Err(Error::new(ErrorKind::Conflict, message).with_field("model"));
        };
        let is_there = record
            .versions
            .iter()
            .any(|entry| entry.version == Some(version));
        let artifacts = match is_there {
            true => Vec::new(),
            false => self.artifacts_of(name, version).await?,
        };
        let mut settings = serve(version);
        settings.push(remember(&history));
        self.bring(&record, artifacts, settings, progress).await?;
        Ok(version)
    }

    /// The artifacts of a version, the model among them.
    async fn artifacts_of(&self, name: &Name, version: u64) -> Result<Vec<Artifact>> {
        let artifacts = self.artifacts()?.list(name).await.map_err(refusal)?;
        let artifacts: Vec<Artifact> = artifacts
            .into_iter()
            .filter(|artifact| artifact.place.version == version)
            .collect();
        if artifacts.iter().any(is_model) {
            return Ok(artifacts);
        }
        let message = format!(
            "model {name} has no version {version}, and no weights model.onnx of it are uploaded"
        );
        Err(Error::new(ErrorKind::NotFound, message).with_field("version"))
    }

    async fn bring(
        &self,
        record: &ModelRecord,
        artifacts: Vec<Artifact>,
        settings: Vec<SettingEdit>,
        progress: Progress,
    ) -> Result<()> {
        let folder = Folder::new(&self.in_force().site.join(LANDING), &record.name);
        let total: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        let mut files = Vec::with_capacity(artifacts.len());
        let mut fetched = 0;
        for artifact in artifacts {
            let path = folder.0.join(artifact.place.file.as_str());
            self.artifacts()?
                .fetch(&artifact, &path)
                .await
                .map_err(refusal)?;
            fetched += artifact.size;
            progress(FETCHED * fetched as f64 / total.max(1) as f64);
            files.push(ModelFile {
                version: artifact.place.version,
                path: artifact.place.file.to_string(),
                data: FileContent::Moved(path),
            });
        }
        progress(FETCHED);
        let change = ModelChange {
            settings,
            files,
            only_if: Precondition::Is(record.digest),
            ..ModelChange::default()
        };
        let loaded = self.load_model(&record.name, change).await;
        folder.remove().await;
        loaded
    }
}

fn is_model(artifact: &Artifact) -> bool {
    artifact.kind == ArtifactKind::Weights && artifact.place.file.as_str() == MODEL_FILE
}

fn edits(record: &ModelRecord, version: u64, promotion: &Promotion) -> Vec<SettingEdit> {
    match promotion {
        Promotion::None => Vec::new(),
        Promotion::Label(label) => vec![SettingEdit {
            key: format!(
                "versions.labels.{}",
                wharf_core::LoadError::key_part(label.as_str())
            ),
            value: number(version),
        }],
        Promotion::Serve => {
            let mut settings = serve(version);
            let mut history = record.document.registration.history.clone();
            // The version that requests go to which name none.
            history.extend(record.serving().filter(|before| *before != version));
            let old = history.len().saturating_sub(MAX_HISTORY);
            settings.push(remember(&history[old..]));
            settings
        }
    }
}

/// The settings with which a version serves alone.
fn serve(version: u64) -> Vec<SettingEdit> {
    let edit = |key: &str, value| SettingEdit {
        key: key.to_owned(),
        value,
    };
    vec![
        edit("versions.policy", SettingValue::Text("listed".to_owned())),
        edit("versions.list", SettingValue::List(vec![number(version)])),
        edit("versions.count", SettingValue::Default),
    ]
}

fn remember(history: &[u64]) -> SettingEdit {
    SettingEdit {
        key: "registry.history".to_owned(),
        value: SettingValue::List(history.iter().copied().map(number).collect()),
    }
}

fn number(version: u64) -> SettingValue {
    SettingValue::Integer(version.try_into().unwrap_or(i64::MAX))
}

/// What a store refuses, as an error of a request.
fn refusal(error: ArtifactError) -> Error {
    match error {
        ArtifactError::Refused(error) => error,
        error => Error::new(ErrorKind::Unavailable, error.to_string()).with_source(error),
    }
}

/// A folder that files are fetched into. It goes with this value.
struct Folder(PathBuf);

impl Folder {
    fn new(landing: &Path, model: &Name) -> Self {
        let since = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        Self(landing.join(format!("{model}-{:x}", since.as_nanos())))
    }

    /// Removes it off the threads that serve.
    async fn remove(self) {
        // It cannot fail but by the end of the runtime, and then a start removes what is left.
        let _ended = spawn_blocking(move || drop(self)).await;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "what was fetched of a version cannot be removed; the next start tries again");
            }
            _ => {}
        }
        // It stays where another version is being fetched.
        let _others = self.0.parent().map(std::fs::remove_dir);
    }
}
