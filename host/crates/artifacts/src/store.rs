//! The store: what its parts do together.

mod append;
mod fetch;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, PutPayload};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use wharf_core::{
    Appended, Artifact, ArtifactError, ArtifactPlace, ArtifactStore, BoxFuture, ByteSource, Digest,
    Error, ErrorKind, Name, NewUpload, Upload,
};

use crate::blobs::Blobs;
use crate::config::{Config, OpenError, Place};
use crate::entries;
use crate::fault::{of_disk, of_store, of_task};
use crate::room::Room;
use crate::spool::Spool;

/// How often what nobody needs is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(600);
/// A content that nobody has is kept so long: an upload of the same may be about to say that it has it.
const GRACE: Duration = Duration::from_secs(3600);

type Answer<T> = Result<T, ArtifactError>;

/// A store of artifacts. Cloning it is cheap, and every clone is the same.
#[derive(Clone)]
pub struct Artifacts(Arc<Inner>);

struct Inner {
    blobs: Blobs,
    spool: Spool,
    room: Room,
    config: Config,
    /// The uploads that a part is being stored of.
    busy: Mutex<HashSet<Name>>,
}

impl Artifacts {
    /// Opens the store that the settings name. Blocks.
    ///
    /// # Errors
    /// Where a setting is wrong, or the site has no room for uploads.
    pub fn open(config: Config, site: &Path) -> Result<Self, OpenError> {
        let place = config.place(site)?;
        let room = Room::new(config.min_free_bytes);
        Ok(Self::with(config, place, room))
    }

    fn with(config: Config, place: Place, room: Room) -> Self {
        Self(Arc::new(Inner {
            blobs: Blobs {
                objects: place.objects,
                folder: place.folder,
            },
            spool: Spool::new(place.spool, config.upload_idle()),
            room,
            config,
            busy: Mutex::default(),
        }))
    }

