//! What clients ask to be changed in the site beside versions of models: done by the task of the site, like every load.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use wharf_core::{Error, Result};

use super::SiteTask;
use crate::lifecycle::{PartContent, SiteChange, SitePart, StagedPart, clear_artifacts};
use crate::site::Look;
use crate::state::State;

impl SiteTask {
    /// Checks a change, lands it, and brings it into force.
    pub(super) async fn change(&mut self, change: SiteChange) -> Result<()> {
        let (part, in_force) = (change.part.clone(), Arc::clone(&self.in_force));
        let removes = matches!(change.content, PartContent::Nothing);
        let landed = spawn_blocking(move || StagedPart::prepare(change, &in_force)?.land()).await;
        landed.map_err(Error::internal)??;
        if let (SitePart::Model(name), true) = (&part, removes) {
            // Explicit mode keeps what serves although its folder is gone.
            self.in_force.change(|state, effects| {
                state.models.unload(name, effects);
            });
            // What cannot be removed of these is no model's any more, and goes before the next model of the name comes.
            if let Err(error) = clear_artifacts(&self.in_force, name).await {
                tracing::warn!(%error, model = %name, "the artifacts of a deleted model cannot be removed");
            }
        }
        // Whatever is there is whole: this is what landed, and anything else was there before.
        let (_, unsettled) = self.pass(Look::Rescan(Duration::ZERO)).await;
        self.unsettled |= unsettled && self.watch;
        let path = part.path();
        let errors = self.in_force.read(State::errors);
        match errors
            .into_iter()
            .find(|error| error.file == path && !removes)
        {
            // It was checked a moment ago: something else changed meanwhile.
            Some(error) => Err(super::unprocessable(error)),
            None => Ok(()),
        }
    }
}
