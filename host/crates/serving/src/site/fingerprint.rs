//! What the file system says of files without reading them.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::site::Look;
use crate::watcher::Whole;

/// How deep a model folder is looked into, and how many entries of it. What lies beyond is the engine's to refuse.
const MAX_DEPTH: usize = 6;
const MAX_ENTRIES: usize = 20_000;

/// Two writes within this time may leave the same times, by the coarsest clocks of file systems (FAT: 2 s).
const COARSE_GRAIN: Duration = Duration::from_millis(2_500);

/// Paths with what identifies their present content.
pub(crate) struct Fingerprint {
    entries: Vec<(PathBuf, Identity)>,
    newest: Option<SystemTime>,
    taken: SystemTime,
}

#[derive(PartialEq, Eq)]
struct Identity {
    len: u64,
    modified: Option<SystemTime>,
    changed: (i64, i64),
    inode: (u64, u64),
}

impl Fingerprint {
    /// Looks at files and folders, following links; a path that is not there is left out.
    pub(crate) fn of(paths: &[PathBuf]) -> Self {
        let mut fingerprint = Self {
            entries: Vec::new(),
            newest: None,
            taken: SystemTime::now(),
        };
        for path in paths {
            fingerprint.add(path, MAX_DEPTH);
        }
        fingerprint
    }

    fn add(&mut self, path: &Path, depth: usize) {
        let Ok(metadata) = std::fs::metadata(path) else {
            return;
        };
        if self.entries.len() >= MAX_ENTRIES {
            return;
        }
        let identity = Identity::of(&metadata);
        // A copy may bring its time along; the time of the change is its own.
        self.newest = (self.newest)
            .max(identity.modified)
            .max(identity.changed_at());
        self.entries.push((path.to_owned(), identity));
        if !metadata.is_dir() || depth == 0 {
            return;
        }
        let Ok(entries) = std::fs::read_dir(path) else {
            return;
        };
        let mut children: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|child| !super::listing::hidden(child))
            .collect();
        children.sort_unstable();
        for child in children {
            self.add(&child, depth - 1);
        }
    }

    /// Whether another, later look proves that the content is the same. Equal times prove nothing where the first look
    /// came within the grain of the clock after the last write.
    pub(crate) fn proves_same(&self, later: &Self) -> bool {
        let has_fine_times = |(_, identity): &(PathBuf, Identity)| identity.has_fine_times();
        let grain = if self.entries.iter().all(has_fine_times) {
            fine_grain()
        } else {
            COARSE_GRAIN
        };
        let quiet = self.newest.is_none_or(|newest| {
            self.taken
                .duration_since(newest)
                .is_ok_and(|age| age > grain)
        });
        quiet && self.entries == later.entries
    }

    /// Whether another look saw the very same.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.entries == other.entries
    }

    /// Whether something was written so recently that it may not be whole, and is not known to be.
    pub(crate) fn unsettled(&self, look: Look, whole: &Whole) -> bool {
        let Look::AfterChange(quiet) = look else {
            return false;
        };
        self.entries
            .iter()
            .filter(|(path, _)| !whole.contains(path))
            .any(|(_, identity)| self.is_younger(identity.modified, quiet))
    }

    /// Whether something was put there so recently that more of it may come. A copy may bring the times of its files along,
    /// so that it counts as well when something was changed at all.
    pub(crate) fn touched(&self, look: Look) -> bool {
        let (Look::AfterChange(quiet) | Look::Rescan(quiet)) = look else {
            return false;
        };
        // Each by itself: one time in the future must not hide the others.
        self.entries.iter().any(|(_, identity)| {
            self.is_younger(identity.modified, quiet)
                || self.is_younger(identity.changed_at(), quiet)
        })
    }

    fn is_younger(&self, moment: Option<SystemTime>, quiet: Duration) -> bool {
        // A time in the future is a clock that differs, not a write that goes on.
        moment
            .and_then(|moment| self.taken.duration_since(moment).ok())
            .is_some_and(|age| age < quiet)
    }
}

/// How far the time of a file may be behind, where its file system keeps all digits: some steps of the clock from which Linux takes it,
/// which a busy virtual machine is late to take, and the time that a write needs after it.
#[cfg(target_os = "linux")]
fn fine_grain() -> Duration {
    let step = rustix::time::clock_getres(rustix::time::ClockId::RealtimeCoarse);
    let step = step.try_into().unwrap_or(COARSE_GRAIN);
    (step * 10).clamp(Duration::from_millis(100), COARSE_GRAIN)
}

#[cfg(not(target_os = "linux"))]
fn fine_grain() -> Duration {
    COARSE_GRAIN
}

impl Identity {
    /// Whether the time of the last change, which nobody can set, has digits below the milliseconds: the coarse clocks of file
    /// systems count in hundredths of a second and more.
    fn has_fine_times(&self) -> bool {
        let (_, nanos) = self.changed;
        nanos % 1_000_000 != 0
    }

    fn changed_at(&self) -> Option<SystemTime> {
        let (seconds, nanos) = self.changed;
        let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0)?;
        let since = Duration::new(seconds, u32::try_from(nanos).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since)
    }

    #[cfg(unix)]
    fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    #[cfg(not(unix))]
    fn of(metadata: &Metadata) -> Self {
        Self {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            changed: (0, 0),
            inode: (0, 0),
        }
    }
}
