//! The recordings of one plugin on disk: bounded in number and in bytes, the oldest goes first.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use wharf_core::Digest;

use super::Policy;
use super::document::Files;

/// Where a recording is written before it takes its place: nothing half-written has a name of a recording.
const COMING: &str = ".coming";

/// Where one is moved before it is removed, for the same reason.
const GOING: &str = ".going";

/// As much of a request's id as a name has.
const ID_BYTES: usize = 64;

/// The folder of a plugin's recordings, and what is in it.
pub(super) struct Shelf {
    folder: PathBuf,
    /// Names and sizes, the oldest first.
    kept: VecDeque<(String, u64)>,
    bytes: u64,
    /// The time in the newest name, in milliseconds since 1970.
    newest: u64,
}

impl Shelf {
    /// Opens the folder, with what an earlier start left there.
    ///
    /// # Errors
    /// Where it cannot be made or listed.
    pub(super) fn open(folder: PathBuf) -> io::Result<Self> {
        private_folder(&folder)?;
        let mut shelf = Self {
            kept: VecDeque::new(),
            bytes: 0,
            newest: 0,
            folder,
        };
        let mut found = Vec::new();
        for entry in fs::read_dir(&shelf.folder)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // What has another name is not ours.
            let Some(time) = time_of(&name) else { continue };
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let mut bytes = 0;
            for file in fs::read_dir(entry.path())? {
                bytes += file?.metadata()?.len();
            }
            found.push((time, name, bytes));
        }
        found.sort_unstable();
        for (time, name, bytes) in found {
            shelf.newest = shelf.newest.max(time);
            shelf.bytes += bytes;
            shelf.kept.push_back((name, bytes));
        }
        Ok(shelf)
    }

    /// Puts a recording there, after making room for it. Gives its name.
    ///
    /// # Errors
    /// Where it cannot be written; nothing of it is there then.
    pub(super) fn put(
        &mut self,
        (time, id): (u64, &str),
        files: &Files,
        policy: &Policy,
    ) -> io::Result<String> {
        let bytes: u64 = files.iter().map(|(_, bytes)| bytes.len() as u64).sum();
        while self.kept.len() >= policy.keep()
            || (!self.kept.is_empty() && self.bytes.saturating_add(bytes) > policy.bytes())
        {
            self.drop_oldest()?;
        }
        // Names differ and keep their order, also where two calls end in one millisecond or the clock is set back.
        let time = time.max(self.newest.saturating_add(1));
        let name = format!("{time:013}-{}", part_of(id));
        let coming = self.folder.join(COMING);
        private_folder(&self.folder)?;
        remove(&coming)?;
        private_folder(&coming)?;
        let mut written = files.iter().try_for_each(|(name, bytes)| {
            let mut file = OpenOptions::new();
            let mut file = file
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(coming.join(name))?;
            file.write_all(bytes)
        });
        if written.is_ok() {
            written = fs::rename(&coming, self.folder.join(&name));
        }
        if let Err(error) = written {
            // It says why already; what is left goes with the next recording.
            drop(remove(&coming));
            return Err(error);
        }
        self.newest = time;
        self.bytes += bytes;
        self.kept.push_back((name.clone(), bytes));
        Ok(name)
    }

    fn drop_oldest(&mut self) -> io::Result<()> {
        let Some((name, bytes)) = self.kept.front() else {
            return Ok(());
        };
        let (place, going) = (self.folder.join(name), self.folder.join(GOING));
        remove(&going)?;
        match fs::rename(&place, &going) {
            // An operator has removed it.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            moved => moved?,
        }
        self.bytes -= bytes;
        self.kept.pop_front();
        remove(&going)
    }
}

/// Makes a folder that nobody else may read: recordings have what clients sent.
fn private_folder(folder: &std::path::Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

fn remove(folder: &std::path::Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The time in the name of a recording; none where it is not one. No clock needs more digits: one that came to be there would make all
/// after it as late.
fn time_of(name: &str) -> Option<u64> {
    let (time, id) = name.split_once('-')?;
    let digits = (13..=15).contains(&time.len()) && time.bytes().all(|byte| byte.is_ascii_digit());
    (digits && !id.is_empty()).then(|| time.parse().ok())?
}

/// A request's id as a part of a name. The id may be the client's, so what could mean anything to a file system or a shell
/// becomes a digest.
fn part_of(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    if (1..=ID_BYTES).contains(&id.len()) && id.bytes().all(plain) {
        return id.to_owned();
    }
    let digest = Digest::new(Sha256::digest(id).into());
    format!("sha256_{digest:.16}")
}

#[cfg(test)]
mod tests;
