//! The store: what its parts do together.

mod append;
mod begin;
mod enter;
mod fetch;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::path::Path as ObjectPath;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use wharf_core::{
    Appended, Artifact, ArtifactError, ArtifactPlace, ArtifactStore, BoxFuture, ByteSource, Digest,
    Name, NewUpload, Precondition, Upload,
};

use crate::blobs::Blobs;
use crate::config::{Config, OpenError, Place};
use crate::entries;
use crate::fault::{no_upload, of_disk, of_store, of_task};
use crate::locks::Locks;
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
    /// Held while it is found out whether one more upload has room.
    beginning: Mutex<()>,
    /// The uploads that a part is being stored of.
    busy: Locks<Name>,
    /// The models whose artifacts and uploads are being changed.
    models: Locks<Name>,
    /// The contents that an upload stores, until an artifact has them.
    contents: Locks<Digest>,
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
            beginning: Mutex::default(),
            busy: Locks::default(),
            models: Locks::default(),
            contents: Locks::default(),
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
            let is_busy = |id: &Name| store.0.busy.try_lock(id.clone()).is_none();
            store.0.spool.sweep(is_busy)
        });
        spool.await.map_err(of_task)?.map_err(of_disk)?;
        let old = self.0.blobs.older(grace).await?;
        self.remove_unused(old).await
    }

    /// Removes those of these contents that no artifact has. They were listed before the entries are: what was entered between has an
    /// entry, and what is stored meanwhile is held or has a new time.
    async fn remove_unused(&self, contents: Vec<(Digest, SystemTime)>) -> Answer<()> {
        let used = self.entries(&ObjectPath::from(entries::ROOT)).await?;
        let used: HashSet<Digest> = used.into_iter().map(|artifact| artifact.digest).collect();
        for (digest, stored_at) in contents {
            if used.contains(&digest) {
                continue;
            }
            if let Some(_held) = self.0.contents.try_lock(digest) {
                self.0.blobs.remove(digest, stored_at).await?;
            }
        }
        Ok(())
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

    async fn find(&self, model: &Name, id: &Name) -> Answer<Upload> {
        let (spool, wanted) = (self.0.spool.clone(), id.clone());
        let found = spawn_blocking(move || spool.find(&wanted)).await;
        let found = found.map_err(of_task)?.map_err(of_disk)?;
        found
            .filter(|upload| upload.of.place.model == *model)
            .ok_or_else(no_upload)
    }

    async fn under_way(&self, model: &Name) -> Answer<Vec<Upload>> {
        let spool = self.0.spool.clone();
        let found = spawn_blocking(move || spool.all()).await;
        let mut found = found.map_err(of_task)?.map_err(of_disk)?;
        found.retain(|upload| upload.of.place.model == *model);
        found.sort_by(|a, b| (&a.of.place, &a.id).cmp(&(&b.of.place, &b.id)));
        Ok(found)
    }
}

impl ArtifactStore for Artifacts {
    fn begin(&self, upload: NewUpload) -> BoxFuture<'_, Answer<Upload>> {
        Box::pin(self.start(upload))
    }

    fn uploads<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<Vec<Upload>>> {
        Box::pin(self.under_way(model))
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

    fn remove<'a>(
        &'a self,
        place: &'a ArtifactPlace,
        only_if: Precondition,
    ) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.take_out(place, only_if))
    }

    fn clear<'a>(&'a self, model: &'a Name) -> BoxFuture<'a, Answer<()>> {
        Box::pin(self.take_out_all(model))
    }
}

#[cfg(test)]
mod tests;
