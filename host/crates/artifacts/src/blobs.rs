//! The contents of a store, each under its digest: `blobs/ab/ab...`.

use std::fs::{self, File};
use std::io::Read as _;
use std::ops::Range;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{GetOptions, ObjectStore, ObjectStoreExt as _, WriteMultipart};
use tokio::task::spawn_blocking;
use wharf_core::{ArtifactError, BoxFuture, ByteSource, Digest, Result};

use crate::fault::{of_disk, of_store, of_task};

const ROOT: &str = "blobs";
/// What is sent to a store of objects at once, and how many of these at the same time. 10,000 parts are the most of S3.
const PART: usize = 16 << 20;
const AT_ONCE: usize = 4;

/// The contents.
#[derive(Clone)]
pub(crate) struct Blobs {
    pub(crate) objects: Arc<dyn ObjectStore>,
    /// The folder, where the store is one: then a file is moved there, and not copied.
    pub(crate) folder: Option<PathBuf>,
}

impl Blobs {
    /// Stores a file as the content of a digest. Where it is there already it is replaced by the same: its time is new then, and no sweep
    /// takes it.
    pub(crate) async fn put(&self, digest: Digest, file: PathBuf) -> Result<(), ArtifactError> {
        if let Some(folder) = &self.folder {
            let target = folder.join(path_of(digest).as_ref());
            let moving = spawn_blocking(move || take(&file, &target));
            return moving.await.map_err(of_task)?.map_err(of_disk);
        }
        let upload = self.objects.put_multipart(&path_of(digest)).await;
        let mut upload = WriteMultipart::new_with_chunk_size(upload.map_err(of_store)?, PART);
        match send(&mut upload, file).await {
            Ok(()) => upload.finish().await.map(drop).map_err(of_store),
            Err(error) => {
                if let Err(error) = upload.abort().await {
                    tracing::warn!(%error, "a part of an artifact is left in the store");
                }
                Err(error)
            }
        }
    }

    /// Reads a range of a content.
    pub(crate) async fn read(
        &self,
        digest: Digest,
        range: Range<u64>,
    ) -> Result<Box<dyn ByteSource>, ArtifactError> {
        if range.is_empty() {
            return Ok(Box::new(Nothing));
        }
        let options = GetOptions::default().with_range(Some(range));
        let got = self.objects.get_opts(&path_of(digest), options).await;
        Ok(Box::new(Streamed(got.map_err(of_store)?.into_stream())))
    }

    /// The contents that are older than this, and their times.
    pub(crate) async fn older(
        &self,
        than: Duration,
    ) -> Result<Vec<(Digest, SystemTime)>, ArtifactError> {
        let mut found = Vec::new();
        let mut blobs = self.objects.list(Some(&Path::from(ROOT)));
        while let Some(blob) = blobs.try_next().await.map_err(of_store)? {
            let digest = blob.location.filename().and_then(|name| name.parse().ok());
            let stored_at = SystemTime::from(blob.last_modified);
            // One from the future is of a clock that differs.
            let is_old = stored_at.elapsed().is_ok_and(|age| age >= than);
            found.extend(digest.filter(|_| is_old).map(|digest| (digest, stored_at)));
        }
        Ok(found)
    }

    /// Removes a content, unless it came again since it had this time.
    pub(crate) async fn remove(
        &self,
        digest: Digest,
        stored_at: SystemTime,
    ) -> Result<(), ArtifactError> {
        let path = path_of(digest);
        let there = self.objects.head(&path).await.map_err(of_store)?;
        if SystemTime::from(there.last_modified) == stored_at {
            self.objects.delete(&path).await.map_err(of_store)?;
            tracing::info!(content = %path, "a content that no artifact has any more is removed");
        }
        Ok(())
    }
}

fn path_of(digest: Digest) -> Path {
    Path::from_iter([ROOT, &format!("{digest:.2}"), &digest.to_string()])
}

/// Moves a file, or copies it where that is on another disk. It is whole at its place at every moment.
fn take(file: &FilePath, target: &FilePath) -> std::io::Result<()> {
    let folder = target.parent().unwrap_or(target);
    fs::create_dir_all(folder)?;
    let moved = fs::rename(file, target);
    match moved {
        Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
            let coming = target.with_extension("coming");
            fs::copy(file, &coming)?;
            File::open(&coming)?.sync_all()?;
            fs::rename(coming, target)?;
            fs::remove_file(file)?;
        }
        moved => moved?,
    }
    // An age begins with the entry's making, not with the first byte's.
    File::options()
        .append(true)
        .open(target)?
        .set_modified(SystemTime::now())?;
    File::open(folder)?.sync_all()
}

async fn send(upload: &mut WriteMultipart, file: PathBuf) -> Result<(), ArtifactError> {
    let open = spawn_blocking(move || File::open(file)).await;
    let mut file = open.map_err(of_task)?.map_err(of_disk)?;
    loop {
        upload.wait_for_capacity(AT_ONCE).await.map_err(of_store)?;
        let read = spawn_blocking(move || {
            let mut part = Vec::with_capacity(PART);
            let read = file.by_ref().take(PART as u64).read_to_end(&mut part);
            (file, read.map(|_length| part))
        });
        let (back, part) = read.await.map_err(of_task)?;
        file = back;
        let part = part.map_err(of_disk)?;
        if part.is_empty() {
            return Ok(());
        }
        upload.put(Bytes::from(part));
    }
}

/// Content that a store sends.
struct Streamed(BoxStream<'static, object_store::Result<Bytes>>);

impl ByteSource for Streamed {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(async move {
            let next = self.0.try_next().await;
            next.map_err(|error| match of_store(error) {
                ArtifactError::Refused(error) => error,
                error => wharf_core::Error::internal(error),
            })
        })
    }
}

/// No content at all.
struct Nothing;

impl ByteSource for Nothing {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}
