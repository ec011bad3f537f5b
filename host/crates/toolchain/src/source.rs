//! The source of a plugin in another language than Rust: a folder with one source file and the world that it exports.

use std::fs;
use std::path::{Path, PathBuf};

use wit_bindgen_core::wit_parser::{Resolve, SourceMap, WorldId};

use crate::{BuildError, contract, write_if_changed};

/// Where the author says what the plugin exports and imports.
const WORLD_FILE: &str = "wit/world.wit";

/// A plugin's folder: `plugin.py`, `plugin.js` or `plugin.c`, and `wit/world.wit`.
///
/// The world has the plugin's name and is made of the contract's worlds:
///
/// ```wit
/// package local:top-words;
///
/// world top-words {
///     include wharf:plugin/preprocessor@1.1.0;
///     include wharf:plugin/living@1.1.0;
/// }
/// ```
#[derive(Debug)]
pub struct Source {
    folder: PathBuf,
    name: String,
    text: String,
    resolve: Resolve,
    world_id: WorldId,
}

impl Source {
    /// Reads the world of the plugin in a folder.
    ///
    /// # Errors
    /// Where it has no world, or one that the contract does not allow.
    pub fn open(folder: &Path) -> Result<Self, BuildError> {
        let file = folder.join(WORLD_FILE);
        let text = fs::read_to_string(&file).map_err(|source| BuildError::Read {
            path: file.clone(),
            source,
        })?;
        let resolved = resolve(&text).map_err(|message| BuildError::World {
            path: file,
            message,
        })?;
        let (resolve, world_id) = resolved;
        Ok(Self {
            folder: folder.to_owned(),
            name: resolve.worlds[world_id].name.clone(),
            text,
            resolve,
            world_id,
        })
    }

    /// Whether a plugin can have this name: it is that of a package and of a world, and WIT keeps some words for itself.
    #[must_use]
    pub fn can_be_named(name: &str) -> bool {
        resolve(&format!("package local:{name}; world {name} {{}}")).is_ok()
    }

    /// The name of the plugin, which is that of its world.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The plugin's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The world, as the generators of bindings take it.
    pub(crate) fn world(&self) -> (Resolve, WorldId) {
        (self.resolve.clone(), self.world_id)
    }

    /// Writes the world, and the contract that it is made of, into a folder `wit` for tools that read files. Gives that folder.
    pub(crate) fn write_wit(&self, scratch: &Path) -> Result<PathBuf, BuildError> {
        let wit = scratch.join("wit");
        write(&wit.join("world.wit"), self.text.as_bytes())?;
        for (name, text) in contract::FILES {
            write(&wit.join("deps/wharf-plugin").join(name), text.as_bytes())?;
        }
        Ok(wit)
    }
}

/// Writes a file of a build.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    write_if_changed(path, bytes)
        .map(drop)
        .map_err(|source| BuildError::Write {
            path: path.to_owned(),
            source,
        })
}

/// Reads what a tool wrote.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, BuildError> {
    fs::read(path).map_err(|source| BuildError::Read {
        path: path.to_owned(),
        source,
    })
}

fn resolve(text: &str) -> Result<(Resolve, WorldId), String> {
    let mut contract = SourceMap::new();
    for (name, text) in contract::FILES {
        contract.push_str(name, text);
    }
    let contract = contract.parse().map_err(|(_, error)| error.to_string())?;
    let mut resolve = Resolve::default();
    resolve
        .push_group(contract)
        .map_err(|error| error.to_string())?;
    let package = resolve
        .push_source(WORLD_FILE, text)
        .map_err(|error| format!("{error:#}"))?;
    let mut worlds = resolve.packages[package].worlds.values();
    match (worlds.next(), worlds.next()) {
        (Some(&world), None) => Ok((resolve, world)),
        _ => Err("it needs exactly one world, with the name of the plugin".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(world: &str) -> Result<Source, String> {
        let folder = tempfile::tempdir().unwrap();
        write(&folder.path().join(WORLD_FILE), world.as_bytes()).unwrap();
        Source::open(folder.path()).map_err(|error| error.to_string())
    }

    #[test]
    fn the_name_is_that_of_the_world() {
        let source = open(
            "package local:shout; world shout { include wharf:plugin/preprocessor@1.1.0; include wharf:plugin/living@1.1.0; }",
        );
        assert_eq!(source.unwrap().name(), "shout");
    }

    #[test]
    fn a_world_that_the_contract_does_not_have_is_named() {
        let error =
            open("package local:shout; world shout { include wharf:plugin/guesser@1.1.0; }")
                .unwrap_err();
        assert!(error.contains("guesser"), "{error}");
    }

    #[test]
    fn words_of_wit_are_no_names() {
        for name in ["list", "world", "a--b", "", "a; world b {} world c"] {
            assert!(!Source::can_be_named(name), "{name}");
        }
        for name in ["shout", "top-k", "my-list", "v-2"] {
            assert!(Source::can_be_named(name), "{name}");
        }
    }

    #[test]
    fn two_worlds_are_refused() {
        let error = open("package local:shout; world one {} world two {}").unwrap_err();
        assert!(error.contains("exactly one world"), "{error}");
    }

    #[test]
    fn a_folder_without_a_world_is_refused_with_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Source::open(folder.path()).unwrap_err();
        assert!(error.to_string().contains(WORLD_FILE), "{error}");
    }
}
