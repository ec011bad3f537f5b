//! The port of stores of artifacts: the files that models are made of, as they were uploaded.

use std::ops::Range;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::BoxFuture;
use crate::{Digest, Error, Name, Precondition, Result};

/// What an artifact is to its model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactKind {
    /// The ONNX file, or the external data that it names.
    Weights,
    /// What a program that uses the model reads.
    Configuration,
    /// The names of classes, a line each.
    Labels,
    /// How raw features become inputs.
    FeatureMaps,
}

impl ArtifactKind {
    /// Every kind, in the order of declaration.
    pub const ALL: [Self; 4] = [
        Self::Weights,
        Self::Configuration,
        Self::Labels,
        Self::FeatureMaps,
    ];

    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Weights => "weights",
            Self::Configuration => "configuration",
            Self::Labels => "labels",
            Self::FeatureMaps => "feature-maps",
        }
    }
}

/// A word that is no kind of artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kind is weights, configuration, labels or feature-maps")]
pub struct UnknownKind;

impl FromStr for ArtifactKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        let mut all = Self::ALL.into_iter();
        all.find(|kind| kind.name() == name).ok_or(UnknownKind)
    }
}

/// Where an artifact belongs: the file of a version of a model.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactPlace {
    /// The model.
    pub model: Name,
    /// The version, from 1 on.
    pub version: u64,
    /// The name of the file, which is checked as any name is: `model.onnx`.
    pub file: Name,
}

/// A file that was uploaded whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Where it belongs.
    pub place: ArtifactPlace,
    /// What it is.
    pub kind: ArtifactKind,
    /// The digest of its content, which is its place in the store too.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored.
    pub stored_at: SystemTime,
}

/// What an upload says of its content before it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewUpload {
    /// Where the artifact will belong.
    pub place: ArtifactPlace,
    /// What it is.
    pub kind: ArtifactKind,
    /// The length of the whole content in bytes.
    pub size: u64,
    /// The digest of the whole content.
    pub digest: Digest,
    /// What must be so of the place when the upload begins, and when it is whole.
    pub only_if: Precondition,
    /// The tenant that it counts for; none where it counts for nobody.
    pub tenant: Option<Arc<str>>,
}

impl NewUpload {
    /// Compares what is in the place with what must be so. Whoever replaces something says so.
    ///
    /// # Errors
    /// `PreconditionFailed`; `PreconditionRequired` where something is there and nothing was said of it.
    pub fn check(&self, there: Option<&Artifact>) -> Result<(), ArtifactError> {
        match (self.only_if, there) {
            (Precondition::None, Some(_)) => Err(ArtifactError::PreconditionRequired),
            (only_if, there) => check(only_if, there),
        }
    }
}

/// Compares what is in a place with what must be so.
///
/// # Errors
/// `PreconditionFailed`.
fn check(only_if: Precondition, there: Option<&Artifact>) -> Result<(), ArtifactError> {
    let checked = only_if.check(there.map(|artifact| artifact.digest));
    checked.map_err(ArtifactError::PreconditionFailed)
}

/// An upload that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    /// Its name: letters and digits that nobody guesses.
    pub id: Name,
    /// What it will be.
    pub of: NewUpload,
    /// How many bytes of it are stored.
    pub offset: u64,
    /// When it is given up, unless more of it comes.
    pub expires_at: SystemTime,
}

/// What came of a part.
#[derive(Clone, Debug)]
pub enum Appended {
    /// More is to come.
    Partial(Upload),
    /// It is whole, and is what it was said to be.
    Whole(Artifact),
}

/// Why a store refuses.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// Something is in the place of an upload that says nothing of it.
    #[error("the artifact is there already, and the upload does not say that it replaces it")]
    PreconditionRequired,
    /// What must be so is not. The error has the field of the precondition.
    #[error(transparent)]
    PreconditionFailed(Error),
    /// A part does not begin where the upload stands.
    #[error("the upload stands at {offset}")]
    Offset {
        /// Where it stands.
        offset: u64,
    },
    /// Anything else.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// Content that comes piece by piece.
