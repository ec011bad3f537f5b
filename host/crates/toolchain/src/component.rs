//! Makes components of core modules, and puts them in their place.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use wit_component::ComponentEncoder;

use crate::BuildError;

/// The first bytes of a component; a core module differs in the last four.
const COMPONENT_HEADER: [u8; 8] = *b"\0asm\x0d\0\x01\0";

/// The component of a plugin: what was linked where that is one, or else one that is made of the core module.
///
/// # Errors
/// Where the file cannot be read, or the module has no contract.
pub fn component(name: &str, linked: &Path) -> Result<Vec<u8>, BuildError> {
    let bytes = fs::read(linked).map_err(|source| BuildError::Read {
        path: linked.to_owned(),
        source,
    })?;
    if bytes.starts_with(&COMPONENT_HEADER) {
        return Ok(bytes);
    }
    ComponentEncoder::default()
        .validate(true)
        .module(&bytes)
        .and_then(ComponentEncoder::encode)
        .map_err(|error| BuildError::Component {
            name: name.to_owned(),
            message: format!("{error:#}"),
        })
}

/// Writes a file in one step, and only where its bytes change: file watchers and caches see a whole file, and nothing
/// where there is nothing new. Says whether it wrote.
///
/// # Errors
/// Where the file or its folder cannot be written.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    write_whole(path, bytes).map(|()| true)
}

/// Writes a file in one step: beside its place first, under a hidden name, and then renamed.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{file}.{}.part", std::process::id()));
    let written = fs::File::create(&beside)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        // What is half written is of no use, and may not be there at all.
        drop(fs::remove_file(&beside));
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_only_where_its_bytes_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/guest.wasm");
        assert!(write_if_changed(&path, b"one").unwrap());
        assert!(!write_if_changed(&path, b"one").unwrap());
        assert!(write_if_changed(&path, b"two").unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_put_in_place_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("guest.wasm");
        fs::create_dir(&taken).unwrap();
        assert!(write_if_changed(&taken, b"one").is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_module_without_a_contract_makes_no_component() {
        let folder = tempfile::tempdir().unwrap();
        let linked = folder.path().join("bad.wasm");
        fs::write(&linked, b"\0asm\x01\0\0\0garbage").unwrap();
        let error = component("bad", &linked).unwrap_err();
        assert!(error.to_string().contains("`bad`"), "{error}");
    }
}
