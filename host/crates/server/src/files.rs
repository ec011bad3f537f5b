//! Files that the settings of the listeners name: certificates, keys and tokens.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// The largest file. Bundles of authorities have some 300 KB.
const MOST_BYTES: u64 = 4 << 20;

/// Reads a file whole. Blocks.
///
/// # Errors
/// Why it cannot be read, in words that follow its name.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let explain = |error: io::Error| format!("cannot be read: {error}");
    // Opening a named pipe would wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(explain)?;
    if !file.metadata().map_err(explain)?.is_file() {
        return Err("is no regular file; put a file there".to_owned());
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(explain)?;
    if content.len() as u64 > MOST_BYTES {
        return Err("has more than 4 MiB, the most that is read".to_owned());
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        assert!(read(&path).unwrap_err().starts_with("cannot be read: "));
        assert!(read(folder.path()).unwrap_err().contains("no regular file"));
        std::fs::write(&path, "text").unwrap();
        assert_eq!(read(&path).unwrap(), b"text");
        std::fs::write(&path, vec![0; (MOST_BYTES + 1) as usize]).unwrap();
        assert!(read(&path).unwrap_err().contains("4 MiB"));
    }
}
