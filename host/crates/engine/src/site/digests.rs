//! What a version is made of, as one digest, and how not to read gigabytes at every look.

use std::collections::HashMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use wharf_core::Digest;

use super::files::OpenFile;

/// How long a file must have been left alone before its time says that it is unchanged: clocks of file systems tick.
const SETTLED: Duration = Duration::from_millis(100);
/// Entries beyond this are forgotten, all at once: sites have far fewer files.
const MAX_ENTRIES: usize = 4096;

/// Remembers the digests of files by what the file system says of them.
pub(crate) struct DigestCache {
    /// No longer file is read.
    largest: u64,
    known: Mutex<HashMap<(Stamp, Content), Known>>,
}

/// What a file is looked at as. Any file may be named as any of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Content {
    /// An ONNX file, which may name others.
    Model,
    /// Bytes.
    Bytes,
}

/// What the file system says of a file's content without reading it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What is known of a file.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) digest: Digest,
    /// Where an ONNX file has external data.
    pub(crate) locations: Vec<String>,
}

impl DigestCache {
    /// Makes a cache that reads no file of more bytes than that: such a file cannot be loaded either, and one that is
    /// sparse would take hours.
    pub(crate) fn new(largest: u64) -> Self {
        Self {
            largest,
            known: Mutex::default(),
        }
    }

    /// The digest of a file, read piece by piece.
    pub(crate) fn read(&self, file: &mut OpenFile) -> io::Result<Digest> {
        if file.metadata.len() > self.largest {
            return Err(io::Error::other(
                "the file is larger than the memory of this machine",
            ));
        }
        digest_file(file)
    }

    /// What is known of the file, or what `read` finds out.
    pub(crate) fn get<E>(
        &self,
        file: OpenFile,
        content: Content,
        read: impl FnOnce(OpenFile) -> Result<Known, E>,
    ) -> Result<Known, E> {
        let metadata = &file.metadata;
        let stamp = Stamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        let settled = is_settled(metadata.ctime(), metadata.ctime_nsec());
        let key = (stamp, content);
        if let Some(known) = self.known.lock().get(&key) {
            return Ok(known.clone());
        }
        let known = read(file)?;
        if settled {
            let mut entries = self.known.lock();
            if entries.len() >= MAX_ENTRIES {
                entries.clear();
            }
            entries.insert(key, known.clone());
        }
        Ok(known)
    }
}

fn is_settled(seconds: i64, nanoseconds: i64) -> bool {
    let changed = Duration::new(
        u64::try_from(seconds).unwrap_or(0),
        u32::try_from(nanoseconds).unwrap_or(0),
    );
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH + changed)
        .is_ok_and(|age| age > SETTLED)
}

/// The digest of bytes.
pub(crate) fn digest(bytes: &[u8]) -> Digest {
    Digest::new(Sha256::digest(bytes).into())
}

fn digest_file(file: &mut OpenFile) -> io::Result<Digest> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 17];
    loop {
        match file.file.read(&mut buffer)? {
            0 => return Ok(Digest::new(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

/// Joins what a version is made of: each part is a name and a digest, the settings among them.
pub(crate) fn join<'a>(parts: impl IntoIterator<Item = (&'a str, Digest)>) -> Digest {
    let mut hasher = Sha256::new();
    for (name, digest) in parts {
        hasher.update((name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(digest.as_bytes());
    }
    Digest::new(hasher.finalize().into())
}
