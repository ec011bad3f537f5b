//! Guests: a first-party plugin has native tests, and a test guest has a host test that runs it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::Finding;
use super::sources::Source;

const PLUGINS: &str = "plugins";
const TEST_GUESTS: &str = "tests/guests";

pub(super) fn check(root: &Path, sources: &[Source]) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for guest in guests(root, PLUGINS)? {
        let tested = sources
            .iter()
            .any(|source| source.path.starts_with(&guest) && source.text.contains("#[test]"));
        if !tested {
            findings.push(Finding::failure(guest, "the plugin has no native test"));
        }
    }
    for guest in guests(root, TEST_GUESTS)? {
        let Some(name) = guest.file_name().and_then(|name| name.to_str()) else {
            continue;
        };
        let used = sources
            .iter()
            .filter(|source| is_host_source(&source.path))
            .any(|source| names(&source.text, name));
        if !used {
            findings.push(Finding::failure(
                &guest,
                format!("no test in host/ or tests/ runs the guest `{name}`"),
            ));
        }
    }
    Ok(findings)
}

/// Lists the crates in a guest workspace; nothing where the workspace does not exist yet.
fn guests(root: &Path, workspace: &str) -> Result<Vec<PathBuf>> {
    let folder = root.join(workspace);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let mut guests = Vec::new();
    for entry in
        fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            guests.push(Path::new(workspace).join(entry.file_name()));
        }
    }
    guests.sort();
    Ok(guests)
}

fn is_host_source(path: &Path) -> bool {
    (path.starts_with("host") || path.starts_with("tests")) && !path.starts_with(TEST_GUESTS)
}

/// Whether the text names the guest, as its folder is called or as cargo calls its output.
fn names(text: &str, guest: &str) -> bool {
    has_word(text, guest) || has_word(text, &guest.replace('-', "_"))
}

/// Whether the word stands alone in the text: `echo` is neither in `echoes` nor in `echo-late`.
fn has_word(text: &str, word: &str) -> bool {
    let part_of_a_word = |character: char| character.is_alphanumeric() || "-_".contains(character);
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + word.len()..].chars().next();
        !before.is_some_and(part_of_a_word) && !after.is_some_and(part_of_a_word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Makes a repository with the files given, and checks its guests.
    fn check_files(files: &[(&str, &str)]) -> Vec<Finding> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let sources = super::super::sources::read(root.path()).unwrap();
        check(root.path(), &sources).unwrap()
    }

    #[test]
    fn a_plugin_without_a_native_test_fails() {
        let findings = check_files(&[
            ("plugins/top-k/Cargo.toml", ""),
            ("plugins/top-k/src/lib.rs", "#[test]\nfn works() {}"),
            ("plugins/canary/Cargo.toml", ""),
            ("plugins/canary/src/lib.rs", "fn untested() {}"),
        ]);
        assert_eq!(
            findings,
            [Finding::failure(
                "plugins/canary",
                "the plugin has no native test"
            )]
        );
    }

    #[test]
    fn a_test_guest_that_no_host_test_names_fails() {
        let findings = check_files(&[
            ("tests/guests/looping/Cargo.toml", ""),
            ("tests/guests/looping/src/lib.rs", "// looping"),
            ("tests/guests/echo/Cargo.toml", ""),
            (
                "host/crates/sandbox/tests/calls.rs",
                r#"guest("echo"); guest("looping-twice")"#,
            ),
        ]);
        let places: Vec<_> = findings
            .iter()
            .map(|finding| finding.place.as_path())
            .collect();
        assert_eq!(places, [Path::new("tests/guests/looping")]);
    }

    #[test]
    fn a_repository_without_guests_passes() {
        assert_eq!(check_files(&[("host/src/main.rs", "")]), []);
    }

    #[test]
    fn a_name_is_a_whole_word() {
        assert!(names(r#"load("echo.wasm")"#, "echo"));
        assert!(names(r#"load("late_echo.wasm")"#, "late-echo"));
        assert!(!names("echoes", "echo"));
        assert!(!names("echo-late", "echo"));
    }
}
