//! Brings a prepared change into the site so that a crash at any moment leaves the old content or the new one.
//!
//! A change is prepared in a folder of `.staging`. Once everything of it is on disk, a marker is put beside it; from then on
//! the change is the site's content, and moving it to its place is only a matter of finishing. A start that finds a folder
//! with a marker finishes it, and removes one without.

use std::collections::BTreeSet;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use wharf_core::{Error, ErrorKind, LoadError, Name, Result};

use super::landing::LANDING;

/// The folder of the site in which changes are prepared. Nothing in it is served or watched.
pub(crate) const STAGING: &str = ".staging";

/// The file that says that a change is whole, and what it is.
const MARKER: &str = "commit";

/// What a change puts into a model's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) model: Name,
    /// The versions that are put there as a whole.
    pub(super) versions: BTreeSet<u64>,
    /// Whether `model.toml` is put there.
    pub(super) settings: bool,
    /// Whether the model was not there before.
    pub(super) new: bool,
}

/// A folder of `.staging`. It goes with this value, unless a change in it has begun to move and could not be taken back.
pub(super) struct Workspace {
    pub(super) site: PathBuf,
    /// The site's folder: no path leads out of it.
    pub(super) root: Dir,
    id: String,
    keep: bool,
    /// Held until the folder is gone: one process at a time changes a site.
    _lock: Option<File>,
}

impl Workspace {
    /// Makes a folder to prepare a change in.
    pub(super) fn open(site: &Path) -> Result<Self> {
        let lock = lock(site).map_err(|Busy| {
            Error::new(
                ErrorKind::Unavailable,
                "another process changes the site right now; try again later",
            )
        })?;
        let root = Dir::open_ambient_dir(site, ambient_authority()).map_err(not_written)?;
        finish_all(site, &root).map_err(|error| {
            tracing::error!(%error, "a change of the site that was begun cannot be finished");
            Error::new(
                ErrorKind::Unavailable,
                "an earlier change of the site is not finished; the server's log says why",
            )
        })?;
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let workspace = Self {
            site: site.to_owned(),
            root,
            id: format!(
                "{}-{:x}",
                std::process::id(),
                since.unwrap_or_default().as_nanos()
            ),
            keep: false,
            _lock: lock,
        };
        let folder = workspace.folder();
        workspace.root.create_dir_all(folder).map_err(not_written)?;
        Ok(workspace)
    }

    /// The folder, relative to the site.
    pub(super) fn folder(&self) -> String {
        format!("{STAGING}/{}", self.id)
    }

    /// The folder of a model in it.
    pub(super) fn staged(&self, model: &Name) -> String {
        format!("{}/models/{model}", self.folder())
    }

    /// Brings the change into the site, or where that fails takes all of it back.
    pub(super) fn commit(mut self, change: &Change) -> Result<()> {
        let folder = self.folder();
        self.mark(change).map_err(not_written)?;
        self.keep = true;
        let moved = roll_forward(&self.root, &folder, change, &mut || Ok(()))
            .and_then(|()| settle(&self.site, change));
        let Err(error) = moved else {
            self.keep = false;
            return Ok(());
        };
        match roll_back(&self.root, &folder, change) {
            Ok(()) => self.keep = false,
            Err(error) => tracing::error!(
                %error,
                model = %change.model,
                "a change of the site can be neither finished nor taken back; the next start tries again"
            ),
        }
        Err(not_written(error))
    }

    /// Waits until everything that was prepared is on disk, and then says that it is whole.
    fn mark(&self, change: &Change) -> io::Result<()> {
        let folder = self.folder();
        sync_folders(&self.site.join(format!("{folder}/models")))?;
        let marker = format!("{folder}/{MARKER}");
        let unfinished = format!("{marker}.new");
        self.root.write(&unfinished, change.to_text())?;
        sync(&self.site.join(&unfinished))?;
        self.root.rename(&unfinished, &self.root, &marker)?;
        for above in [&*folder, STAGING, "."] {
            sync(&self.site.join(above))?;
        }
        Ok(())
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        if !self.keep
            && let Err(error) = remove(&self.root, &self.folder())
        {
            tracing::warn!(%error, "a staging folder cannot be removed; the next start tries again");
        }
    }
}

