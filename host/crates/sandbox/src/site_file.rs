//! Files that a plugin's settings name. They are read once, and are part of what the plugin is. A relative path is read inside the site
//! alone; an absolute one is the operator's word.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt};
use sha2::{Digest as _, Sha256};
use wharf_core::{Digest, SiteFile};

use crate::loader::{open_file, read_open};

/// The largest file. The tokenizers of large models have some 30 MB.
const MOST_BYTES: u64 = 64 << 20;

/// Reads the files of these paths.
pub(crate) fn read_all<'a>(site: &Path, paths: impl IntoIterator<Item = &'a str>) -> Vec<SiteFile> {
    let mut paths = paths.into_iter().peekable();
    if paths.peek().is_none() {
        return Vec::new();
    }
    let site = Dir::open_ambient_dir(site, ambient_authority());
    paths
        .map(|path| {
            let content = match &site {
                _ if Path::new(path).is_absolute() => read_absolute(Path::new(path)),
                Ok(site) => read(site, path),
                Err(error) => Err(format!("the site cannot be opened: {error}")),
            };
            SiteFile {
                path: path.into(),
                digest: (content.as_ref().ok())
                    .map(|content| Digest::new(Sha256::digest(content).into())),
                content: content.map(Arc::from).map_err(Arc::from),
            }
        })
        .collect()
}

/// # Errors
/// Why it cannot be read, in words that follow the path.
fn read(site: &Dir, path: &str) -> Result<Vec<u8>, String> {
    // Opening a named pipe would wait for a writer.
    let options = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .clone();
    match site.open_with(path, &options) {
        Ok(file) => read_all_of(file.into_std()),
        Err(error) => Err(explain(&error)),
    }
}

fn read_absolute(path: &Path) -> Result<Vec<u8>, String> {
    let file = open_file(path).map_err(|error| format!("cannot be read: {error}"))?;
    read_all_of(file)
}

fn read_all_of(file: File) -> Result<Vec<u8>, String> {
    let metadata = file.metadata().map_err(|error| explain(&error))?;
    if !metadata.is_file() {
        return Err("is no regular file; put a file there".to_owned());
    }
    read_open(file, MOST_BYTES).map_err(|error| explain(&error))
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "is not there; put it into the site".to_owned(),
        io::ErrorKind::FileTooLarge => {
            format!(
                "has more than {} MiB, the most that is read",
                MOST_BYTES >> 20
            )
        }
        // How cap-std tells of a path that leads out.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            "leads out of the site by a symbolic link; copy the file instead".to_owned()
        }
        _ => format!("cannot be read: {error}"),
    }
}
