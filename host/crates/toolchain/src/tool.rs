//! Runs the tools of other languages.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;

/// Runs a tool to its end. What it says reaches standard error where it refuses, and is not shown otherwise: builds that run
/// beside each other would mix it.
pub(crate) fn run(command: &mut Command) -> Result<(), BuildError> {
    let output = command.output().map_err(|source| BuildError::Start {
        program: command.get_program().to_string_lossy().into_owned(),
        source,
    })?;
    if output.status.success() {
        return Ok(());
    }
    let mut terminal = std::io::stderr().lock();
    for text in [&output.stdout, &output.stderr] {
        // Where nobody reads, there is nobody to tell.
        drop(terminal.write_all(text));
    }
    Err(BuildError::Refused)
}

/// The text that a command writes to stdout, trimmed; none where it cannot start or fails.
pub fn answer_of(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command ends well. What it says is of no interest.
pub(crate) fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A setting of the environment; none where it is empty.
pub(crate) fn setting(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Where a file lies in a folder, or in one of those that hold it, from the inside out.
pub(crate) fn above(folder: &Path, file: &str) -> Option<PathBuf> {
    folder
        .ancestors()
        .map(|ancestor| ancestor.join(file))
        .find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tool_that_refuses_is_an_error() {
        assert!(run(&mut Command::new("true")).is_ok());
        assert!(matches!(
            run(&mut Command::new("false")),
            Err(BuildError::Refused)
        ));
        let error = run(&mut Command::new("no-such-tool-of-wharf")).unwrap_err();
        assert!(
            error.to_string().contains("no-such-tool-of-wharf"),
            "{error}"
        );
    }

    #[test]
    fn the_nearest_folder_counts() {
        let root = tempfile::tempdir().unwrap();
        let deep = root.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(root.path().join("mark"), "").unwrap();
        assert_eq!(above(&deep, "mark"), Some(root.path().join("mark")));
        std::fs::write(deep.join("mark"), "").unwrap();
        assert_eq!(above(&deep, "mark"), Some(deep.join("mark")));
    }
}
