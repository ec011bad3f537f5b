//! A fake of the store of artifacts.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use parking_lot::Mutex;
use wharf_core::{
    Appended, Artifact, ArtifactError, ArtifactPlace, ArtifactStore, BoxFuture, ByteSource, Digest,
    Error, ErrorKind, Name, NewUpload, Precondition, Result, Upload,
};

/// A store in memory. It takes an upload to be what it was said to be, unless its content begins with `wrong`.
#[derive(Clone, Default)]
pub struct FakeArtifacts(Arc<Inner>);

#[derive(Default)]
struct Inner {
    uploads: Mutex<BTreeMap<Name, (NewUpload, Vec<u8>)>>,
    stored: Mutex<BTreeMap<ArtifactPlace, (Artifact, Bytes)>>,
    next: AtomicU64,
    full: AtomicBool,
}

type Answer<T> = Result<T, ArtifactError>;

impl FakeArtifacts {
    /// From now on there is no room for anything.
    pub fn fill(&self) {
        self.0.full.store(true, Ordering::SeqCst);
    }

    /// How many uploads are under way.
    #[must_use]
    pub fn uploads(&self) -> usize {
        self.0.uploads.lock().len()
    }

    /// How many bytes came of the upload that was begun as the nth; none where it is not under way.
    #[must_use]
    pub fn standing(&self, nth: u64) -> Option<usize> {
        let id = Name::new(&format!("u{nth}")).ok()?;
        let uploads = self.0.uploads.lock();
        uploads.get(&id).map(|(_, content)| content.len())
    }

    /// Puts an artifact into a place that has none, as if it had been uploaded.
    pub fn leave(&self, of: &NewUpload, content: &'static str) {
        let stored = self.store(of, Bytes::from_static(content.as_bytes()));
        assert!(stored.is_ok(), "there is one already");
    }

    fn check_room(&self) -> Answer<()> {
        match self.0.full.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::NoRoom, "the disk is full").into()),
            false => Ok(()),
        }
    }

    fn find(&self, id: &Name) -> Answer<Upload> {
        let uploads = self.0.uploads.lock();
        let (of, content) = uploads.get(id).ok_or_else(|| {
            let error = Error::new(ErrorKind::NotFound, "there is no such upload");
            error.with_field("upload")
        })?;
        Ok(Upload {
            id: id.clone(),
            of: of.clone(),
            offset: content.len() as u64,
            expires_at: SystemTime::now() + Duration::from_secs(60),
        })
    }

    async fn take(
        &self,
        upload: &Upload,
        offset: u64,
        source: &mut dyn ByteSource,
    ) -> Answer<Appended> {
        let stands = self.find(&upload.id)?.offset;
        if stands != offset {
            return Err(ArtifactError::Offset { offset: stands });
        }
        while let Some(piece) = source.next().await? {
            self.check_room()?;
            let mut uploads = self.0.uploads.lock();
            let Some((of, content)) = uploads.get_mut(&upload.id) else {
                break;
            };
            if (content.len() + piece.len()) as u64 > of.size {
                return Err(Error::invalid("body", "more came than was said").into());
            }
            content.extend_from_slice(&piece);
        }
        let upload = self.find(&upload.id)?;
        if upload.offset < upload.of.size {
            return Ok(Appended::Partial(upload));
        }
        let taken = self.0.uploads.lock().remove(&upload.id);
        let content = Bytes::from(taken.map(|(_, content)| content).unwrap_or_default());
        if content.starts_with(b"wrong") {
            let error = Error::new(ErrorKind::Unprocessable, "it is not what it was said to be");
            return Err(error.with_field("digest").into());
        }
        self.store(&upload.of, content).map(Appended::Whole)
    }

    fn store(&self, of: &NewUpload, content: Bytes) -> Answer<Artifact> {
        let artifact = Artifact {
            place: of.place.clone(),
            kind: of.kind,
            digest: of.digest,
            size: of.size,
            stored_at: SystemTime::now(),
        };
        let mut stored = self.0.stored.lock();
        of.check(stored.get(&of.place).map(|(there, _)| there))?;
        stored.insert(of.place.clone(), (artifact.clone(), content));
        Ok(artifact)
    }

    fn content(&self, digest: Digest) -> Answer<Bytes> {
        let stored = self.0.stored.lock();
        let mut stored = stored.values();
        let found = stored.find(|(artifact, _)| artifact.digest == digest);
        let found = found.map(|(_, content)| content.clone());
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "the content is gone").into())
    }
}