pub trait ByteSource: Send {
    /// The next piece; none at the end.
    ///
    /// # Errors
    /// Where what it comes from breaks off.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>>;
}

/// A store of artifacts. Content is stored once whatever its names are, and never held in memory as a whole. Methods may be called
/// on threads that serve requests: what blocks is done elsewhere. What a method says of a place or a model is so for all who ask the same
/// store at the same time.
pub trait ArtifactStore: Send + Sync + 'static {
    /// Begins an upload.
    ///
    /// # Errors
    /// `NoRoom`; `TooLarge` where it is larger than one artifact may be; `Unavailable` where too many are under way, and `QuotaExceeded` where
    /// too many of its tenant are; as [`NewUpload::check`].
    fn begin(&self, upload: NewUpload) -> BoxFuture<'_, Result<Upload, ArtifactError>>;

    /// The uploads of a model that are under way, sorted by version and file.
    ///
    /// # Errors
    /// `Unavailable` where they cannot be read.
    fn uploads<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Result<Vec<Upload>, ArtifactError>>;

    /// An upload that is under way. It outlives the process.
    ///
    /// # Errors
    /// `NotFound` where there is none of this name, or it is whole, expired or of another model.
    fn upload<'a>(
        &'a self,
        model: &'a Name,
        id: &'a Name,
    ) -> BoxFuture<'a, Result<Upload, ArtifactError>>;

    /// Stores the next part of an upload: all that comes, also where the source breaks off in the middle. With the last byte the content
    /// is compared with its digest, and becomes an artifact in the place of the one before.
    ///
    /// # Errors
    /// `Offset` where the part begins elsewhere; `Conflict` where another part is being stored; `NotFound` where the upload was given up, or
    /// its model cleared, meanwhile; `InvalidArgument` where more comes than was said; `NoRoom`; what the source says. The upload is gone after
    /// `Unprocessable`, where the whole is not what it was said to be, and where it fails as [`NewUpload::check`] does.
    fn append<'a>(
        &'a self,
        upload: &'a Upload,
        offset: u64,
        content: &'a mut dyn ByteSource,
    ) -> BoxFuture<'a, Result<Appended, ArtifactError>>;

    /// Gives an upload up.
    ///
    /// # Errors
    /// `Conflict` where a part is being stored.
    fn abandon<'a>(&'a self, upload: &'a Upload) -> BoxFuture<'a, Result<(), ArtifactError>>;

    /// The artifacts of a model, sorted by version and file.
    ///
    /// # Errors
    /// `Unavailable` where the store cannot be reached.
    fn list<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Result<Vec<Artifact>, ArtifactError>>;

    /// Reads a range of an artifact.
    ///
    /// # Errors
    /// As [`ArtifactStore::list`].
    fn read<'a>(
        &'a self,
        artifact: &'a Artifact,
        range: Range<u64>,
    ) -> BoxFuture<'a, Result<Box<dyn ByteSource>, ArtifactError>>;

    /// Writes an artifact to a new file, and compares it with its digest. Where that fails there is no file.
    ///
    /// # Errors
    /// As [`ArtifactStore::list`]; `NoRoom`.
    fn fetch<'a>(
        &'a self,
        artifact: &'a Artifact,
        file: &'a Path,
    ) -> BoxFuture<'a, Result<(), ArtifactError>>;

    /// Takes out what is in a place. Its content goes later, when nothing else has it.
    ///
    /// # Errors
    /// `PreconditionFailed`; as [`ArtifactStore::list`].
    fn remove<'a>(
        &'a self,
        place: &'a ArtifactPlace,
        only_if: Precondition,
    ) -> BoxFuture<'a, Result<(), ArtifactError>>;

    /// Takes out all that a model has: its uploads, also those that a part is being stored of, and its artifacts. No upload that was begun before
    /// becomes an artifact afterwards.
    ///
    /// # Errors
    /// As [`ArtifactStore::list`].
    fn clear<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Result<(), ArtifactError>>;
}
