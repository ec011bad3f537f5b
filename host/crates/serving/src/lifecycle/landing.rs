//! Brings versions from the store of artifacts into the site, and says which version serves.
//!
//! The files of a version are fetched into a folder beside the site's, checked by their digests on the way, and then moved there like the
//! files of any load: they are loaded and warmed up before they come into force, together with the policy that makes them serve.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wharf_core::{
    Artifact, ArtifactError, ArtifactKind, ArtifactStore, Error, ErrorKind, Name, Result,
};

use super::author::Author;
use super::change::{FileContent, ModelChange, ModelFile, SettingEdit, SettingValue};
use super::precondition::{IF_MATCH, Precondition};
use crate::in_force::InForce;
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
/// How often a change is made anew that another one came before.
const ATTEMPTS: usize = 5;
/// How long the task of the site waits for the store: everything else waits for that task.
const PATIENCE: Duration = Duration::from_secs(10);

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
        if self.in_force().artifacts.set(store).is_err() {
            tracing::warn!("the store of artifacts is set already");
        }
    }

    /// The store of artifacts.
    ///
    /// # Errors
    /// `Unimplemented` where this server has none.
    pub fn artifacts(&self) -> Result<&Arc<dyn ArtifactStore>> {
        self.in_force().artifacts.get().ok_or_else(|| {
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
        by: Author,
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
        let fetched = self.fetch(name, artifacts, progress).await?;
        let settings = |record: &ModelRecord| Ok(edits(record, version, &promotion));
        self.bring(name, fetched, by, settings).await
    }

    /// Lets the version serve that did before the present one was promoted. Gives that version.
    ///
    /// # Errors
    /// `Conflict` where none is remembered; as [`Serving::land`].
    pub async fn roll_back_model(
        &self,
        name: &Name,
        by: Author,
        progress: Progress,
    ) -> Result<u64> {
        let record = self.model(name).await?;
        let history = &record.document.registration.history;
        let Some(version) = history.last().copied() else {
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
        let fetched = self.fetch(name, artifacts, progress).await?;
        let settings = |record: &ModelRecord| match record
            .document
            .registration
            .history
            .split_last()
        {
            Some((last, before)) if *last == version => {
                let mut settings = serve(version);
                settings.push(remember(before));
                Ok(settings)
            }
            _ => {
                let message = "another version was promoted or rolled back meanwhile; look which one serves now";
                Err(Error::new(ErrorKind::Conflict, message).with_field("model"))
            }
        };
        self.bring(name, fetched, by, settings).await?;
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

    /// Fetches artifacts into a folder beside the site's.
    async fn fetch(
        &self,
        name: &Name,
        artifacts: Vec<Artifact>,
        progress: Progress,
    ) -> Result<Fetched> {
        let mut fetched = Fetched {
            folder: Folder::new(&self.in_force().site.join(LANDING), name),
            files: Vec::with_capacity(artifacts.len()),
        };
        let total: u64 = artifacts.iter().map(|artifact| artifact.size).sum();
        let mut done = 0;
        for artifact in artifacts {
            let path = fetched.folder.0.join(artifact.place.file.as_str());
            self.artifacts()?
                .fetch(&artifact, &path)
                .await
                .map_err(refusal)?;
            done += artifact.size;
            progress(FETCHED * done as f64 / total.max(1) as f64);
            fetched.files.push(ModelFile {
                version: artifact.place.version,
                path: artifact.place.file.to_string(),
                data: FileContent::Moved(path),
            });
        }
        progress(FETCHED);
        Ok(fetched)
    }

    /// Brings files into the site, with the settings that the model takes as it is then. Others may change it at any time: where settings
    /// are to follow from what it says, and that changed, they are found anew.
    async fn bring(
        &self,
        name: &Name,
        fetched: Fetched,
        by: Author,
        settings: impl Fn(&ModelRecord) -> Result<Vec<SettingEdit>>,
    ) -> Result<()> {
        let Fetched { folder, files } = fetched;
        let attempt = async || {
            let record = self.model(name).await?;
            let settings = settings(&record)?;
            let change = ModelChange {
                only_if: match settings.is_empty() {
                    true => Precondition::Present,
                    false => Precondition::Is(record.digest),
                },
                settings,
                files: files.clone(),
                by: by.clone(),
                ..ModelChange::default()
            };
            self.load_model(name, change).await
        };
        let mut brought = attempt().await;
        for _ in 1..ATTEMPTS {
            if !is_stale(&brought) {
                break;
            }
            brought = attempt().await;
        }
        if is_stale(&brought) {
            let message = "others keep changing the model; try again";
            brought = Err(Error::new(ErrorKind::Conflict, message).with_field("model"));
        }
        folder.remove().await;
        brought
    }
}

/// Whether a model was changed before its change could be made.
fn is_stale(brought: &Result<()>) -> bool {
    let error = brought.as_ref().err();
    error.is_some_and(|error| error.field() == Some(IF_MATCH))
}

/// Takes out all that the store of artifacts has of a model, where there is one.
///
/// # Errors
/// `Unavailable` where that cannot be reached.
pub(crate) async fn clear_artifacts(in_force: &InForce, model: &Name) -> Result<()> {
    let Some(store) = in_force.artifacts.get() else {
        return Ok(());
    };
    let cleared = timeout(PATIENCE, store.clear(model)).await;
    cleared
        .map_err(|_elapsed| {
            let message = "the store of artifacts does not answer; try again later";
            Error::new(ErrorKind::Unavailable, message)
        })?
        .map_err(refusal)
}

/// What was fetched of a version. Its files go with it, unless they are moved.
struct Fetched {
    folder: Folder,
    files: Vec<ModelFile>,
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
        ArtifactError::Refused(error) | ArtifactError::PreconditionFailed(error) => error,
        error => Error::internal(error),
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
