//! What clients may do with models while they serve: load, unload, and look at them.

mod author;
mod change;
mod edit;
mod precondition;

mod commit;
mod landing;
mod parts;
mod staging;

mod index;
mod statistics;

use tokio::time::timeout;
use wharf_core::{Error, ErrorKind, Name, Result};

use crate::serving::Serving;
use crate::watcher::Ask;

pub use author::Author;
pub use change::{FileContent, ModelChange, ModelCheck, ModelFile, SettingEdit, SettingValue};
pub use index::{IndexEntry, ModelState};
pub use landing::{Progress, Promotion};
pub use parts::{PartContent, SiteChange, SitePart};
pub use precondition::{IF_MATCH, IF_NONE_MATCH, Precondition};
pub use statistics::{BatchStatistics, ModelStatistics, Tally};

pub(crate) use commit::{Busy, STAGING, lock, recover};
pub(crate) use edit::value_of;
pub(crate) use landing::{LANDING, clear_artifacts};
pub(crate) use parts::StagedPart;
pub(crate) use precondition::digest_of;
pub(crate) use staging::Staged;

/// What is said of a model that the site does not have, or that is another tenant's.
#[must_use]
pub fn no_such_model(name: &Name) -> Error {
    let message = format!(
        "the site has no model {name}; the repository index lists those it has, and a load with files brings another"
    );
    Error::new(ErrorKind::NotFound, message).with_field("model")
}

impl Serving {
    /// Loads a model of the site, and says when it is in force; where it is, loads it anew if its content changed. What is
    /// to change is tried before it lands in the site: where it cannot be loaded, or is not what the client says, nothing
    /// has changed.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model, and no files are given, or it is another tenant's; `InvalidArgument` with the parameter as the
    /// field where files or settings are wrong, a setting as `config.KEY`, or of a whole document as `settings.KEY`;
    /// `Conflict` where what must be so is not; `PermissionDenied` where the model is not the author's to change; what the check says; `Unprocessable` where the model cannot be loaded; `Unavailable` where the
    /// server is still loading or ends, or the site cannot be written.
    pub async fn load_model(&self, name: &Name, change: ModelChange) -> Result<()> {
        change.validate()?;
        self.ask(|answer| Ask::Load(name.clone(), change, answer))
            .await
    }

    /// Takes a model out of force until it is loaded again or the process starts anew. A load of it that is under way is ended. Requests that began before end as
    /// they would have; this waits until they have, and the model's memory is given back, up to the drain timeout.
    ///
    /// # Errors
    /// `NotFound` where the site has no such model, or it is another tenant's; `PermissionDenied` where it is not the author's to take out;
    /// `Unavailable` as with a load.
    pub async fn unload_model(&self, name: &Name, by: Author) -> Result<()> {
        self.in_force().cancel_loads(name, &by);
        self.ask(|answer| Ask::Unload(name.clone(), by, answer))
            .await?;
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
