//! Prepares a change of a model in a folder aside, laid out like a site of that model alone, so that an engine can list and
//! load what would serve before anything of the site is touched. Everything here blocks.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::Path;

use cap_std::fs::Dir;
use wharf_core::{Engine, Error, ErrorKind, LoadError, ModelFolder, ModelVersion, Name, Result};

use super::change::{FileContent, ModelChange};
use super::commit::{Change, Workspace, not_written};
use super::edit::edited;
use super::no_such_model;
use super::precondition::digest_of;
use crate::registry::{lay, tenants_of};

/// The longest `model.toml`, and how deep a model's folder is looked into.
const MAX_SETTINGS: u64 = 1 << 20;
const MAX_DEPTH: usize = 6;

/// A change that is prepared. Dropping it takes it back.
pub(crate) struct Staged {
    workspace: Workspace,
    change: Change,
    serve: Vec<ModelVersion>,
}

impl Staged {
    /// Prepares a change, and lists what would serve after it.
    ///
    /// # Errors
    /// `NotFound` where there is no such model and no files; `InvalidArgument` where a given version is none;
    /// `Unprocessable` where the engine refuses the folder; `Unavailable` where the site cannot be written; `Conflict` where what must be
    /// so is not.
    pub(crate) fn prepare(
        site: &Path,
        name: &Name,
        change: &ModelChange,
        engine: &dyn Engine,
    ) -> Result<Self> {
        let workspace = Workspace::open(site)?;
        let there = model_folder(&workspace.root, name)?;
        let text = there
            .as_ref()
            .map(|there| settings(there, name))
            .transpose()?;
        let tenants = text.as_deref().map(tenants_of);
        change.by.check(name, tenants.as_ref())?;
        let content = text.as_ref().map(|text| digest_of(text.as_bytes()));
        change.only_if.check(content)?;
        if there.is_none() && change.files.is_empty() && change.document.is_none() {
            return Err(no_such_model(name));
        }
        let mut staged = Self {
            change: Change {
                model: name.clone(),
                versions: change.files.iter().map(|file| file.version).collect(),
                settings: change.has_settings() || (there.is_none() && change.by.own().is_some()),
                new: there.is_none(),
            },
            serve: Vec::new(),
            workspace,
        };
        staged.put_files(change).map_err(not_written)?;
        if let Some(there) = &there {
            staged.stand_in(there).map_err(not_written)?;
        }
        staged.put_settings(text.unwrap_or_default(), change)?;
        staged.list(there.as_ref(), change, engine)?;
        Ok(staged)
    }

    /// Whether the site has no such model yet.
    pub(crate) fn is_new(&self) -> bool {
        self.change.new
    }

    /// The versions that would serve. The site of each is where it can be loaded from now.
    pub(crate) fn serve(&self) -> &[ModelVersion] {
        &self.serve
    }

    /// Puts the change into the site: all of it, or where that fails nothing of it.
    ///
    /// # Errors
    /// `Unavailable` where the site cannot be written.
    pub(crate) fn commit(self) -> Result<()> {
        self.workspace.commit(&self.change)
    }

    #[cfg(test)]
    pub(super) fn parts(&mut self) -> (&mut Workspace, &Change) {
        (&mut self.workspace, &self.change)
    }

    /// Writes the given files, for good: what is committed later is on disk by then.
    fn put_files(&mut self, change: &ModelChange) -> io::Result<()> {
        let base = self.workspace.staged(&self.change.model);
        self.workspace.root.create_dir_all(&base)?;
        for file in &change.files {
            let path = format!("{base}/{}/{}", file.version, file.path);
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            self.workspace.root.create_dir_all(folder)?;
            match &file.data {
                FileContent::Bytes(data) => self.workspace.put(&path, data)?,
                FileContent::Moved(from) => self.workspace.take(from, &path)?,
            }
        }
        Ok(())
    }

