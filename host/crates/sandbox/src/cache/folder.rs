//! The folder of the compile cache: a file for each component, with a MAC that only the host can make.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use wasmtime::Engine;
use wharf_core::Digest;

use super::artifact::Verified;

/// What a file is: an artifact and behind it a MAC. BLAKE3 with a key takes less than half the time of SHA-256, and an artifact
/// has many MB.
const FORM: &str = "wharf compile cache: artifact, keyed BLAKE3 of name and artifact";

const KEY_FILE: &str = "key";
const MAC_BYTES: usize = 32;
const EXTENSION: &str = "aot";

/// A folder that belongs to the host alone.
pub(super) struct Folder {
    path: PathBuf,
    key: [u8; MAC_BYTES],
    files: usize,
    /// What an artifact depends on besides the component: wasmtime's version, its settings and the processor.
    environment: String,
    temporary: AtomicU64,
}

impl Folder {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// Where it cannot be made, is open to other users, or its key cannot be read.
    pub(super) fn open(engine: &Engine, path: &Path, files: usize) -> io::Result<Self> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)?;
        let mode = fs::metadata(path)?.permissions().mode();
        if mode & 0o022 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "other users can write to it; give it mode 0700",
            ));
        }
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
        let mut hasher = DefaultHasher::new();
        FORM.hash(&mut hasher);
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            // The key of the file has served other ways of making a MAC.
            key: blake3::derive_key(FORM, &key(&path.join(KEY_FILE))?),
            path: path.to_owned(),
            files,
            environment: format!("{:016x}", hasher.finish()),
            temporary: AtomicU64::new(0),
        })
    }

    fn name(&self, digest: &Digest) -> String {
        format!("{digest}-{}.{EXTENSION}", self.environment)
    }

    fn mac(&self, name: &str, artifact: &[u8]) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.key);
        // The name is part of it: a file renamed to another component's would run the wrong code.
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(artifact);
        mac.finalize()
    }

    /// Reads the artifact of a component; none where there is no file.
    ///
    /// # Errors
    /// Where the file cannot be read, or is not as the host wrote it.
    pub(super) fn read(&self, digest: &Digest) -> io::Result<Option<Verified>> {
        let name = self.name(digest);
        let mut bytes = match fs::read(self.path.join(&name)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let refused = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                "the file is not as the host wrote it",
            )
        };
        let (artifact, mac) = bytes.split_last_chunk().ok_or_else(refused)?;
        // Hashes are compared in constant time.
        if self.mac(&name, artifact) != blake3::Hash::from_bytes(*mac) {
            return Err(refused());
        }
        bytes.truncate(bytes.len() - MAC_BYTES);
        Ok(Some(Verified::new(bytes)))
    }

    /// Writes an artifact beside and renames, so that a reader finds the whole file or none.
    ///
    /// # Errors
    /// Where it cannot be written, or what has to go for it cannot be removed.
    pub(super) fn write(&self, digest: &Digest, artifact: &[u8]) -> io::Result<()> {
        let name = self.name(digest);
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .path
            .join(format!("{}.{number}.tmp", std::process::id()));
        let mac = self.mac(&name, artifact);
        let written = new_file(&temporary)
            .and_then(|mut file| {
                file.write_all(artifact)?;
                file.write_all(mac.as_bytes())
            })
            .and_then(|()| fs::rename(&temporary, self.path.join(&name)));
        if written.is_err() {
            // It may not even be there; the error that counts is the first.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.prune()
    }

    /// Removes the oldest files beyond the most that are kept, and what a killed host left half-written.
    fn prune(&self) -> io::Result<()> {
        let mut files: Vec<(SystemTime, PathBuf)> = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let path = entry.path();
            let modified = entry.metadata().and_then(|metadata| metadata.modified())?;
            let extension = path.extension().and_then(|extension| extension.to_str());
            let stale = modified.elapsed().is_ok_and(|age| age.as_secs() > 3600);
            match extension {
                Some(EXTENSION) => files.push((modified, path)),
                Some("tmp") if stale => fs::remove_file(path)?,
                _ => {}
            }
        }
        files.sort();
        let excess = files.len().saturating_sub(self.files.max(1));
        files[..excess]
            .iter()
            .try_for_each(|(_, path)| fs::remove_file(path))
    }
}

/// Reads the key of the folder, or makes it.
fn key(path: &Path) -> io::Result<[u8; MAC_BYTES]> {
    let mut key = [0; MAC_BYTES];
    for _ in 0..2 {
        match fs::File::open(path) {
            Ok(mut file) => {
                file.read_exact(&mut key)?;
                return Ok(key);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        new_file(&temporary)?.write_all(&key)?;
        // A link fails where another host was faster: then its key counts.
        let linked = fs::hard_link(&temporary, path);
        fs::remove_file(&temporary)?;
        match linked {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Err(io::Error::other(
        "the key of the folder disappears while it is read",
    ))
}

fn new_file(path: &Path) -> io::Result<fs::File> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}
