//! Changes what a model has, one at a time: enters the artifact of an upload that is whole, and takes artifacts and uploads out.

use futures_util::TryStreamExt as _;
use object_store::path::Path as ObjectPath;
use object_store::{ObjectStoreExt as _, PutPayload};
use tokio::task::spawn_blocking;
use wharf_core::{
    Appended, Artifact, ArtifactError, ArtifactPlace, Error, ErrorKind, Name, Precondition, Upload,
};

use super::{Answer, Artifacts};
use crate::entries;
use crate::fault::{no_upload, of_disk, of_store, of_task};
use crate::spool::digest;

impl Artifacts {
    /// Makes an artifact of an upload that is whole.
    pub(super) async fn finish(&self, upload: &Upload) -> Answer<Appended> {
        let error = match self.store(upload).await {
            Ok(artifact) => return Ok(Appended::Whole(artifact)),
            Err(error) => error,
        };
        // Where it was given up meanwhile, that is why, whatever it made fail.
        self.find(&upload.of.place.model, &upload.id).await?;
        let is_final = match &error {
            ArtifactError::PreconditionFailed(_) | ArtifactError::PreconditionRequired => true,
            ArtifactError::Refused(error) => error.kind() == ErrorKind::Unprocessable,
            ArtifactError::Offset { .. } => false,
        };
        if is_final {
            self.forget(&upload.id).await?;
        }
        Err(error)
    }

    async fn store(&self, upload: &Upload) -> Answer<Artifact> {
        let path = self.0.spool.content(&upload.id);
        let content = path.clone();
        let found = spawn_blocking(move || digest(&content)).await;
        let found = found.map_err(of_task)?.map_err(of_disk)?;
        if found != upload.of.digest {
            let message = format!(
                "what came has the SHA-256 {found}, and not the one that was said; the upload is given up, begin it again"
            );
            return Err(Error::new(ErrorKind::Unprocessable, message)
                .with_field("digest")
                .into());
        }
        // Until it is entered, no sweep takes the content.
        let held = self.0.contents.lock(found).await;
        self.0.blobs.put(found, path).await?;
        let (store, upload) = (self.clone(), upload.clone());
        // What has begun ends, also where the client leaves.
        let entering = tokio::spawn(async move {
            let _held = held;
            store.enter(&upload).await
        });
        entering.await.map_err(of_task)?
    }

    /// Says that an artifact has a content, in the place of what it had, and that the upload is finished.
    async fn enter(&self, upload: &Upload) -> Answer<Artifact> {
        let of = &upload.of;
        let _held = self.0.models.lock(of.place.model.clone()).await;
        let (spool, id) = (self.0.spool.clone(), upload.id.clone());
        let is_there = spawn_blocking(move || spool.has(&id)).await;
        if !is_there.map_err(of_task)?.map_err(of_disk)? {
            return Err(no_upload());
        }
        of.check(self.there(&of.place).await?.as_ref())?;
        let entry = entries::of(of);
        let put = self.objects().put(&entry, PutPayload::default()).await;
        put.map_err(of_store)?;
        self.delete(&entries::of_place(&of.place), Some(&entry))
            .await?;
        let stored = self.objects().head(&entry).await.map_err(of_store)?;
        self.forget(&upload.id).await?;
        entries::parse(&stored)
            .ok_or_else(|| Error::internal("an entry does not read as it was written").into())
    }

    pub(super) async fn take_out(
        &self,
        place: &ArtifactPlace,
        only_if: Precondition,
    ) -> Answer<()> {
        let _held = self.0.models.lock(place.model.clone()).await;
        let there = self.there(place).await?.map(|artifact| artifact.digest);
        only_if
            .check(there)
            .map_err(ArtifactError::PreconditionFailed)?;
        self.delete(&entries::of_place(place), None).await
    }

    pub(super) async fn take_out_all(&self, model: &Name) -> Answer<()> {
        let _held = self.0.models.lock(model.clone()).await;
        let (spool, name) = (self.0.spool.clone(), model.clone());
        let cleared = spawn_blocking(move || spool.clear(&name)).await;
        cleared.map_err(of_task)?.map_err(of_disk)?;
        self.delete(&entries::of_model(model), None).await
    }

    /// What is in a place.
    pub(super) async fn there(&self, place: &ArtifactPlace) -> Answer<Option<Artifact>> {
        Ok(self.entries(&entries::of_place(place)).await?.pop())
    }

    pub(super) async fn forget(&self, id: &Name) -> Answer<()> {
        let (spool, id) = (self.0.spool.clone(), id.clone());
        let removed = spawn_blocking(move || spool.remove(&id)).await;
        removed.map_err(of_task)?.map_err(of_disk)
    }

    /// Removes the entries in a folder, but for one.
    async fn delete(&self, folder: &ObjectPath, but: Option<&ObjectPath>) -> Answer<()> {
        let mut listed = self.objects().list(Some(folder));
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
}
