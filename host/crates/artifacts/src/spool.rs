//! Uploads that are under way, on the local disk: a record of what each will be, and the bytes that came. How far it is, is the length of
//! the file, so that a process which was killed goes on where it was. Everything here blocks.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use wharf_core::{ArtifactPlace, Digest, Name, NewUpload, Precondition, Upload};

/// What is read at once where a content is digested.
const CHUNK: usize = 1 << 20;
const RECORD: &str = "json";
const CONTENT: &str = "part";
/// The words for preconditions.
const ABSENT: &str = "absent";
const PRESENT: &str = "present";

/// The folder of uploads.
#[derive(Clone)]
pub(crate) struct Spool {
    folder: PathBuf,
    idle: Duration,
}

/// A record on disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    model: String,
    version: u64,
    file: String,
    kind: String,
    size: u64,
    sha256: String,
    /// [`ABSENT`], [`PRESENT`], or the digest of what is to be replaced.
    only_if: Option<String>,
    tenant: Option<String>,
}

impl Spool {
    pub(crate) fn new(folder: PathBuf, idle: Duration) -> Self {
        Self { folder, idle }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the bytes of an upload are.
    pub(crate) fn content(&self, id: &Name) -> PathBuf {
        self.folder.join(format!("{id}.{CONTENT}"))
    }

    fn record(&self, id: &Name) -> PathBuf {
        self.folder.join(format!("{id}.{RECORD}"))
    }

    /// Begins an upload. The record comes by a rename, so that it is whole.
    pub(crate) fn begin(&self, of: NewUpload) -> io::Result<Upload> {
        let id = new_id()?;
        fs::create_dir_all(&self.folder)?;
        File::create_new(self.content(&id))?;
        let record = serde_json::to_vec(&Record::of(&of)).map_err(io::Error::other)?;
        let coming = self.folder.join(format!("{id}.coming"));
        fs::write(&coming, record)?;
        fs::rename(coming, self.record(&id))?;
        File::open(&self.folder)?.sync_all()?;
        Ok(Upload {
            id,
            of,
            offset: 0,
            expires_at: SystemTime::now() + self.idle,
        })
    }

    /// An upload; none where there is none, or it has expired.
    pub(crate) fn find(&self, id: &Name) -> io::Result<Option<Upload>> {
        let record = match fs::read(self.record(id)) {
            Ok(record) => record,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let record: Option<Record> = serde_json::from_slice(&record).ok();
        let Some(of) = record.and_then(|record| record.read()) else {
            return Ok(None);
        };
        // Without its content, which a crash may have left as an artifact of nobody, it begins anew.
        let content = OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.content(id))?;
        let metadata = content.metadata()?;
        let expires_at = metadata.modified()? + self.idle;
        Ok((expires_at > SystemTime::now()).then(|| Upload {
            id: id.clone(),
            of,
            offset: metadata.len(),
            expires_at,
        }))
    }

    /// Whether an upload is there still.
    pub(crate) fn has(&self, id: &Name) -> io::Result<bool> {
        self.record(id).try_exists()
    }

    /// The uploads that are there.
    pub(crate) fn all(&self) -> io::Result<Vec<Upload>> {
        let mut found = Vec::new();
        for id in self.ids(RECORD)? {
            found.extend(self.find(&id)?);
        }
        Ok(found)
    }

    /// Removes an upload: the record first, so that what is left is never taken for one.
    pub(crate) fn remove(&self, id: &Name) -> io::Result<()> {
        for path in [self.record(id), self.content(id)] {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes the uploads of a model.
    pub(crate) fn clear(&self, model: &Name) -> io::Result<()> {
        let uploads = self.all()?.into_iter();
        let mut of_model = uploads.filter(|upload| upload.of.place.model == *model);
        of_model.try_for_each(|upload| self.remove(&upload.id))
    }

    /// Removes what has expired, but for what is being written.
    pub(crate) fn sweep(&self, is_busy: impl Fn(&Name) -> bool) -> io::Result<()> {
        for ending in [RECORD, CONTENT, "coming"] {
            for id in self.ids(ending)? {
                let path = self.folder.join(format!("{id}.{ending}"));
                let modified = fs::metadata(self.content(&id)).or_else(|_| fs::metadata(&path));
                let modified = modified.and_then(|metadata| metadata.modified());
                let age = modified.map(|modified| modified.elapsed().unwrap_or_default());
                if age.is_ok_and(|age| age > self.idle) && !is_busy(&id) {
                    self.remove(&id)?;
                    let _none = fs::remove_file(path);
                }
            }
        }
        Ok(())
    }

    fn ids(&self, ending: &str) -> io::Result<Vec<Name>> {
        let mut ids = Vec::new();
        let entries = match fs::read_dir(&self.folder) {
            // Nothing was ever uploaded.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ids),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(ending));
            let id = id.and_then(|id| id.strip_suffix('.'));
            ids.extend(id.and_then(|id| Name::new(id).ok()));
        }
        Ok(ids)
    }
}

impl Record {
    fn of(upload: &NewUpload) -> Self {
        Self {
            model: upload.place.model.to_string(),
            version: upload.place.version,
            file: upload.place.file.to_string(),
            kind: upload.kind.name().to_owned(),
            size: upload.size,
            sha256: upload.digest.to_string(),
            only_if: match upload.only_if {
                Precondition::None => None,
                Precondition::Absent => Some(ABSENT.to_owned()),
                Precondition::Present => Some(PRESENT.to_owned()),
                Precondition::Is(digest) => Some(digest.to_string()),
            },
            tenant: upload.tenant.as_deref().map(str::to_owned),
        }
    }

    fn read(&self) -> Option<NewUpload> {
        Some(NewUpload {
            place: ArtifactPlace {
                model: self.model.parse().ok()?,
                version: self.version,
                file: self.file.parse().ok()?,
            },
            kind: self.kind.parse().ok()?,
            size: self.size,
            digest: self.sha256.parse().ok()?,
            only_if: match self.only_if.as_deref() {
                None => Precondition::None,
                Some(ABSENT) => Precondition::Absent,
                Some(PRESENT) => Precondition::Present,
                Some(digest) => Precondition::Is(digest.parse().ok()?),
            },
            tenant: self.tenant.as_deref().map(Arc::from),
        })
    }
}

/// The digest of a file.
pub(crate) fn digest(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Digest::new(hash.finalize().into())),
            read => hash.update(&chunk[..read]),
        }
    }
}

/// A name that nobody guesses: what a keyed hash with random keys of the system makes of nothing.
fn new_id() -> io::Result<Name> {
    let half = || RandomState::new().hash_one(SystemTime::now());
    let id = format!("{:016x}{:016x}", half(), half());
    Name::new(&id).map_err(io::Error::other)
}