    /// Lets the staged folder look like the site's for whoever lists it: versions that are not given stand there with empty
    /// files, and other files, such as those that `model.toml` names, are copied.
    fn stand_in(&self, there: &Dir) -> io::Result<()> {
        let base = self.workspace.staged(&self.change.model);
        let root = &self.workspace.root;
        for name in names(there, ".")? {
            let target = format!("{base}/{name}");
            let Ok(metadata) = there.metadata(&name) else {
                continue;
            };
            match version_of(&name) {
                Some(version) if self.change.versions.contains(&version) => {}
                Some(_) if metadata.is_dir() => {
                    root.create_dir_all(&target)?;
                    for file in names(there, &name)? {
                        if there.is_file(format!("{name}/{file}")) {
                            root.create(format!("{target}/{file}"))?;
                        }
                    }
                }
                _ if name == "model.toml" => {}
                _ => Carrying { there, root }.run(&name, &target, MAX_DEPTH)?,
            }
        }
        Ok(())
    }

    /// Writes `model.toml` as it will be.
    fn put_settings(&self, mut text: String, change: &ModelChange) -> Result<()> {
        let name = &self.change.model;
        if let Some(document) = &change.document {
            text = lay(&text, &document.entries(&history(&text)));
        }
        if !change.settings.is_empty() {
            text = edited(name, &text, &change.settings)?;
        }
        // What a tenant registers is its own, and stays so whatever it says.
        if let Some(own) = change.by.own().filter(|_| self.change.settings) {
            text = edited(name, &text, &[own])?;
        }
        if self.change.settings || !text.is_empty() {
            let path = format!("{}/model.toml", self.workspace.staged(name));
            let put = self.workspace.put(&path, text.as_bytes());
            put.map_err(not_written)?;
        }
        Ok(())
    }

    /// Finds out what would serve. Of the versions that are not given, those that would serve are copied, where it is not
    /// known already what they are: with other settings they are loaded anew.
    fn list(
        &mut self,
        there: Option<&Dir>,
        change: &ModelChange,
        engine: &dyn Engine,
    ) -> Result<()> {
        let name = &self.change.model;
        let folder = |site| ModelFolder {
            site,
            name: name.clone(),
        };
        let staged = folder(self.workspace.site.join(self.workspace.folder()));
        let list = || {
            let found = engine.versions(&staged);
            found.map_err(|error| change.refused(name, error))
        };
        let mut found = list()?;
        let is_one = |version: u64| {
            let served = found.serve.iter().any(|serve| serve.version == version);
            served || found.idle.contains(&version)
        };
        if let Some(file) = change.files.iter().find(|file| !is_one(file.version)) {
            return Err(file.invalid(
                "the files of this version have no model among them; send it as model.onnx",
            ));
        }
        let known = match there {
            Some(_) if !self.change.settings => {
                engine.versions(&folder(self.workspace.site.clone())).ok()
            }
            _ => None,
        };
        let known = known.map(|known| known.serve).unwrap_or_default();
        let base = self.workspace.staged(name);
        let mut copied = false;
        for version in &found.serve {
            let number = version.version;
            let here = self.change.versions.contains(&number);
            if let (false, Some(there)) = (here || known.iter().any(|k| k.version == number), there)
            {
                let target = format!("{base}/{number}");
                let root = &self.workspace.root;
                let copies = Carrying { there, root };
                root.remove_dir_all(&target)
                    .and_then(|()| copies.run(&number.to_string(), &target, MAX_DEPTH))
                    .map_err(not_written)?;
                copied = true;
            }
        }
        if copied {
            found = list()?;
        }
        self.serve = found
            .serve
            .into_iter()
            .map(|version| {
                let untouched = |known: &&ModelVersion| {
                    known.version == version.version
                        && !self.change.versions.contains(&version.version)
                };
                known.iter().find(untouched).cloned().unwrap_or(version)
            })
            .collect();
        Ok(())
    }
}

/// Copies what is in the model's folder into the staged one. A second name of a file would cost less, but an engine takes a
/// file of several names for one that belongs elsewhere, here and in the site.
struct Carrying<'a> {
    there: &'a Dir,
    root: &'a Dir,
}

