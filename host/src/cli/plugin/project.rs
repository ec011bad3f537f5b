//! The folder of a plugin: which language it is written in, and how the plugin is called.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use wharf_core::Name;
use wharf_toolchain::{Foreign, Source};

use super::language::Language;

/// A folder with the source of a plugin.
#[derive(Debug)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    pub(super) name: Name,
    pub(super) language: Language,
}

impl Project {
    /// Finds out what the folder holds, by its files.
    ///
    /// # Errors
    /// Where it holds no plugin, or its name cannot be one.
    pub(super) fn open(folder: &Path) -> Result<Self> {
        // Commands run in the folder, so a relative path would mean another one there.
        let folder =
            resolved(folder).with_context(|| format!("{} cannot be opened", folder.display()))?;
        let has = |file: &str| folder.join(file).is_file();
        let foreign = Foreign::ALL
            .into_iter()
            .find(|language| has(language.file()));
        let (language, name) = match foreign {
            _ if has("Cargo.toml") => (Language::Rust, cargo_name(&folder.join("Cargo.toml"))?),
            Some(language) => {
                let source = Source::open(&folder)?;
                (Language::Foreign(language), source.name().to_owned())
            }
            None => bail!(
                "{} holds no plugin: it has no Cargo.toml, plugin.py, plugin.js or plugin.c; `wharf plugin new` makes one",
                folder.display()
            ),
        };
        let name =
            Name::new(&name).with_context(|| format!("{name:?} cannot be a plugin's name"))?;
        Ok(Self {
            folder,
            name,
            language,
        })
    }

    /// Where `build` puts the component.
    pub(super) fn component(&self) -> PathBuf {
        self.folder.join(format!("{}.wasm", self.name))
    }

    /// The settings that go with it into a site.
    pub(super) fn settings(&self) -> PathBuf {
        self.folder.join(format!("{}.toml", self.name))
    }
}

/// The folder without links and `..`: cargo names folders so.
#[expect(
    clippy::disallowed_methods,
    reason = "it is the author's own folder on the command line, and no path inside a site"
)]
pub(super) fn resolved(folder: &Path) -> io::Result<PathBuf> {
    fs::canonicalize(folder)
}

/// Reads a TOML file.
pub(super) fn read_toml(file: &Path) -> Result<toml::Table> {
    let text =
        fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    text.parse()
        .with_context(|| format!("{} is no TOML", file.display()))
}

fn cargo_name(manifest: &Path) -> Result<String> {
    let table = read_toml(manifest)?;
    table
        .get("package")
        .and_then(|package| package.get("name")?.as_str())
        .map(str::to_owned)
        .with_context(|| format!("{} has no package.name", manifest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_is_a_plugin_of_its_name() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("Cargo.toml"),
            "[package]\nname = \"shout\"\n",
        )
        .unwrap();
        let project = Project::open(folder.path()).unwrap();
        assert_eq!(project.name.as_str(), "shout");
        assert_eq!(project.language, Language::Rust);
        assert_eq!(project.component().file_name().unwrap(), "shout.wasm");
    }

    #[test]
    fn another_folder_is_refused_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let error = Project::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains("wharf plugin new"), "{error}");
        fs::write(folder.path().join("Cargo.toml"), "[package]\nname = 3\n").unwrap();
        assert!(Project::open(folder.path()).is_err());
    }
}
