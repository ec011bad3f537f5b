//! The Rust files of the repository: how long they are, and what they are called.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;

/// Above this many lines a file is split.
const TOO_LONG: usize = 600;
/// Above this many lines one asks what it is two of.
const LONG: usize = 400;

/// Folders that hold no source of ours.
const SKIPPED: &[&str] = &["target", ".git", "node_modules"];

/// A Rust file.
pub(super) struct Source {
    /// Its path, relative to the root of the repository.
    pub(super) path: PathBuf,
    pub(super) text: String,
}

/// Reads every Rust file under `root`, in the order of their paths.
pub(super) fn read(root: &Path) -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries =
            fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?;
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            let path = entry.path();
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                folders.push(path);
            } else if kind.is_file() && path.extension().is_some_and(|extension| extension == "rs")
            {
                let text = fs::read_to_string(&path)
                    .with_context(|| format!("cannot read {}", path.display()))?;
                let path = path.strip_prefix(root).unwrap_or(&path).to_owned();
                sources.push(Source { path, text });
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sources)
}

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Source { path, text } in sources {
        let lines = text.lines().count();
        if lines > TOO_LONG {
            findings.push(Finding::failure(
                path,
                format!("{lines} lines; split it: {TOO_LONG} is the limit"),
            ));
        } else if lines > LONG {
            findings.push(Finding::warning(
                path,
                format!("{lines} lines; what is it two of?"),
            ));
        }
        if path.file_name().is_some_and(|name| name == "mod.rs") {
            findings.push(Finding::failure(
                path,
                "name it after its module, `foo.rs` beside `foo/`",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Severity;
    use super::*;

    fn source(path: &str, lines: usize) -> Source {
        Source {
            path: PathBuf::from(path),
            text: "// a line\n".repeat(lines),
        }
    }

    #[test]
    fn length_warns_and_then_fails() {
        let findings = check(&[
            source("a.rs", 400),
            source("b.rs", 401),
            source("c.rs", 600),
            source("d.rs", 601),
        ]);
        let severities: Vec<_> = findings
            .iter()
            .map(|f| (f.place.to_str().unwrap(), f.severity))
            .collect();
        assert_eq!(
            severities,
            [
                ("b.rs", Severity::Warning),
                ("c.rs", Severity::Warning),
                ("d.rs", Severity::Failure)
            ]
        );
    }

    #[test]
    fn mod_rs_fails() {
        let findings = check(&[source("src/wire/mod.rs", 1)]);
        assert_eq!(findings[0].severity, Severity::Failure);
    }

    #[test]
    fn reading_skips_build_outputs() {
        let root = tempfile::tempdir().unwrap();
        for file in ["src/lib.rs", "target/debug/generated.rs", "src/notes.txt"] {
            let path = root.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        let paths: Vec<_> = read(root.path())
            .unwrap()
            .into_iter()
            .map(|source| source.path)
            .collect();
        assert_eq!(paths, [PathBuf::from("src/lib.rs")]);
    }
}