impl Carrying<'_> {
    /// Carries a file or a folder. What leads out of the model's folder is left out, as an engine would.
    fn run(&self, path: &str, target: &str, depth: usize) -> io::Result<()> {
        match self.there.metadata(path) {
            Ok(metadata) if metadata.is_dir() && depth > 0 => {
                self.root.create_dir_all(target)?;
                for name in names(self.there, path)? {
                    let (path, target) = (format!("{path}/{name}"), format!("{target}/{name}"));
                    self.run(&path, &target, depth - 1)?;
                }
                Ok(())
            }
            Ok(metadata) if metadata.is_file() => {
                self.there.copy(path, self.root, target).map(|_bytes| ())
            }
            _ => Ok(()),
        }
    }
}

/// Opens the folder of a model; none where there is none.
fn model_folder(root: &Dir, name: &Name) -> Result<Option<Dir>> {
    let path = format!("models/{name}");
    let refused = |message: &'static str| Error::new(ErrorKind::Unprocessable, message);
    match root.symlink_metadata(&path) {
        Ok(metadata) if metadata.is_dir() => root.open_dir(&path).map(Some).map_err(|error| {
            refused("the model's folder cannot be opened within the site").with_source(error)
        }),
        Ok(_) => Err(refused(
            "only a folder of the site can be changed, and this is a link or a file",
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => {
            Err(refused("the model's folder cannot be opened within the site").with_source(error))
        }
    }
}

/// The names in a folder but for the hidden ones, sorted.
fn names(there: &Dir, path: &str) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in there.read_dir(path)? {
        if let Ok(name) = entry?.file_name().into_string()
            && !name.starts_with('.')
        {
            names.insert(name);
        }
    }
    Ok(names)
}

fn version_of(name: &str) -> Option<u64> {
    name.parse()
        .ok()
        .filter(|version: &u64| version.to_string() == name)
}

/// The history of a model, which no document replaces.
fn history(text: &str) -> Vec<u64> {
    let table = text.parse::<toml::Table>().ok();
    let registry = table.and_then(|mut table| table.remove("registry"));
    let history = registry.and_then(|registry| registry.get("history").cloned());
    history
        .and_then(|history| history.try_into().ok())
        .unwrap_or_default()
}

/// The text of `model.toml`; empty where there is none.
fn settings(there: &Dir, name: &Name) -> Result<String> {
    let refused = |message: &str| {
        let error = LoadError::new(format!("models/{name}/model.toml"), message);
        let message = format!("the model's settings cannot be changed: {message}");
        Error::new(ErrorKind::Unprocessable, message).with_source(error)
    };
    match there.metadata("model.toml") {
        Ok(metadata) if !metadata.is_file() => {
            return Err(refused("the file is no regular one; replace it by one"));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(refused("the file cannot be read").with_source(error)),
    }
    let mut text = String::new();
    there
        .open("model.toml")
        .and_then(|file| file.take(MAX_SETTINGS + 1).read_to_string(&mut text))
        .map_err(|error| refused("the file cannot be read").with_source(error))?;
    if text.len() as u64 > MAX_SETTINGS {
        return Err(refused("the file is longer than 1 MiB; make it shorter"));
    }
    Ok(text)
}

impl Workspace {
    /// Writes a file, and waits until it is on disk.
    fn put(&self, path: &str, data: &[u8]) -> io::Result<()> {
        let mut file = self.root.create(path)?;
        file.write_all(data)?;
        file.sync_all()
    }

    /// Takes a file over from beside the site's, and waits until it is on disk.
    fn take(&self, from: &Path, path: &str) -> io::Result<()> {
        let to = self.site.join(path);
        if let Err(error) = std::fs::rename(from, &to) {
            if error.kind() != io::ErrorKind::CrossesDevices {
                return Err(error);
            }
            std::fs::copy(from, &to)?;
            std::fs::remove_file(from)?;
        }
        std::fs::File::open(&to)?.sync_all()
    }
}
