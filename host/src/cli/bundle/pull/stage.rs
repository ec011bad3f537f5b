//! The folder of a site in which a release is laid out before it takes its place.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

use crate::cli::bundle::path::ReleasePath;

/// The folder of the site that nobody watches or serves. Others prepare changes there, too, under names of their own.
const STAGING: &str = ".staging";

/// How the names of ours begin.
const PREFIX: &str = "bundle.";

/// As often another number is tried where somebody else takes the same.
const TRIES: usize = 16;

/// A release that is being laid out. It goes with this value, unless it has taken its place.
pub(super) struct Stage {
    folder: PathBuf,
    /// Held as long as the folder is in use, so that nobody takes it for what a process that was killed left behind.
    _lock: File,
}

impl Stage {
    /// Makes a folder, and removes those of pulls that were killed.
    ///
    /// # Errors
    /// Where the site cannot be written.
    pub(super) fn open(site: &Path) -> Result<Self> {
        let staging = site.join(STAGING);
        fs::create_dir_all(&staging)
            .with_context(|| format!("{} cannot be made", staging.display()))?;
        remove_left_behind(&staging);
        for _ in 0..TRIES {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
            let id = since.unwrap_or_default().as_nanos();
            let folder = staging.join(format!("{PREFIX}{}.{id}", std::process::id()));
            let held =
                hold(&folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            if let Some(lock) = held {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
        bail!(
            "others remove what is made in {} all the time; try again",
            staging.display()
        )
    }

    /// Makes a file of the release. There is none yet: the paths of a release differ.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub(super) fn create(&self, path: &ReleasePath) -> Result<File> {
        let place = self.folder.join(path.as_str());
        let make = || -> io::Result<File> {
            if let Some(folder) = place.parent() {
                fs::create_dir_all(folder)?;
            }
            OpenOptions::new().write(true).create_new(true).open(&place)
        };
        make().with_context(|| format!("{path} cannot be written"))
    }

    /// Gives the release its place among those of its bundle, by one rename. Without a number it gets one above the newest there.
    ///
    /// # Errors
    /// Where the number is taken, or the site cannot be written.
    pub(super) fn commit(self, bundle: &Path, release: Option<u64>) -> Result<(u64, PathBuf)> {
        fs::create_dir_all(bundle)
            .with_context(|| format!("{} cannot be made", bundle.display()))?;
        // Names are on disk before the rename, as the files are: what has its place is whole, also after a loss of power.
        sync_folders(&self.folder)
            .with_context(|| format!("{} cannot be written", self.folder.display()))?;
        for _ in 0..TRIES {
            let number = match release {
                Some(number) => number,
                None => newest(bundle)?
                    .checked_add(1)
                    .context("no number is left")?,
            };
            let place = bundle.join(number.to_string());
            // A rename would take the place of an empty folder.
            if place.symlink_metadata().is_err() {
                match fs::rename(&self.folder, &place) {
                    Ok(()) => {
                        // So that the name is on disk with what it names, and so are the folders above, which may be new.
                        for folder in bundle.ancestors().take(3) {
                            File::open(folder).and_then(|folder| folder.sync_all())?;
                        }
                        return Ok((number, place));
                    }
                    // Somebody has put another one there since the look.
                    Err(error) if is_taken(&error) => {}
                    Err(error) => {
                        return Err(error)
                            .with_context(|| format!("{} cannot be put there", place.display()));
                    }
                }
            }
            if release.is_some() {
                bail!(
                    "{} is there already: releases do not change; give another number",
                    place.display()
                );
            }
        }
        bail!(
            "others put releases into {} all the time; try again",
            bundle.display()
        )
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // After the rename there is none.
        drop(fs::remove_dir_all(&self.folder));
        if let Some(staging) = self.folder.parent() {
            // It stays where something else is in it.
            drop(fs::remove_dir(staging));
        }
    }
}

/// Makes a folder and holds it. None where somebody took it for one that was left behind before it was held.
fn hold(folder: &Path) -> io::Result<Option<File>> {
    fs::create_dir(folder)?;
    let lock = match File::open(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(None),
        // A file system without locks has no need to tell: nobody else can take one then, either.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    // Whoever removes it holds it meanwhile: what is there now stays.
    Ok(folder.is_dir().then_some(lock))
}

/// Puts the names in a folder on disk, and those in the folders below.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, DirectoryNotEmpty, NotADirectory};
    matches!(
        error.kind(),
        AlreadyExists | DirectoryNotEmpty | NotADirectory
    )
}

/// The highest number that has a release; 0 where there is none.
fn newest(bundle: &Path) -> Result<u64> {
    let mut newest = 0;
    let listed =
        fs::read_dir(bundle).with_context(|| format!("{} cannot be listed", bundle.display()))?;
    for entry in listed {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.parse().ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}

/// Removes the folders of ours that nobody holds any more. What cannot be removed takes room, and harms nobody.
fn remove_left_behind(staging: &Path) {
    let Ok(listed) = fs::read_dir(staging) else {
        return;
    };
    for entry in listed.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let path = entry.path();
        if is_ours
            && let Ok(folder) = File::open(&path)
            && folder.try_lock().is_ok()
        {
            // Held until it is gone.
            drop(fs::remove_dir_all(path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn staged(site: &Path) -> Stage {
        let stage = Stage::open(site).unwrap();
        let route = ReleasePath::new("routes/a.toml").unwrap();
        stage.create(&route).unwrap();
        stage
    }

    #[test]
    fn a_release_gets_the_next_number_and_no_other_is_touched() {
        let site = tempfile::tempdir().unwrap();
        let bundle = site.path().join("bundles/a");
        for expected in 1..=3 {
            let (number, place) = staged(site.path()).commit(&bundle, None).unwrap();
            assert_eq!(number, expected);
            assert!(place.join("routes/a.toml").is_file());
        }
        let (number, _) = staged(site.path()).commit(&bundle, Some(9)).unwrap();
        assert_eq!(number, 9);
        for taken in [2, 9] {
            let error = staged(site.path())
                .commit(&bundle, Some(taken))
                .unwrap_err();
            assert!(error.to_string().contains("already"), "{error}");
        }
        fs::write(bundle.join("bundle.toml"), "").unwrap();
        assert_eq!(staged(site.path()).commit(&bundle, None).unwrap().0, 10);
        assert_eq!(names(&bundle), ["1", "10", "2", "3", "9", "bundle.toml"]);
        // Nothing is left where releases are laid out.
        assert!(!site.path().join(STAGING).exists());
    }

    #[test]
    fn what_a_killed_pull_left_is_removed_and_one_that_runs_is_not() {
        let site = tempfile::tempdir().unwrap();
        let staging = site.path().join(STAGING);
        let running = staged(site.path());
        for left in ["bundle.1.2/routes", "12-ab/models"] {
            fs::create_dir_all(staging.join(left)).unwrap();
        }
        let stage = staged(site.path());
        let there = names(&staging);
        assert_eq!(there.len(), 3, "{there:?}");
        assert!(there.contains(&"12-ab".to_owned()));
        drop((running, stage));
        assert_eq!(names(&staging), ["12-ab"]);
    }
}
