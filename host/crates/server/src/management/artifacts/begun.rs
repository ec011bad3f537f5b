//! Uploads that a request has begun, and that nobody else knows of yet.

use std::ops::Deref;
use std::sync::Arc;

use wharf_core::{Action, ArtifactStore, NewUpload, Upload};

use super::{refused, store};
use crate::app::App;
use crate::call::Call;
use crate::problem::Problem;

/// An upload. It is given up where its request ends, or its client leaves, before it is kept.
pub(super) struct Begun {
    app: Arc<App>,
    store: Arc<dyn ArtifactStore>,
    upload: Upload,
    kept: bool,
}

impl Begun {
    pub(super) async fn begin(call: &Call, new: NewUpload) -> Result<Self, Problem> {
        let store = Arc::clone(store(call)?);
        let upload = store.begin(new).await.map_err(refused)?;
        let begun = Self {
            app: Arc::clone(&call.app),
            store,
            upload,
            kept: false,
        };
        // A model that goes takes its uploads along. It may have gone, or become another's, just before this one was there.
        let model = &begun.of.place.model;
        call.model_for(Action::WriteModels, model).await?;
        Ok(begun)
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Deref for Begun {
    type Target = Upload;

    fn deref(&self) -> &Upload {
        &self.upload
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (store, upload) = (Arc::clone(&self.store), self.upload.clone());
        let _goes_on = self.app.operations.run(async move {
            if let Err(error) = store.abandon(&upload).await {
                tracing::debug!(%error, "an upload that broke off is left until it expires");
            }
        });
    }
}
