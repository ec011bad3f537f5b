//! Compiled components, kept between starts of the host.
//!
//! A compiled component is machine code: loading one is as trusted as the host itself. So the folder belongs to the host
//! alone, and every file carries a MAC, made with a key of the folder, over its name and content. A file that anything
//! else made or changed is refused, and the component compiled afresh.

mod artifact;

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use hmac::{Hmac, Mac};
use parking_lot::Mutex;
use sha2::Sha256;
use wasmtime::Engine;
use wasmtime::component::Component;
use wharf_core::Digest;

use crate::metrics::Compilation;
use crate::{Config, SandboxError};

const KEY_FILE: &str = "key";
const MAC_BYTES: usize = 32;
const EXTENSION: &str = "aot";

/// Compiles components, and remembers them where it has a folder.
pub(crate) struct CompileCache {
    engine: Engine,
    folder: Option<Folder>,
    /// One component is compiled at a time: each takes all cores and much memory.
    compiling: Mutex<()>,
}

struct Folder {
    path: PathBuf,
    key: [u8; MAC_BYTES],
    files: usize,
    /// What machine code depends on besides the component: wasmtime's version, its settings and the processor.
    environment: String,
    temporary: AtomicU64,
}

impl CompileCache {
    /// Opens the cache; without a folder every component is compiled.
    ///
    /// # Errors
    /// Where the folder cannot be made, is open to other users, or its key cannot be read.
    pub(crate) fn open(engine: &Engine, folder: Option<&Path>, files: u32) -> io::Result<Self> {
        Ok(Self {
            folder: folder
                .map(|path| Folder::open(engine, path, files as usize))
                .transpose()?,
            engine: engine.clone(),
            compiling: Mutex::new(()),
        })
    }

    /// Opens the cache as the host's settings say. Without the folder that is set there is no sandbox; without the default one,
    /// only slower starts.
    ///
    /// # Errors
    /// Where the folder that is set cannot be used.
    pub(crate) fn of_host(engine: &Engine, config: &Config) -> Result<Self, SandboxError> {
        let folder = config.cache_folder();
        let opened = Self::open(engine, folder.as_deref(), config.cache_files);
        match (opened, folder) {
            (Ok(cache), Some(_)) => Ok(cache),
            (Ok(cache), None) => {
                tracing::warn!(
                    "there is no home folder to keep compiled plugins in; set plugins.cache_folder to start faster"
                );
                Ok(cache)
            }
            (Err(source), folder) if config.cache_folder.is_some() => Err(SandboxError::Cache {
                folder: folder.unwrap_or_default(),
                source,
            }),
            (Err(error), folder) => {
                tracing::warn!(?folder, %error, "cannot keep compiled plugins; set plugins.cache_folder to start faster");
                Self::open(engine, None, config.cache_files).map_err(|source| SandboxError::Cache {
                    folder: folder.unwrap_or_default(),
                    source,
                })
            }
        }
    }

    /// Compiles a component, or finds it compiled.
    ///
    /// # Errors
    /// What the compiler says of a component that is not valid.
    pub(crate) fn component(
        &self,
        digest: &Digest,
        bytes: &[u8],
    ) -> wasmtime::Result<(Component, Compilation)> {
        let mut compilation = Compilation::Miss;
        if let Some(folder) = &self.folder {
            match folder.read(digest) {
                Ok(Some(verified)) => match verified.load(&self.engine) {
                    Ok(component) => return Ok((component, Compilation::Hit)),
                    Err(error) => {
                        tracing::warn!(%digest, ?error, "cannot load a compiled plugin from the cache; compiling it afresh");
                        compilation = Compilation::Refused;
                    }
                },
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%digest, %error, "refused a file of the compile cache; compiling the plugin afresh");
                    compilation = Compilation::Refused;
                }
            }
        }
        let compiling = self.compiling.lock();
        let component = Component::from_binary(&self.engine, bytes)?;
        drop(compiling);
        if let Some(folder) = &self.folder
            && let Err(error) = component
                .serialize()
                .map_err(io::Error::other)
                .and_then(|artifact| folder.write(digest, &artifact))
        {
            // The plugin serves all the same; only the next start is slower.
            tracing::warn!(%digest, %error, "cannot keep a compiled plugin in the cache");
        }
        Ok((component, compilation))
    }
}

impl Folder {
    fn open(engine: &Engine, path: &Path, files: usize) -> io::Result<Self> {
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
        engine.precompile_compatibility_hash().hash(&mut hasher);
        Ok(Self {
            key: key(&path.join(KEY_FILE))?,
            path: path.to_owned(),
            files,
            environment: format!("{:016x}", hasher.finish()),
            temporary: AtomicU64::new(0),
        })
    }

    fn name(&self, digest: &Digest) -> String {
        format!("{digest}-{}.{EXTENSION}", self.environment)
    }

    fn mac(&self, name: &str, artifact: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key)
            .expect("HMAC takes keys of any length");
        // The name is part of it: a file renamed to another component's would run the wrong code.
        mac.update(&(name.len() as u64).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(artifact);
        mac
    }

    fn read(&self, digest: &Digest) -> io::Result<Option<artifact::Verified>> {
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
        let end = bytes.len().checked_sub(MAC_BYTES).ok_or_else(refused)?;
        let (artifact, mac) = bytes.split_at(end);
        self.mac(&name, artifact)
            .verify_slice(mac)
            .map_err(|_| refused())?;
        bytes.truncate(end);
        Ok(Some(artifact::Verified::new(bytes)))
    }

    /// Writes beside and renames, so that a reader finds the whole file or none.
    fn write(&self, digest: &Digest, artifact: &[u8]) -> io::Result<()> {
        let name = self.name(digest);
        let number = self.temporary.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .path
            .join(format!("{}.{number}.tmp", std::process::id()));
        let mac = self.mac(&name, artifact).finalize().into_bytes();
        let written = new_file(&temporary)
            .and_then(|mut file| {
                file.write_all(artifact)?;
                file.write_all(&mac)
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
