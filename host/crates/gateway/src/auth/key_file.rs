//! Files that the settings name: keys and sets of them. A relative path is read inside the site alone; an absolute one is the
//! operator's word. What changes in them is noticed by content.

use std::io::{self, Read as _};
use std::path::Path;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions, OpenOptionsExt as _};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

/// The largest file.
const MOST_BYTES: u64 = 1 << 20;

/// A file that is followed.
pub(super) struct KeyFile {
    path: String,
    /// What was seen last: the digest of the content, or why there was none.
    seen: Mutex<Result<[u8; 32], String>>,
}

impl KeyFile {
    /// Reads a file for the first time.
    ///
    /// # Errors
    /// Why it cannot be read, in words that follow the name of a setting.
    pub(super) fn open(path: &str, site: &Path) -> Result<(Self, Vec<u8>), String> {
        let content = read(site, path)?;
        let file = Self {
            path: path.to_owned(),
            seen: Mutex::new(Ok(digest(&content))),
        };
        Ok((file, content))
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Reads it again. Gives what it has where that is not what was seen last; one problem is given once.
    pub(super) fn news(&self, site: &Path) -> Option<Result<Vec<u8>, String>> {
        let content = read(site, &self.path);
        let now = content.as_deref().map(digest).map_err(Clone::clone);
        let mut seen = self.seen.lock();
        if *seen == now {
            return None;
        }
        *seen = now;
        Some(content)
    }
}

fn digest(content: &[u8]) -> [u8; 32] {
    Sha256::digest(content).into()
}

/// Reads a regular file.
///
/// # Errors
/// Why it cannot be read, in words that follow the name of a setting.
pub(crate) fn read(site: &Path, path: &str) -> Result<Vec<u8>, String> {
    // Opening a named pipe would wait for a writer.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let explained = |error: io::Error| explain(path, &error);
    let file = if Path::new(path).is_absolute() {
        let path = Path::new(path);
        cap_std::fs::File::open_ambient_with(path, &options, ambient_authority())
    } else {
        Dir::open_ambient_dir(site, ambient_authority())
            .and_then(|site| site.open_with(path, &options))
    };
    let file = file.map_err(explained)?;
    if !file.metadata().map_err(explained)?.is_file() {
        return Err(format!("{path} is no regular file: put a file there"));
    }
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1)
        .read_to_end(&mut content)
        .map_err(explained)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(format!("{path} has more than {MOST_BYTES} bytes"));
    }
    Ok(content)
}

fn explain(path: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("{path} is not there: put it into the site"),
        // How cap-std tells of a path that leads out.
        io::ErrorKind::PermissionDenied if error.raw_os_error().is_none() => {
            format!(
                "{path} leads out of the site: copy the file into it, or name its absolute path"
            )
        }
        _ => format!("{path} cannot be read: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_news_when_its_content_is() {
        let site = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(site.path().join("keys"), text).unwrap();
        write("one");
        let (file, content) = KeyFile::open("keys", site.path()).unwrap();
        assert_eq!(content, b"one");
        write("one");
        assert_eq!(file.news(site.path()), None);
        write("two");
        assert_eq!(file.news(site.path()), Some(Ok(b"two".to_vec())));
        assert_eq!(file.news(site.path()), None);

        std::fs::remove_file(site.path().join("keys")).unwrap();
        let problem = file.news(site.path()).unwrap().unwrap_err();
        assert_eq!(problem, "keys is not there: put it into the site");
        assert_eq!(file.news(site.path()), None);
        write("two");
        assert_eq!(file.news(site.path()), Some(Ok(b"two".to_vec())));
    }

    #[test]
    fn a_relative_path_stays_in_the_site() {
        let folder = tempfile::tempdir().unwrap();
        let site = folder.path().join("site");
        std::fs::create_dir_all(site.join("sub")).unwrap();
        std::fs::write(folder.path().join("outside"), "x").unwrap();
        std::os::unix::fs::symlink("../outside", site.join("link")).unwrap();
        for (path, what) in [
            ("../outside", "leads out"),
            ("link", "leads out"),
            ("sub", "no regular file"),
            ("none", "is not there"),
        ] {
            let problem = read(&site, path).unwrap_err();
            assert!(problem.contains(what), "{problem}");
        }
        let absolute = folder.path().join("outside");
        assert_eq!(read(&site, absolute.to_str().unwrap()), Ok(b"x".to_vec()));
    }

    #[test]
    fn a_file_is_bounded() {
        let site = tempfile::tempdir().unwrap();
        let large = vec![b'x'; MOST_BYTES as usize + 1];
        std::fs::write(site.path().join("large"), large).unwrap();
        let problem = read(site.path(), "large").unwrap_err();
        assert!(problem.contains("1048576"), "{problem}");
    }
}
