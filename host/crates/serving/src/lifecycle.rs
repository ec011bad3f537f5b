//! What clients may do with models while they serve: load, unload, and look at them.

mod change;
mod edit;

mod commit;
mod staging;

mod index;
mod statistics;

use tokio::time::timeout;
use wharf_core::{Name, Result};

use crate::serving::Serving;
use crate::watcher::Ask;

pub use change::{ModelChange, ModelCheck, ModelFile, SettingEdit, SettingValue};
pub use index::{IndexEntry, ModelState};
pub use statistics::{BatchStatistics, ModelStatistics, Tally};

pub(crate) use commit::{Busy, lock, recover};
pub(crate) use staging::{STAGING, Staged};

impl Serving {
    /// Loads a model of the site, and says when it is in force; where it is, loads it anew if its content changed. What is
    /// to change is tried before it lands in the site: where it cannot be loaded, or is not what the client says, nothing
    /// has changed.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model, and no files are given; `InvalidArgument` with the parameter as the
    /// field where files or settings are wrong, a setting as `config.KEY`; what the check says; `Unprocessable` where the model cannot be loaded; `Unavailable` where the
    /// server is still loading or ends, or the site cannot be written.
    pub async fn load_model(&self, name: &Name, change: ModelChange) -> Result<()> {
        change.validate()?;
        self.ask(|answer| Ask::Load(name.clone(), change, answer))
            .await
    }

    /// Takes a model out of force until it is loaded again or the process starts anew. Requests that began before end as
    /// they would have; this waits until they have, and the model's memory is given back, up to the drain timeout.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model; `Unavailable` as with a load.
    pub async fn unload_model(&self, name: &Name) -> Result<()> {
        self.ask(|answer| Ask::Unload(name.clone(), answer)).await?;
        let in_force = self.in_force();
        let patience = in_force.config.load().drain_timeout();
        if timeout(patience, in_force.reaper.freed(name))
            .await
            .is_err()
        {
            tracing::warn!(model = %name, "unloaded, but requests still use the model");
        }
        Ok(())
    }
}
