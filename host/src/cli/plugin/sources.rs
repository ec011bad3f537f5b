//! The files that a plugin is built from.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::{Context, Result};

use super::project::Project;

/// Folders that hold no source.
const SKIPPED: [&str; 4] = ["target", "node_modules", "cases", "__pycache__"];

/// The files of a plugin with their times and sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sources(BTreeMap<PathBuf, (Option<SystemTime>, u64)>);

impl Sources {
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

    /// A source that was written after the plugin's component. Settings and texts do not count: they go into a site beside it.
    /// Neither do sources in other folders, which are not known here.
    pub(super) fn newer_than_component(&self, project: &Project) -> Option<&Path> {
        let component = fs::metadata(project.component()).ok()?.modified().ok()?;
        let settings = project.settings();
        let files = self.0.iter().filter(|(path, _)| {
            **path != settings && path.extension().is_none_or(|extension| extension != "md")
        });
        let newest = files.max_by_key(|(_, (modified, _))| *modified)?;
        let (path, (modified, _)) = newest;
        modified.filter(|modified| *modified > component)?;
        Some(path)
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
    use std::time::Duration;

    use super::*;

    fn write(folder: &Path, name: &str, text: &str) {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn shout(folder: &Path) -> Project {
        write(folder, "Cargo.toml", "[package]\nname = \"shout\"\n");
        write(folder, "src/lib.rs", "one");
        Project::open(folder).unwrap()
    }

    #[test]
    fn sources_count_and_outputs_do_not() {
        let folder = tempfile::tempdir().unwrap();
        let project = shout(folder.path());
        let before = Sources::of(&project).unwrap();
        for output in [
            "shout.wasm",
            "target/release/a",
            "Cargo.lock",
            ".git/HEAD",
            "cases/a/input.json",
        ] {
            write(folder.path(), output, "built");
        }
        assert_eq!(Sources::of(&project).unwrap(), before);
        write(folder.path(), "src/lib.rs", "three");
        assert_ne!(Sources::of(&project).unwrap(), before);
    }

    #[test]
    fn a_source_that_was_written_after_the_component_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let project = shout(folder.path());
        let newer = || {
            let sources = Sources::of(&project).unwrap();
            let newer = sources.newer_than_component(&project);
            newer.map(|path| path.strip_prefix(&project.folder).unwrap().to_owned())
        };
        let built = SystemTime::now();
        let set = |name: &str, age: i64| {
            write(folder.path(), name, "");
            let seconds = Duration::from_secs(age.unsigned_abs());
            let time = if age < 0 {
                built + seconds
            } else {
                built - seconds
            };
            let file = fs::File::options()
                .write(true)
                .open(folder.path().join(name))
                .unwrap();
            file.set_modified(time).unwrap();
        };
        set("Cargo.toml", 5);
        set("src/lib.rs", 5);
        assert_eq!(newer(), None, "it is not built");
        set("shout.wasm", 0);
        for beside in ["shout.toml", "README.md", "cases/a/input.json"] {
            set(beside, -5);
        }
        assert_eq!(newer(), None);
        set("src/lib.rs", -5);
        assert_eq!(newer(), Some(PathBuf::from("src/lib.rs")));
    }
}
