//! Recordings: calls of a plugin that went wrong, kept as folders that `wharf plugin replay` runs again.
//!
//! An operator asks for them in `[record]` of `plugins/NAME.toml`. Of a call that is recorded, payloads and chunks are kept as
//! handles, beside what the guest says meanwhile, and nothing is written on its way: a thread of its own makes files of it. Where that
//! thread falls behind, calls are counted and not kept. A plugin that is not recorded pays nothing.

mod call;
mod document;
mod journal;
mod policy;
mod queue;
mod shelf;
mod tape;
mod writer;

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wharf_core::{LoadError, PluginRelease};

use crate::metrics::{Outcome, RecordingMetrics, RecordingOutcome};

pub(crate) use call::{Call, End};
pub(crate) use journal::{AnswerSlot, Journal, Unrecorded};
pub(crate) use policy::Policy;
use queue::{Full, Queue};
pub(crate) use tape::Tape;
pub(crate) use writer::Recordings;

/// The folder of the site that recordings go to where no setting names another. Nothing that is served lies in it, and nobody
/// watches it.
const FOLDER: &str = "recordings";

/// The folders of a site that are watched and served.
const SERVED: [&str; 4] = ["bundles", "models", "plugins", "routes"];

/// What records the calls of one release of a plugin.
pub(crate) struct Recorder {
    policy: Policy,
    /// The folder of the plugin.
    folder: PathBuf,
    queue: Arc<Queue>,
    metrics: RecordingMetrics,
    /// The calls that ended well.
    sound: AtomicU64,
}

impl Recorder {
    /// The most bytes that one recording may have, which are those of all together.
    pub(crate) fn most_bytes(&self) -> u64 {
        self.policy.bytes()
    }

    /// Whether a call that ended so is recorded.
    pub(crate) fn wants(&self, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Fault | Outcome::Deadline => true,
            Outcome::Ok | Outcome::Refused => self.policy.takes_sound(|| {
                // Counted only here, so that a plugin whose faults alone are recorded does not share a counter.
                self.sound.fetch_add(1, Ordering::Relaxed)
            }),
            Outcome::Unavailable | Outcome::Cancelled => false,
        }
    }

    /// A call is given up: what it holds has become too much.
    pub(crate) fn give_up(&self) {
        self.metrics.ended(RecordingOutcome::Large);
    }

    /// Whether calls are recorded that end well.
    pub(crate) fn wants_sound(&self) -> bool {
        self.policy.wants_sound()
    }

    /// Leaves a call for the thread that writes.
    pub(crate) fn leave(&self, call: Call) {
        let outcome = match call.bytes() {
            bytes if bytes > self.most_bytes() => RecordingOutcome::Large,
            bytes => match self.queue.put(call, bytes) {
                Ok(()) => return,
                Err(Full) => RecordingOutcome::Full,
            },
        };
        self.metrics.ended(outcome);
    }
}

/// Whether a folder that a setting names may hold recordings: not one of those that are served from.
///
/// # Errors
/// What is wrong, in words.
pub(crate) fn check_folder(folder: &Path) -> Result<(), String> {
    let mut parts = folder.components();
    let first = parts.next();
    let served = |name: &&str| first == Some(Component::Normal(OsStr::new(name)));
    if folder.as_os_str().is_empty() || folder.components().any(|part| part == Component::ParentDir)
    {
        return Err("must be a folder, absolute or in the site, without `..`".to_owned());
    }
    if SERVED.iter().any(served) {
        return Err(format!(
            "must not lie in a folder that is served from: {}",
            SERVED.join(", ")
        ));
    }
    Ok(())
}

/// The folder for the recordings of a plugin.
///
/// # Errors
/// Where an absolute folder is one of the site's that are served from.
fn folder_of(setting: Option<&Path>, release: &PluginRelease) -> Result<PathBuf, LoadError> {
    let site = site_of(release);
    let folder = site.join(setting.unwrap_or(Path::new(FOLDER)));
    if let Some(served) = (SERVED.iter()).find(|name| folder.starts_with(site.join(name))) {
        let message = format!("must not lie in {served}/ of the site, which is served from");
        return Err(LoadError::new("wharf.toml", message).with_key("plugins.recordings_folder"));
    }
    // Plugins of bundles may have the names of the site's.
    let folder = match &release.owner {
        Some(owner) => folder.join("bundles").join(owner.bundle.as_str()),
        None => folder,
    };
    Ok(folder.join(release.name.as_str()))
}

/// The site itself: what a plugin of a bundle has for its site is the release, `bundles/NAME/RELEASE` in there.
fn site_of(release: &PluginRelease) -> &Path {
    let site = (release.owner.as_ref()).and_then(|_| release.site.ancestors().nth(3));
    site.unwrap_or(&release.site)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_do_not_lie_where_the_site_serves_from() {
        for (folder, good) in [
            ("recordings", true),
            ("/var/lib/wharf/recordings", true),
            ("kept/models", true),
            ("models/recordings", false),
            ("plugins", false),
            ("bundles/x", false),
            ("../elsewhere", false),
            ("a/../plugins", false),
            ("", false),
        ] {
            assert_eq!(check_folder(Path::new(folder)).is_ok(), good, "{folder}");
        }
    }
}