/// Finishes what a process that was killed left behind. Called before a site is read.
///
/// # Errors
/// Where a change that was begun cannot be finished: then the site is neither old nor new.
pub(crate) fn recover(site: &Path) -> Result<(), LoadError> {
    let is_there = |folder| std::fs::symlink_metadata(site.join(folder)).is_ok();
    if !is_there(STAGING) && !is_there(LANDING) {
        return Ok(());
    }
    let Ok(_lock) = lock(site) else {
        tracing::warn!("another process changes the site; what it stages is left to it");
        return Ok(());
    };
    let refused = |error: io::Error| {
        let message = format!("a change of a model that was begun cannot be finished: {error}");
        LoadError::new(STAGING, message).with_source(error)
    };
    let root = Dir::open_ambient_dir(site, ambient_authority()).map_err(refused)?;
    if let Err(error) = root.remove_dir_all(LANDING)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "what was fetched of versions before the start cannot be removed");
    }
    finish_all(site, &root).map_err(refused)
}

/// Finishes or removes every folder of `.staging` that is ours.
fn finish_all(site: &Path, root: &Dir) -> io::Result<()> {
    match root.symlink_metadata(STAGING) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(io::Error::other("it is no folder; remove it")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    }
    for entry in root.read_dir(STAGING)? {
        let Ok(id) = entry?.file_name().into_string() else {
            continue;
        };
        if !is_id(&id) {
            continue;
        }
        let folder = format!("{STAGING}/{id}");
        match root.read_to_string(format!("{folder}/{MARKER}")) {
            Ok(text) => {
                let change = Change::parse(&text).ok_or_else(|| {
                    io::Error::other(format!(
                        "{folder}/{MARKER} is not readable; remove the folder"
                    ))
                })?;
                roll_forward(root, &folder, &change, &mut || Ok(()))?;
                settle(site, &change)?;
                tracing::info!(model = %change.model, "a change that was begun is finished");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if let Err(error) = remove(root, &folder) {
            tracing::warn!(%error, folder, "a staging folder cannot be removed");
        }
    }
    // A kill may have come between the last folder and this one. It stays where something else is in it.
    let _ = root.remove_dir(STAGING);
    Ok(())
}

/// Moves what was prepared to its place. What is there already is passed over, so it can be done again after a crash at any
/// of its steps; `step` is called before each.
fn roll_forward(
    root: &Dir,
    folder: &str,
    change: &Change,
    step: &mut dyn FnMut() -> io::Result<()>,
) -> io::Result<()> {
    step()?;
    root.create_dir_all(format!("models/{}", change.model))?;
    root.create_dir_all(format!("{folder}/old"))?;
    for place in change.places(folder) {
        if !exists(root, &place.staged) {
            continue;
        }
        if let Ok(metadata) = root.symlink_metadata(&place.target) {
            if exists(root, &place.old) {
                discard(root, &place.old)?;
            }
            step()?;
            // A file is then replaced by the rename itself, so that it is there at every moment. A folder cannot be.
            if !metadata.is_file() || root.hard_link(&place.target, root, &place.old).is_err() {
                root.rename(&place.target, root, &place.old)?;
            }
        }
        step()?;
        root.rename(&place.staged, root, &place.target)?;
    }
    step()
}

/// Undoes what [`roll_forward`] did, and takes the marker away.
fn roll_back(root: &Dir, folder: &str, change: &Change) -> io::Result<()> {
    for place in change.places(folder) {
        if !exists(root, &place.staged) && exists(root, &place.target) {
            root.rename(&place.target, root, &place.staged)?;
        }
        if exists(root, &place.old) && !exists(root, &place.target) {
            root.rename(&place.old, root, &place.target)?;
        }
    }
    if change.new {
        // It is empty, or it was never made.
        let _ = root.remove_dir(format!("models/{}", change.model));
    }
    root.remove_file(format!("{folder}/{MARKER}"))
}

/// Waits until the moves are on disk.
fn settle(site: &Path, change: &Change) -> io::Result<()> {
    let models = site.join("models");
    sync(&models.join(change.model.as_str()))?;
    sync(&models)?;
    sync(site)
}

/// Where a part of a change is before, and after; and where what it replaces goes.
struct Place {
    staged: String,
    target: String,
    old: String,
}

impl Change {
    fn places(&self, folder: &str) -> Vec<Place> {
        let versions = self.versions.iter().map(u64::to_string);
        let settings = self.settings.then(|| "model.toml".to_owned());
        let model = &self.model;
        versions
            .chain(settings)
            .map(|name| Place {
                staged: format!("{folder}/models/{model}/{name}"),
                target: format!("models/{model}/{name}"),
                old: format!("{folder}/old/{name}"),
            })
            .collect()
    }

    /// A line each: the model, what else there is to it, and its versions.
    fn to_text(&self) -> String {
        let mut text = format!("model {}\n", self.model);
        let flags = [(self.settings, "settings\n"), (self.new, "new\n")];
        text.extend(flags.iter().filter(|(set, _)| *set).map(|(_, line)| *line));
        text.extend(
            self.versions
                .iter()
                .map(|version| format!("version {version}\n")),
        );
        text
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let model = lines.next()?.strip_prefix("model ")?;
        let mut change = Self {
            model: Name::new(model).ok()?,
            versions: BTreeSet::new(),
            settings: false,
            new: false,
        };
        for line in lines {
            match line {
                "settings" => change.settings = true,
                "new" => change.new = true,
                line => {
                    let version = line.strip_prefix("version ")?.parse().ok()?;
                    change.versions.insert(version);
                }
            }
        }
        Some(change)
    }
}

/// Another process has the right to change the site.
pub(crate) struct Busy;

/// Takes the right to change a site. A file system without locks gives it to everyone.
pub(crate) fn lock(site: &Path) -> Result<Option<File>, Busy> {
    let Ok(file) = File::open(site) else {
        return Ok(None);
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Busy),
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, "the site cannot be locked");
            Ok(None)
        }
    }
}

