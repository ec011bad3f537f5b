//! How much room there is.

use std::io;
use std::path::Path;
use std::sync::Arc;

use wharf_core::ArtifactError;

use crate::fault::{no_room_on_disk, of_disk};

/// Says how many bytes of a disk are free, by a folder on it.
type Free = dyn Fn(&Path) -> io::Result<u64> + Send + Sync;

/// What must stay free of the disk.
#[derive(Clone)]
pub(crate) struct Room {
    free: Arc<Free>,
    keep: u64,
}

impl Room {
    pub(crate) fn new(keep: u64) -> Self {
        Self::with(keep, Arc::new(free))
    }

    pub(crate) fn with(keep: u64, free: Arc<Free>) -> Self {
        Self { free, keep }
    }

    /// Refuses what would fill the disk. Others write to it as well, so this is asked again while something is written.
    ///
    /// # Errors
    /// `NoRoom`.
    pub(crate) fn check(&self, folder: &Path, bytes: u64) -> Result<(), ArtifactError> {
        let free = (self.free)(folder).map_err(of_disk)?;
        match free.saturating_sub(self.keep) >= bytes {
            true => Ok(()),
            false => Err(no_room_on_disk().into()),
        }
    }
}

fn free(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
