//! How every version of every model is.

use wharf_core::{Name, Tenants};

use crate::serving::Serving;
use crate::snapshot::Asked;

/// A version of a model or a route, and how it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The name of the model, or of a route that has one of its own.
    pub name: Name,
    /// The version; none where no version is known.
    pub version: Option<u64>,
    /// How it is.
    pub state: ModelState,
    /// Why it is so, for the operator; empty where there is nothing to say. It names files of the site, and never a path.
    pub reason: String,
    /// Whose it is.
    pub tenants: Tenants,
}

/// How a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModelState {
    /// It takes requests.
    Ready,
    /// It takes none, and nothing is being done about it.
    Unavailable,
    /// It is being loaded.
    Loading,
    /// It has no version yet.
    Registered,
    /// It takes none any more, and requests that began before still run.
    Unloading,
}

impl Serving {
    /// Every version of every model, and every route with a file, sorted by name and version.
    #[must_use]
    pub fn index(&self) -> Vec<IndexEntry> {
        self.in_force().index()
    }

    /// Why what the site has under a name does not serve, although it is to: it is being loaded, or could not be. For clients;
    /// none where there is nothing of the name, or not for the tenant that asks.
    #[must_use]
    pub fn absence<'a>(&self, asked: impl Into<Asked<'a>>) -> Option<String> {
        self.in_force().absence(asked.into())
    }
}