/// Whether a name is one that [`Workspace::open`] gives.
fn is_id(name: &str) -> bool {
    name.split_once('-').is_some_and(|(process, time)| {
        let hex = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        hex(process) && hex(time)
    })
}

/// Removes a staging folder: the marker first, so that a half-removed one is never finished.
fn remove(root: &Dir, folder: &str) -> io::Result<()> {
    let marker = format!("{folder}/{MARKER}");
    if exists(root, &marker) {
        root.remove_file(marker)?;
    }
    root.remove_dir_all(folder)?;
    // It stays where something else is in it.
    let _ = root.remove_dir(STAGING);
    Ok(())
}

fn exists(root: &Dir, path: &str) -> bool {
    root.symlink_metadata(path).is_ok()
}

fn discard(root: &Dir, path: &str) -> io::Result<()> {
    if root.symlink_metadata(path)?.is_dir() {
        root.remove_dir_all(path)
    } else {
        root.remove_file(path)
    }
}

/// Waits until a file, or the names in a folder, are on disk.
fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    sync(folder)
}

/// What a client gets where the site cannot be written.
pub(super) fn not_written(error: io::Error) -> Error {
    let message = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let message = "the server's disk is full; ask its operator for room";
            return Error::new(ErrorKind::NoRoom, message).with_source(error);
        }
        io::ErrorKind::CrossesDevices => {
            "the change cannot be written: the folder models is on another file system than the site".to_owned()
        }
        kind => format!("the change cannot be written to the site: {kind}"),
    };
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}

#[cfg(test)]
mod tests;
