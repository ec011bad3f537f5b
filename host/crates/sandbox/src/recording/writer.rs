//! The thread that makes files of calls.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use wharf_core::{LoadError, PluginRelease};

use super::call::Call;
use super::document::{files, milliseconds};
use super::queue::Queue;
use super::shelf::Shelf;
use super::{Policy, Recorder, folder_of};
use crate::metrics::{RecordingOutcome, Shared};

/// Where recordings go, and the thread that writes them. Dropping it writes what waits, and ends the thread.
pub(crate) struct Recordings {
    /// As `plugins.recordings_folder` has it.
    folder: Option<PathBuf>,
    metrics: Shared,
    queue: Arc<Queue>,
    /// Started for the first plugin that is recorded.
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Recordings {
    pub(crate) fn new(folder: Option<PathBuf>, metrics: Shared) -> Self {
        Self {
            folder,
            metrics,
            queue: Arc::default(),
            thread: Mutex::default(),
        }
    }

    /// What records the calls of a plugin.
    ///
    /// # Errors
    /// Where recordings would lie in a folder that is served from, or the thread cannot be started.
    pub(crate) fn open(
        &self,
        policy: Policy,
        release: &PluginRelease,
    ) -> Result<Recorder, LoadError> {
        let folder = folder_of(self.folder.as_deref(), release)?;
        let mut thread = self.thread.lock();
        if thread.is_none() {
            let queue = Arc::clone(&self.queue);
            let writer = std::thread::Builder::new()
                .name("wharf-recordings".to_owned())
                .spawn(move || Writer::default().run(&queue))
                .map_err(|error| {
                    let file = format!("plugins/{}.toml", release.name);
                    let refused = LoadError::new(file, "the thread that records cannot start");
                    refused.with_key("record").with_source(error)
                })?;
            *thread = Some(writer);
        }
        Ok(Recorder {
            policy,
            folder,
            queue: Arc::clone(&self.queue),
            metrics: self.metrics.recording(&release.name),
            sound: AtomicU64::new(0),
        })
    }
}

impl Drop for Recordings {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.get_mut().take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that records plugin calls panicked");
        }
    }
}

/// What the thread knows.
#[derive(Default)]
struct Writer {
    shelves: HashMap<PathBuf, Shelf>,
    /// Whether the last recording could not be written: said once, and not for each.
    complained: bool,
}

impl Writer {
    fn run(mut self, queue: &Queue) {
        while let Some(call) = queue.take() {
            let Some(recorder) = &call.plugin.record else {
                continue;
            };
            let outcome = self.write(&call, recorder);
            recorder.metrics.ended(outcome);
        }
    }

    fn write(&mut self, call: &Call, recorder: &Recorder) -> RecordingOutcome {
        let plugin = &call.plugin.name;
        let request_id = &*call.tape.request.id;
        let Ok(files) = files(call) else {
            tracing::debug!(%plugin, request_id, "plugin call not recorded: it has a secret in its data");
            return RecordingOutcome::Secret;
        };
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        if bytes > recorder.most_bytes() {
            return RecordingOutcome::Large;
        }
        let put = self.shelf(&recorder.folder).and_then(|shelf| {
            let name = (milliseconds(call.tape.at), request_id);
            shelf.put(name, &files, &recorder.policy)
        });
        match put {
            Ok(recording) => {
                self.complained = false;
                tracing::debug!(%plugin, request_id, recording, "plugin call recorded");
                RecordingOutcome::Written
            }
            Err(error) => {
                if !std::mem::replace(&mut self.complained, true) {
                    tracing::error!(
                        %plugin, request_id, folder = %recorder.folder.display(), %error,
                        setting = "plugins.recordings_folder",
                        "plugin call cannot be recorded; mend the folder's rights, or name another"
                    );
                }
                RecordingOutcome::Failed
            }
        }
    }

    fn shelf(&mut self, folder: &Path) -> std::io::Result<&mut Shelf> {
        if !self.shelves.contains_key(folder) {
            let shelf = Shelf::open(folder.to_owned())?;
            self.shelves.insert(folder.to_owned(), shelf);
        }
        self.shelves
            .get_mut(folder)
            .ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }
}
