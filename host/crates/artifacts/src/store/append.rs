//! Takes parts of uploads in.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};

use bytes::{Bytes, BytesMut};
use tokio::task::spawn_blocking;
use wharf_core::{Appended, ArtifactError, ByteSource, Error, ErrorKind, Name, Upload};

use super::{Answer, Artifacts, Inner};
use crate::fault::{no_upload, of_disk, of_task};
use crate::locks::Held;

/// What is gathered of a client's pieces before it is written.
const CHUNK: usize = 1 << 20;

impl Artifacts {
    pub(super) async fn append_part(
        &self,
        upload: &Upload,
        offset: u64,
        content: &mut dyn ByteSource,
    ) -> Answer<Appended> {
        let _busy = self.occupy(&upload.id)?;
        // Another part may have come since the caller looked.
        let mut upload = self.find(&upload.of.place.model, &upload.id).await?;
        if upload.offset != offset {
            let offset = upload.offset;
            return Err(ArtifactError::Offset { offset });
        }
        let path = self.0.spool.content(&upload.id);
        let open = spawn_blocking(move || OpenOptions::new().append(true).open(path)).await;
        let file = open.map_err(of_task)?.map_err(|error| match error.kind() {
            // It was given up just now.
            io::ErrorKind::NotFound => no_upload(),
            _ => of_disk(error),
        })?;
        let mut part = Part {
            store: self,
            id: &upload.id,
            file: Some(file),
            left: upload.of.size.saturating_sub(offset),
        };
        let taken = part.take(content).await;
        // Also of a part that broke off: what came of it counts, and is not sent again.
        part.sync().await?;
        taken?;
        let left = part.left;
        upload.offset = upload.of.size - left;
        if left > 0 {
            return Ok(Appended::Partial(upload));
        }
        self.finish(&upload).await
    }

    pub(super) async fn give_up(&self, upload: &Upload) -> Answer<()> {
        let _busy = self.occupy(&upload.id)?;
        self.forget(&upload.id).await
    }

    /// Keeps other requests from working on an upload.
    fn occupy(&self, id: &Name) -> Answer<Held> {
        self.0.busy.try_lock(id.clone()).ok_or_else(|| {
            let message = "another request is sending a part of this upload; ask for its offset when that ended";
            Error::new(ErrorKind::Conflict, message).with_field("upload").into()
        })
    }
}

/// A part that is being taken in.
struct Part<'a> {
    store: &'a Artifacts,
    id: &'a Name,
    /// Lent to a blocking thread for each write.
    file: Option<File>,
    /// What is still missing of the whole.
    left: u64,
}

impl Part<'_> {
    async fn take(&mut self, content: &mut dyn ByteSource) -> Answer<()> {
        let mut gathered = BytesMut::new();
        loop {
            let next = content.next().await;
            let ended = !matches!(next, Ok(Some(_)));
            if let Ok(Some(piece)) = &next {
                if (gathered.len() + piece.len()) as u64 > self.left {
                    let message = "more came than the upload was said to have; ask it for its offset, and send what is missing";
                    return Err(Error::invalid("body", message).into());
                }
                gathered.extend_from_slice(piece);
            }
            if gathered.len() >= CHUNK || (ended && !gathered.is_empty()) {
                self.write(gathered.split().freeze()).await?;
            }
            if ended {
                return next.map(drop).map_err(ArtifactError::Refused);
            }
        }
    }

    async fn write(&mut self, chunk: Bytes) -> Answer<()> {
        let (store, id) = (self.store.clone(), self.id.clone());
        let length = chunk.len() as u64;
        self.with_file(move |file| {
            let Inner { spool, room, .. } = &*store.0;
            if !spool.has(&id).map_err(of_disk)? {
                return Err(no_upload());
            }
            room.check(spool.folder(), length)?;
            file.write_all(&chunk).map_err(of_disk)
        })
        .await?;
        self.left -= length;
        Ok(())
    }

    async fn sync(&mut self) -> Answer<()> {
        self.with_file(|file| file.sync_data().map_err(of_disk))
            .await
    }

    async fn with_file(
        &mut self,
        work: impl FnOnce(&mut File) -> Answer<()> + Send + 'static,
    ) -> Answer<()> {
        let lost = || of_disk(io::Error::other("the file of the upload is lost"));
        let mut file = self.file.take().ok_or_else(lost)?;
        let done = spawn_blocking(move || {
            let done = work(&mut file);
            (file, done)
        });
        let (file, done) = done.await.map_err(of_task)?;
        self.file = Some(file);
        done
    }
}
