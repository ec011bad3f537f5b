//! What is in the folders of a site. A name is checked here, before a path is made of it anywhere.

use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use wharf_core::{LoadError, Name};

/// The longest `wharf.toml`, or file of a route or an upstream. Nobody writes a longer one by hand.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// The folders of a site.
pub(crate) const FOLDERS: [&str; 5] = ["plugins", "models", "routes", "bundles", "upstreams"];

/// A folder of the site.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Plugins,
    Models,
    Routes,
    Bundles,
    Upstreams,
}

impl Kind {
    fn folder(self) -> &'static str {
        // They are declared in the order of the names.
        FOLDERS[self as usize]
    }

    /// The ending of the files that count; models and bundles are folders. What has another ending is not ours: settings of plugins,
    /// what editors leave behind (`x.wasm~`, `.x.toml.swp`, `x.toml.bak`, `4913`), readme files.
    fn ending(self) -> Option<&'static str> {
        match self {
            Self::Plugins => Some(".wasm"),
            Self::Routes | Self::Upstreams => Some(".toml"),
            Self::Models | Self::Bundles => None,
        }
    }
}

/// Lists the names in a folder of the site, sorted. None where it cannot be listed; a folder that is not there is empty.
pub(crate) fn list(site: &Path, kind: Kind, errors: &mut Vec<Arc<LoadError>>) -> Option<Vec<Name>> {
    let folder = kind.folder();
    let entries = match std::fs::read_dir(site.join(folder)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Some(Vec::new()),
        Err(error) => {
            let refused = LoadError::new(folder, format!("the folder cannot be read: {error}"));
            errors.push(Arc::new(refused.with_source(error)));
            return None;
        }
    };
    let mut names = Vec::new();
    let mut complete = true;
    for entry in entries {
        let Ok(entry) = entry else {
            complete = false;
            continue;
        };
        let path = entry.path();
        if hidden(&path) {
            continue;
        }
        match name_of(&path, kind) {
            Ok(name) => names.extend(name),
            Err(message) => {
                let file = format!("{folder}/{}", printable(&path));
                errors.push(Arc::new(LoadError::new(file, message)));
            }
        }
    }
    names.sort_unstable();
    if !complete {
        let refused = LoadError::new(folder, "the folder could be read only in part");
        errors.push(Arc::new(refused));
    }
    complete.then_some(names)
}

/// The name that a path of a folder stands for; none where it is not ours.
fn name_of(path: &Path, kind: Kind) -> Result<Option<Name>, String> {
    let Some(file_name) = path.file_name() else {
        return Ok(None);
    };
    let stem = match kind.ending() {
        Some(ending) => match file_name.as_encoded_bytes().strip_suffix(ending.as_bytes()) {
            Some(stem) => stem,
            None => return Ok(None),
        },
        None => file_name.as_encoded_bytes(),
    };
    match std::fs::metadata(path) {
        Ok(metadata) if kind.ending().is_none() && !metadata.is_dir() => return Ok(None),
        // Reading a pipe would wait for ever.
        Ok(metadata) if kind.ending().is_some() && !metadata.is_file() => {
            return Err("it is not a regular file; replace it by one".to_owned());
        }
        // It went since the folder was listed.
        Err(_) if std::fs::symlink_metadata(path).is_err() => return Ok(None),
        // It is there, and whoever reads it says why it cannot be read.
        Ok(_) | Err(_) => {}
    }
    std::str::from_utf8(stem)
        .ok()
        .and_then(|stem| Name::new(stem).ok())
        .map(Some)
        .ok_or_else(|| format!("{}; rename it", wharf_core::InvalidName))
}

/// Whether a name begins with a dot: editors' files, `..data` of Kubernetes, what copy programs write into.
pub(crate) fn hidden(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."))
}

/// A file name that may be anything, made fit for a log line.
pub(crate) fn printable(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .take(Name::MAX_LEN)
        .flat_map(char::escape_debug)
        .collect()
}

/// Reads a text file; none where there is none.
pub(crate) fn read_text(path: &Path, file: &str) -> Result<Option<String>, LoadError> {
    let refused = |error: std::io::Error| {
        LoadError::new(file, format!("it cannot be read: {error}")).with_source(error)
    };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => {}
        Ok(_) => {
            return Err(LoadError::new(
                file,
                "it is not a regular file; replace it by one",
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    }
    let opened = match std::fs::File::open(path) {
        Ok(opened) => opened,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refused(error)),
    };
    let mut text = String::new();
    opened
        .take(MAX_TEXT_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(refused)?;
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Err(LoadError::new(
            file,
            format!("it is longer than {MAX_TEXT_BYTES} bytes; make it shorter"),
        ));
    }
    Ok(Some(text))
}
