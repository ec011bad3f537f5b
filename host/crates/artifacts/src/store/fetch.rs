//! Writes an artifact to a file of its own.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use tokio::task::spawn_blocking;
use wharf_core::{Artifact, ByteSource, Digest, Error};

use super::{Answer, Artifacts};
use crate::fault::{of_disk, of_task};

/// What is gathered before it is written.
const CHUNK: usize = 1 << 20;

impl Artifacts {
    pub(super) async fn fetch_to(&self, artifact: &Artifact, path: &Path) -> Answer<()> {
        let (store, size, place) = (self.clone(), artifact.size, path.to_owned());
        let open = spawn_blocking(move || -> Answer<(File, Unfinished)> {
            let folder = place.parent().unwrap_or(&place);
            std::fs::create_dir_all(folder).map_err(of_disk)?;
            store.0.room.check(folder, size)?;
            let unfinished = Unfinished(Some(place.clone()));
            Ok((File::create_new(&place).map_err(of_disk)?, unfinished))
        });
        let (file, mut unfinished) = open.await.map_err(of_task)??;
        let mut content = self.0.blobs.read(artifact.digest, 0..artifact.size).await?;
        let digest = copy(&mut *content, file).await?;
        if digest != artifact.digest {
            return Err(
                Error::internal("the store gives another content than it was given").into(),
            );
        }
        unfinished.0 = None;
        Ok(())
    }
}

/// Copies a content into a file, and says what it is.
async fn copy(content: &mut dyn ByteSource, mut file: File) -> Answer<Digest> {
    let mut hash = Sha256::new();
    let mut gathered = BytesMut::new();
    loop {
        let next = content.next().await?;
        let ended = next.is_none();
        gathered.extend(next);
        if gathered.len() < CHUNK && !ended {
            continue;
        }
        let chunk = gathered.split().freeze();
        let written = spawn_blocking(move || {
            hash.update(&chunk);
            let written = file.write_all(&chunk);
            let written = written.and_then(|()| if ended { file.sync_all() } else { Ok(()) });
            (file, hash, written)
        });
        let (back, so_far, written) = written.await.map_err(of_task)?;
        (file, hash) = (back, so_far);
        written.map_err(of_disk)?;
        if ended {
            return Ok(Digest::new(hash.finalize().into()));
        }
    }
}

/// A file that goes unless it is finished.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _none = std::fs::remove_file(path);
        }
    }
}
