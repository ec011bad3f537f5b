//! What happened to a site: a bounded list of events, and the present errors of its files.

use std::collections::{BTreeMap, VecDeque};
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use wharf_core::LoadError;

use crate::metrics::Metrics;

/// The most events that are kept; older ones are in the log.
const KEPT: usize = 256;

/// Something that happened to a site.
#[derive(Clone, Debug)]
pub struct Event {
    /// When.
    pub at: SystemTime,
    /// What.
    pub kind: EventKind,
    /// To which file or folder, relative to the site, with `/` between its parts.
    pub file: String,
    /// The details.
    pub message: String,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// It is in force now.
    Loaded,
    /// It is not in force any more.
    Removed,
    /// It cannot be served; what was in force stays.
    Refused,
    /// It kept failing, and the release before it is in force again.
    RolledBack,
    /// Most of its calls failed, and it is not called for a while.
    Paused,
    /// It is called again.
    Resumed,
    /// It gets a share of the traffic, beside the one in force.
    Tried,
    /// It took the place of the one in force.
    Promoted,
}

impl EventKind {
    /// The name for metrics and for the admin API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Removed => "removed",
            Self::Refused => "refused",
            Self::RolledBack => "rolled-back",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Tried => "tried",
            Self::Promoted => "promoted",
        }
    }
}

/// Why a file is not in force as it stands.
#[derive(Clone, Debug)]
pub struct FileError {
    /// The file, relative to the site.
    pub file: String,
    /// The setting in it.
    pub key: Option<String>,
    /// What is wrong, and how to mend it.
    pub message: String,
    /// Since when.
    pub since: SystemTime,
}

/// Keeps events and present errors, and tells the log and the metrics of each.
#[derive(Default)]
pub(crate) struct Journal {
    metrics: Arc<Metrics>,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    ring: VecDeque<Event>,
    errors: BTreeMap<(String, Option<String>, String), FileError>,
}

impl Journal {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        Self {
            metrics,
            entries: Mutex::default(),
        }
    }

    /// Notes an event other than a refusal.
    pub(crate) fn note(&self, kind: EventKind, file: String, message: String) {
        match kind {
            EventKind::RolledBack => {
                tracing::error!(file, reason = message, "{} rolled back", kind_of(&file));
            }
            EventKind::Paused => tracing::error!(file, reason = message, "plugin paused"),
            _ => tracing::info!(file, detail = message, "site: {}", kind.name()),
        }
        // A pause is no change of the site, and has metrics of its own.
        if !matches!(kind, EventKind::Paused | EventKind::Resumed) {
            self.metrics.reload(kind_of(&file), kind);
        }
        self.entries.lock().push(Event {
            at: SystemTime::now(),
            kind,
            file,
            message,
        });
    }

    /// Takes the errors that are there now. Each that was not there before, or says something new, is an event.
    pub(crate) fn set_errors(&self, errors: &[Arc<LoadError>]) {
        let now = SystemTime::now();
        let mut entries = self.entries.lock();
        let mut before = std::mem::take(&mut entries.errors);
        for error in errors {
            let key = (error.file.clone(), error.key.clone(), error.message.clone());
            let entry = before.remove(&key).unwrap_or_else(|| {
                self.refused(&mut entries, error, now);
                FileError {
                    file: error.file.clone(),
                    key: error.key.clone(),
                    message: error.message.clone(),
                    since: now,
                }
            });
            entries.errors.insert(key, entry);
        }
    }

    fn refused(&self, entries: &mut Entries, error: &LoadError, now: SystemTime) {
        tracing::error!(
            file = error.file,
            key = error.key,
            reason = error.message,
            cause = causes(error),
            "site: refused, the old state serves on"
        );
        self.metrics
            .reload(kind_of(&error.file), EventKind::Refused);
        let message = match &error.key {
            Some(key) => format!("{key}: {}", error.message),
            None => error.message.clone(),
        };
        entries.push(Event {
            at: now,
            kind: EventKind::Refused,
            file: error.file.clone(),
            message,
        });
    }

    /// The events, oldest first.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.entries.lock().ring.iter().cloned().collect()
    }

    /// The present errors, sorted by file.
    pub(crate) fn errors(&self) -> Vec<FileError> {
        self.entries.lock().errors.values().cloned().collect()
    }
}

impl Entries {
    fn push(&mut self, event: Event) {
        if self.ring.len() == KEPT {
            self.ring.pop_front();
        }
        self.ring.push_back(event);
    }
}

/// The kind of thing that a file of the site belongs to.
fn kind_of(file: &str) -> &'static str {
    match file.split('/').next() {
        Some("plugins") => "plugin",
        Some("models") => "model",
        Some("routes") => "route",
        Some("bundles") => "bundle",
        Some("upstreams") => "upstream",
        _ => "site",
    }
}

/// The chain of causes as one line, for the log.
fn causes(error: &LoadError) -> Option<String> {
    let mut cause = error.source()?;
    let mut text = cause.to_string();
    while let Some(next) = cause.source() {
        let _ = write!(text, ": {next}");
        cause = next;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_event_until_it_says_something_new_or_goes() {
        let journal = Journal::new(Arc::default());
        let error = |message: &str| [Arc::new(LoadError::new("plugins/a.wasm", message))];
        journal.set_errors(&error("half"));
        journal.set_errors(&error("half"));
        assert_eq!(journal.events().len(), 1);
        journal.set_errors(&error("core module"));
        assert_eq!(journal.events().len(), 2);
        assert_eq!(journal.errors().len(), 1);
        journal.set_errors(&[]);
        assert!(journal.errors().is_empty());
        journal.set_errors(&error("half"));
        assert_eq!(journal.events().len(), 3);
    }

    #[test]
    fn the_list_is_bounded() {
        let journal = Journal::new(Arc::default());
        for index in 0..KEPT + 10 {
            journal.note(
                EventKind::Loaded,
                format!("plugins/{index}.wasm"),
                String::new(),
            );
        }
        let events = journal.events();
        assert_eq!(events.len(), KEPT);
        assert_eq!(events[0].file, "plugins/10.wasm");
    }
}
