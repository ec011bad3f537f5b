//! Finds the Rust SDK: it is not published, so a new plugin depends on the folder that its source lies in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::plugin::project::{read_toml, resolved};

const PACKAGE: &str = "wharf-plugin-sdk";
const FOLDER: &str = "plugin-sdk";

/// The folder given, or the first `plugin-sdk` above this program or above the new plugin.
///
/// # Errors
/// Where the one given is not the SDK, or none is found.
pub(super) fn find(given: Option<&Path>, parent: &Path) -> Result<PathBuf> {
    if let Some(folder) = given {
        if !is_sdk(folder) {
            bail!(
                "{} is not the SDK: give the folder `{FOLDER}` of Wharf's source with --sdk",
                folder.display()
            );
        }
        return absolute(folder);
    }
    let program = std::env::current_exe().ok();
    let parent = std::path::absolute(parent).ok();
    let found = [program, parent]
        .iter()
        .flatten()
        .flat_map(|place| place.ancestors())
        .map(|folder| folder.join(FOLDER))
        .find(|folder| is_sdk(folder));
    match found {
        Some(folder) => absolute(&folder),
        None => bail!(
            "the Rust SDK is not found: fetch Wharf's source, and give its folder `{FOLDER}` with --sdk or WHARF_SDK"
        ),
    }
}

fn is_sdk(folder: &Path) -> bool {
    read_toml(&folder.join("Cargo.toml")).is_ok_and(|manifest| {
        manifest
            .get("package")
            .and_then(|package| package.get("name")?.as_str())
            == Some(PACKAGE)
    })
}

fn absolute(folder: &Path) -> Result<PathBuf> {
    resolved(folder).with_context(|| format!("{} cannot be opened", folder.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn make_sdk(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(
            folder.join("Cargo.toml"),
            "[package]\nname = \"wharf-plugin-sdk\"\n",
        )
        .unwrap();
    }

    #[test]
    fn the_folder_given_must_be_the_sdk() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find(Some(folder.path()), folder.path()).is_err());
        fs::write(folder.path().join("Cargo.toml"), "[workspace]\n").unwrap();
        assert!(find(Some(folder.path()), folder.path()).is_err());
        make_sdk(folder.path());
        assert!(find(Some(folder.path()), folder.path()).is_ok());
    }
}