impl ArtifactStore for FakeArtifacts {
    fn begin(&self, of: NewUpload) -> BoxFuture<'_, Answer<Upload>> {
        Box::pin(async move {
            self.check_room()?;
            of.check(self.0.stored.lock().get(&of.place).map(|(there, _)| there))?;
            let id = format!("u{}", self.0.next.fetch_add(1, Ordering::SeqCst));
            let id = Name::new(&id).map_err(|error| ArtifactError::from(Error::internal(error)))?;
            self.0.uploads.lock().insert(id.clone(), (of, Vec::new()));
            self.find(&id)
        })
    }

    fn uploads<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<Vec<Upload>>> {
        let ids: Vec<Name> = self.0.uploads.lock().keys().cloned().collect();
        let uploads = ids.iter().filter_map(|id| self.find(id).ok());
        let of_model = uploads.filter(|upload| upload.of.place.model == *model);
        Box::pin(std::future::ready(Ok(of_model.collect())))
    }

    fn upload<'a>(&'a self, _: &'a Name, id: &'a Name) -> BoxFuture<'a, Answer<Upload>> {
        Box::pin(std::future::ready(self.find(id)))
    }

    fn append<'a>(
        &'a self,
        upload: &'a Upload,
        offset: u64,
        content: &'a mut dyn ByteSource,
    ) -> BoxFuture<'a, Answer<Appended>> {
        Box::pin(self.take(upload, offset, content))
    }

    fn abandon<'a>(&'a self, upload: &'a Upload) -> BoxFuture<'a, Answer<()>> {
        self.0.uploads.lock().remove(&upload.id);
        Box::pin(std::future::ready(Ok(())))
    }

    fn list<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<Vec<Artifact>>> {
        let stored = self.0.stored.lock();
        let of_model = stored.values().filter(|(one, _)| one.place.model == *model);
        let found = of_model.map(|(artifact, _)| artifact.clone()).collect();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn read<'a>(
        &'a self,
        artifact: &'a Artifact,
        range: Range<u64>,
    ) -> BoxFuture<'a, Answer<Box<dyn ByteSource>>> {
        let content = self.content(artifact.digest);
        let part = content.map(|content| content.slice(range.start as usize..range.end as usize));
        let source = part.map(|part| Box::new(Once(Some(part))) as Box<dyn ByteSource>);
        Box::pin(std::future::ready(source))
    }

    fn fetch<'a>(&'a self, artifact: &'a Artifact, file: &'a Path) -> BoxFuture<'a, Answer<()>> {
        let written = self.content(artifact.digest).and_then(|content| {
            let folder = file.parent().unwrap_or(file);
            let written = std::fs::create_dir_all(folder);
            let written = written.and_then(|()| std::fs::write(file, content));
            written.map_err(|error| Error::internal(error).into())
        });
        Box::pin(std::future::ready(written))
    }

    fn remove<'a>(
        &'a self,
        place: &'a ArtifactPlace,
        only_if: Precondition,
    ) -> BoxFuture<'a, Answer<()>> {
        let mut stored = self.0.stored.lock();
        let there = stored.get(place).map(|(artifact, _)| artifact.digest);
        let checked = only_if.check(there);
        if checked.is_ok() {
            stored.remove(place);
        }
        let removed = checked.map_err(ArtifactError::PreconditionFailed);
        Box::pin(std::future::ready(removed))
    }

    fn clear<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<()>> {
        let Inner {
            uploads, stored, ..
        } = &*self.0;
        uploads.lock().retain(|_, (of, _)| of.place.model != *model);
        stored.lock().retain(|place, _| place.model != *model);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A content that comes as one piece.
struct Once(Option<Bytes>);

impl ByteSource for Once {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(std::future::ready(Ok(self.0.take())))
    }
}
