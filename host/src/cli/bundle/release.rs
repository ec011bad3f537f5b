//! A release as a folder.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest as _, Sha256};

use super::path::{MOST_FILES, ReleasePath, check_all};
use crate::cli::oci::written;

/// How much of a file is read at a time.
const PIECE: usize = 1 << 20;

/// The files of a release, in the order of their paths.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) files: Vec<ReleaseFile>,
}

/// A file of it.
#[derive(Debug)]
pub(super) struct ReleaseFile {
    pub(super) path: ReleasePath,
    /// Where it is.
    pub(super) place: PathBuf,
    pub(super) size: u64,
    pub(super) digest: String,
}

impl Release {
    /// Reads the names of a folder's files and their digests; no file is in memory as a whole.
    ///
    /// # Errors
    /// Where a file cannot be one of a release, or there is no route among them. Links are refused: what they lead to may be anything.
    pub(super) fn open(folder: &Path, progress: &mut dyn FnMut(u64)) -> Result<Self> {
        ensure!(folder.is_dir(), "{} is no folder", folder.display());
        let mut found = Vec::new();
        walk(folder, "", &mut found)?;
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        check_all(found.iter().map(|(path, _)| path))?;
        let files = found.into_iter().map(|(path, place)| {
            let (size, digest) = digest_of(&place, progress)
                .with_context(|| format!("{} cannot be read", place.display()))?;
            Ok(ReleaseFile {
                path,
                place,
                size,
                digest,
            })
        });
        Ok(Self {
            files: files.collect::<Result<_>>()?,
        })
    }

    /// The size of all files together, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}

fn walk(folder: &Path, above: &str, found: &mut Vec<(ReleasePath, PathBuf)>) -> Result<()> {
    let listed =
        fs::read_dir(folder).with_context(|| format!("{} cannot be listed", folder.display()))?;
    for entry in listed {
        let entry = entry?;
        let place = entry.path();
        let name = entry.file_name();
        let name = name
            .to_str()
            .with_context(|| format!("{} is not UTF-8", place.display()))?;
        let path = if above.is_empty() {
            name.to_owned()
        } else {
            format!("{above}/{name}")
        };
        // Of the entry itself, and not of what a link leads to.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            // A folder that no file can lie in is said as such, before all that is in it.
            ReleasePath::new(&format!("{path}/x/x.toml"))
                .or_else(|_| ReleasePath::new(&format!("{path}/x.toml")))
                .with_context(|| format!("{} is no folder of a release", place.display()))?;
            walk(&place, &path, found)?;
        } else if kind.is_file() {
            found.push((ReleasePath::new(&path)?, place));
        } else {
            bail!(
                "{} is a link or something else than a file: a release has files alone",
                place.display()
            );
        }
        ensure!(
            found.len() <= MOST_FILES,
            "{} has more files than a release may have: {MOST_FILES}",
            folder.display()
        );
    }
    Ok(())
}

/// The size and the digest of a file.
fn digest_of(place: &Path, progress: &mut dyn FnMut(u64)) -> std::io::Result<(u64, String)> {
    let mut file = File::open(place)?;
    let (mut size, mut sha256, mut piece) = (0, Sha256::new(), vec![0; PIECE]);
    loop {
        let count = file.read(&mut piece)?;
        if count == 0 {
            return Ok((size, written(&sha256.finalize())));
        }
        sha256.update(&piece[..count]);
        size += count as u64;
        progress(count as u64);
    }
}