    /// Removes what nobody needs from time to time, until it is stopped: uploads that nobody goes on with, and contents that no artifact
    /// has any more.
    pub async fn tend(&self, stop: impl Future<Output = ()>) {
        let tending = async {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                if let Err(error) = self.sweep(GRACE).await {
                    tracing::warn!(%error, "what nobody needs of the artifacts cannot be removed");
                }
            }
        };
        tokio::select! {
            () = stop => {}
            () = tending => {}
        }
    }

    async fn sweep(&self, grace: Duration) -> Answer<()> {
        let store = self.clone();
        let spool = spawn_blocking(move || {
            let is_busy = |id: &Name| store.0.busy.lock().contains(id);
            store.0.spool.sweep(is_busy)
        });
        spool.await.map_err(of_task)?.map_err(of_disk)?;
        let used = self.entries(&ObjectPath::from(entries::ROOT)).await?;
        let used = used.into_iter().map(|artifact| artifact.digest).collect();
        self.0.blobs.sweep(&used, grace).await
    }

    fn objects(&self) -> &dyn ObjectStore {
        &*self.0.blobs.objects
    }

    /// What the entries in a folder say. Where a crash left two of one file, the newer one counts.
    async fn entries(&self, folder: &ObjectPath) -> Answer<Vec<Artifact>> {
        let mut newest = HashMap::<ArtifactPlace, Artifact>::new();
        let mut listed = self.objects().list(Some(folder));
        while let Some(entry) = listed.try_next().await.map_err(of_store)? {
            let Some(artifact) = entries::parse(&entry) else {
                continue;
            };
            match newest.get(&artifact.place) {
                Some(other) if other.stored_at > artifact.stored_at => {}
                _ => {
                    newest.insert(artifact.place.clone(), artifact);
                }
            }
        }
        let mut found: Vec<Artifact> = newest.into_values().collect();
        found.sort_by(|a, b| a.place.cmp(&b.place));
        Ok(found)
    }

    /// Says that an artifact has a content, in the place of what it had.
    async fn enter(&self, of: &NewUpload) -> Answer<Artifact> {
        let entry = entries::of(of);
        let put = self.objects().put(&entry, PutPayload::default()).await;
        put.map_err(of_store)?;
        self.clear(&of.place, Some(&entry)).await?;
        let stored = self.objects().head(&entry).await.map_err(of_store)?;
        entries::parse(&stored)
            .ok_or_else(|| Error::internal("an entry does not read as it was written").into())
    }

    /// Removes the entries of a file, but for one.
    async fn clear(&self, place: &ArtifactPlace, but: Option<&ObjectPath>) -> Answer<()> {
        let mut listed = self.objects().list(Some(&entries::of_place(place)));
        while let Some(entry) = listed.try_next().await.map_err(of_store)? {
            if Some(&entry.location) != but {
                self.objects()
                    .delete(&entry.location)
                    .await
                    .map_err(of_store)?;
            }
        }
        Ok(())
    }

    async fn start(&self, upload: NewUpload) -> Answer<Upload> {
        let config = &self.0.config;
        if upload.size > config.max_bytes {
            let message = format!(
                "the artifact is larger than the {} bytes that artifacts.max_bytes allows",
                config.max_bytes
            );
            return Err(Error::new(ErrorKind::TooLarge, message)
                .with_field("size")
                .into());
        }
        let spool = self.0.spool.clone();
        let under_way = spawn_blocking(move || spool.all()).await;
        let under_way = under_way.map_err(of_task)?.map_err(of_disk)?;
        if under_way.len() >= config.max_uploads {
            let message =
                "too many uploads are under way; finish or delete some, or try again later";
            return Err(Error::new(ErrorKind::Unavailable, message).into());
        }
        // A content that several artifacts have counts once, also while it comes again.
        let stored = self.entries(&ObjectPath::from(entries::ROOT)).await?;
        let mut contents: HashMap<Digest, u64> =
            stored.iter().map(|one| (one.digest, one.size)).collect();
        let coming = under_way.iter().map(|upload| &upload.of);
        contents.extend(coming.chain([&upload]).map(|one| (one.digest, one.size)));
        let taken = contents.values().copied().fold(0, u64::saturating_add);
        if taken > config.max_total_bytes {
            let message = format!(
                "all artifacts together would take more than the {} bytes that artifacts.max_total_bytes allows; delete some",
                config.max_total_bytes
            );
            return Err(ArtifactError::NoRoom(message));
        }
        let store = self.clone();
        let begun = spawn_blocking(move || {
            let Inner { spool, room, .. } = &*store.0;
            // What is announced and has not come yet is not on the disk, and will be.
            let coming = under_way
                .iter()
                .map(|one| one.of.size.saturating_sub(one.offset));
            std::fs::create_dir_all(spool.folder()).map_err(of_disk)?;
            let needed = coming.fold(upload.size, u64::saturating_add);
            room.check(spool.folder(), needed)?;
            spool.begin(upload).map_err(of_disk)
        });
        begun.await.map_err(of_task)?
    }

    async fn find(&self, model: &Name, id: &Name) -> Answer<Upload> {
        let (spool, wanted) = (self.0.spool.clone(), id.clone());
        let found = spawn_blocking(move || spool.find(&wanted)).await;
        let found = found.map_err(of_task)?.map_err(of_disk)?;
        found.filter(|upload| upload.of.place.model == *model).ok_or_else(|| {
            let message = "there is no such upload of this model: it is finished, was given up, or never was";
            Error::new(ErrorKind::NotFound, message).with_field("upload").into()
        })
    }
}

impl ArtifactStore for Artifacts {
    fn begin(&self, upload: NewUpload) -> BoxFuture<'_, Answer<Upload>> {
        Box::pin(self.start(upload))
    }

    fn upload<'a>(&'a self, model: &'a Name, id: &'a Name) -> BoxFuture<'a, Answer<Upload>> {
        Box::pin(self.find(model, id))
    }

    fn append<'a>(
        &'a self,
        upload: &'a Upload,
        offset: u64,
        content: &'a mut dyn ByteSource,
    ) -> BoxFuture<'a, Answer<Appended>> {
        Box::pin(self.append_part(upload, offset, content))
    }

    fn abandon<'a>(&'a self, upload: &'a Upload) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.give_up(upload))
    }

    fn list<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<Vec<Artifact>>> {
        Box::pin(async move { self.entries(&entries::of_model(model)).await })
    }

    fn read<'a>(
        &'a self,
        artifact: &'a Artifact,
        range: Range<u64>,
    ) -> BoxFuture<'a, Answer<Box<dyn ByteSource>>> {
        Box::pin(self.0.blobs.read(artifact.digest, range))
    }

    fn fetch<'a>(&'a self, artifact: &'a Artifact, file: &'a Path) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.fetch_to(artifact, file))
    }

    fn remove<'a>(&'a self, place: &'a ArtifactPlace) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.clear(place, None))
    }
}

#[cfg(test)]
mod tests;
