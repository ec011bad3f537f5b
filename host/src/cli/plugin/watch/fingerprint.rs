//! What the files of a plugin are like: another fingerprint is a reason to build.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};

use crate::cli::plugin::project::Project;

/// Folders that hold no source.
const SKIPPED: [&str; 4] = ["target", "node_modules", "cases", "__pycache__"];

/// The files with their times and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Fingerprint {
    /// Looks at the plugin's folder. What is built there does not count, nor do cases and hidden files.
    ///
    /// # Errors
    /// Where the folder cannot be listed.
    pub(super) fn of(project: &Project) -> Result<Self> {
        let mut files = BTreeMap::new();
        look(&project.folder, &mut files)
            .with_context(|| format!("{} cannot be listed", project.folder.display()))?;
        Ok(Self(files))
    }

    /// The same, after some time.
    pub(super) fn of_after(project: &Project, pause: Duration) -> Result<Self> {
        std::thread::park_timeout(pause);
        Self::of(project)
    }
}

fn look(folder: &Path, files: &mut BTreeMap<PathBuf, (Option<SystemTime>, u64)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        // A file may go while it is looked at: then it is not there.
        let Ok(metadata) = fs::metadata(&path) else {
            continue;
        };
        if name.starts_with('.') || SKIPPED.contains(&name.as_ref()) {
            continue;
        }
        if metadata.is_dir() {
            match look(&path, files) {
                // So may a folder.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                looked => looked?,
            }
        } else if !is_output(&name) {
            files.insert(path, (metadata.modified().ok(), metadata.len()));
        }
    }
    Ok(())
}

/// What a build writes into the folder itself.
fn is_output(name: &str) -> bool {
    name.ends_with(".wasm") || name == "Cargo.lock" || name.contains(".partial-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_count_and_outputs_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("Cargo.toml", "[package]\nname = \"shout\"\n");
        write("src/lib.rs", "one");
        let project = Project::open(folder.path()).unwrap();
        let before = Fingerprint::of(&project).unwrap();
        for output in [
            "shout.wasm",
            "target/release/a",
            "Cargo.lock",
            ".git/HEAD",
            "cases/a/input.json",
        ] {
            write(output, "built");
        }
        assert_eq!(Fingerprint::of(&project).unwrap(), before);
        write("src/lib.rs", "three");
        assert_ne!(Fingerprint::of(&project).unwrap(), before);
    }
}
