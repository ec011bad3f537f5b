//! What the operating system reported since the last look, and how long to wait before the next one.
//!
//! A plugin, a route and an upstream are one file, so a file that was closed after writing, or renamed into its place, is whole: it is
//! looked at without waiting for the site to get quiet. A model is a folder whose files come one after the other, which no
//! report tells the end of; for it, and for whatever else changes, quiet is all there is to go by.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::EventKind;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::lifecycle::{LANDING, STAGING};
use crate::site::hidden;

/// The folders in which a file is all there is of a thing.
const ONE_FILE_EACH: [&str; 3] = ["plugins", "routes", "upstreams"];

/// The wait for what comes together with a whole file, such as a plugin's settings beside its component.
const TOGETHER: Duration = Duration::from_millis(5);

/// Files that are whole although they were written just now.
pub(crate) type Whole = HashSet<PathBuf>;

/// The changes since the last look.
pub(super) struct Changes {
    site: PathBuf,
    changed: Notify,
    since: Mutex<Since>,
}

#[derive(Default)]
struct Since {
    /// Files that were begun, and not closed yet.
    begun: HashSet<PathBuf>,
    /// Files that are whole, since when.
    whole: HashMap<PathBuf, Instant>,
    /// Whether anything changed since the last look, be it ahead of the others or not.
    any: bool,
    /// Whether a file came whole since the last look.
    arrived: bool,
    /// Whether anything changed that is not one file.
    others: bool,
}

impl Changes {
    pub(super) fn new(site: &Path) -> Self {
        Self {
            site: site.to_owned(),
            changed: Notify::new(),
            since: Mutex::default(),
        }
    }

    /// Takes a report.
    pub(super) fn note(&self, event: &notify::Result<notify::Event>) {
        if !matters(event, &self.site) {
            return;
        }
        let mut since = self.since.lock();
        since.any = true;
        match event {
            Ok(event) if !event.need_rescan() && !event.paths.is_empty() => {
                // A rename within a folder names both ends, the new one last.
                for (index, path) in event.paths.iter().enumerate() {
                    let is_last = index + 1 == event.paths.len();
                    since.note(event.kind, path, is_last, self.is_one_file(path));
                }
            }
            _ => since.others = true,
        }
        drop(since);
        self.changed.notify_one();
    }

    /// Waits for a change since the last look, be it ahead. One that came before this is not missed.
    pub(super) async fn changed(&self) {
        loop {
            self.changed.notified().await;
            if self.since.lock().any {
                return;
            }
        }
    }

    /// How long nothing more may change before the next look, of at most `debounce`.
    pub(super) fn patience(&self, debounce: Duration) -> Duration {
        let since = self.since.lock();
        if since.arrived && !since.others && since.begun.is_empty() {
            debounce.min(TOGETHER)
        } else {
            debounce
        }
    }

    /// Begins a look: gives what is whole of what was written within so long. What changes from now on is for the next.
    pub(super) fn take(&self, debounce: Duration) -> Whole {
        let mut since = self.since.lock();
        (since.any, since.arrived, since.others) = (false, false, false);
        since.young(debounce)
    }

    /// Begins a look as well, which counts only where [`Self::has_stayed`] says so after it.
    pub(super) fn look_ahead(&self, debounce: Duration) -> Whole {
        let mut since = self.since.lock();
        since.any = false;
        since.young(debounce)
    }

    /// Whether nothing changed since the look that began last.
    pub(super) fn has_stayed(&self) -> bool {
        let mut since = self.since.lock();
        if !since.any {
            (since.arrived, since.others) = (false, false);
        }
        !since.any
    }

    fn is_one_file(&self, path: &Path) -> bool {
        ONE_FILE_EACH
            .iter()
            .any(|folder| path.parent() == Some(&self.site.join(folder)))
    }
}

impl Since {
    /// Forgets what came whole longer ago, and gives the rest.
    fn young(&mut self, debounce: Duration) -> Whole {
        self.whole.retain(|_, at| at.elapsed() <= debounce);
        self.whole.keys().cloned().collect()
    }

    fn note(&mut self, kind: EventKind, path: &Path, is_last: bool, is_one_file: bool) {
        let begins = matches!(
            kind,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_) | ModifyKind::Any)
        );
        let ends = match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => true,
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => is_last,
            _ => false,
        };
        // Its owner or its mode: the content is what it was.
        let touches = matches!(kind, EventKind::Modify(ModifyKind::Metadata(_)));
        if !is_one_file {
            self.others = true;
        } else if hidden(path) {
            // An editor keeps such a file open for hours, and nothing is read from it.
        } else if begins {
            self.whole.remove(path);
            self.begun.insert(path.to_owned());
        } else if ends {
            self.begun.remove(path);
            self.whole.insert(path.to_owned(), Instant::now());
            self.arrived = true;
        } else if !touches {
            // It went, or something that has no name here happened to it.
            self.begun.remove(path);
            self.whole.remove(path);
        }
    }
}

/// What the server writes beside the parts of the site.
const OWN_FOLDERS: [&str; 3] = [STAGING, LANDING, ".artifacts"];

/// Whether an event may be a change. Our own looking is reported as well, as access, and so is our own staging; and a queue
/// that ran over is an error or an event of no kind, after which everything may have changed.
fn matters(event: &notify::Result<notify::Event>, site: &Path) -> bool {
    let Ok(event) = event else { return true };
    let staged = |path: &PathBuf| {
        path.strip_prefix(site)
            .is_ok_and(|path| OWN_FOLDERS.iter().any(|own| path.starts_with(own)))
    };
    if event.need_rescan() {
        return true;
    }
    if !event.paths.is_empty() && event.paths.iter().all(staged) {
        return false;
    }
    match event.kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        _ => true,
    }
}

#[cfg(test)]
mod tests;
