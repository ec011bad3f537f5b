//! Prepares a change of a part of the site, checks it, and lands it by one rename. Everything here blocks.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Error, ErrorKind, LoadError, Name, PluginFile, PluginRelease, Result};

use super::{PartContent, SiteChange, SitePart};
use crate::in_force::InForce;
use crate::lifecycle::commit::{Workspace, not_written};
use crate::lifecycle::digest_of;
use crate::registry::{lay, tenants_of};
use crate::route::parse;

/// The most that is read of a file: of a component more than any may have.
const MAX_BYTES: u64 = 1 << 30;

/// A change that is prepared and checked. Dropping it takes it back.
pub(crate) struct StagedPart {
    workspace: Workspace,
    part: SitePart,
    removes: bool,
}

impl StagedPart {
    /// Prepares a change, and checks it with what is in force.
    ///
    /// # Errors
    /// As [`Serving::change_site`](crate::Serving::change_site).
    pub(crate) fn prepare(change: SiteChange, in_force: &InForce) -> Result<Self> {
        let workspace = Workspace::open(&in_force.site)?;
        let SiteChange {
            part,
            content,
            only_if,
            by,
        } = change;
        let path = part.path();
        let there = match &part {
            SitePart::Model(_) => read_model(&in_force.site.join(&path))?,
            _ => read_file(&in_force.site.join(&path))?,
        };
        if let SitePart::Model(name) = &part {
            let settings = there.as_ref();
            let tenants = settings.map(|text| tenants_of(&String::from_utf8_lossy(text)));
            by.check(name, tenants.as_ref())?;
        }
        only_if.check(there.as_ref().map(|there| digest_of(there)))?;
        let staged = Self {
            workspace,
            removes: matches!(content, PartContent::Nothing),
            part,
        };
        let content = match content {
            PartContent::Nothing if there.is_none() => return Err(staged.part.not_found()),
            PartContent::Nothing => {
                staged.check_users(in_force)?;
                return Ok(staged);
            }
            PartContent::Bytes(bytes) => bytes,
            PartContent::Entries(entries) => {
                let there = there.unwrap_or_default();
                let text = String::from_utf8_lossy(&there);
                lay(&text, &entries).into()
            }
        };
        staged.put(&path, &content).map_err(not_written)?;
        match &staged.part {
            SitePart::Route(name) => check_route(name, &content, in_force)?,
            SitePart::Plugin(name) => staged.check_plugin(name, in_force)?,
            SitePart::PluginSettings(name) => {
                let component = SitePart::Plugin(name.clone()).path();
                match in_force.site.join(component).is_file() {
                    true => staged.check_plugin(name, in_force)?,
                    false => check_toml(&path, &content)?,
                }
            }
            SitePart::Model(_) => {
                return Err(Error::internal("a model is changed by a load"));
            }
        }
        Ok(staged)
    }

    /// Puts the change into the site.
    ///
    /// # Errors
    /// `Unavailable` where the site cannot be written; then nothing has changed.
    pub(crate) fn land(self) -> Result<()> {
        self.moved().map_err(not_written)
    }

    fn moved(&self) -> io::Result<()> {
        let (root, folder) = (&self.workspace.root, self.workspace.folder());
        let path = self.part.path();
        let parent = path.split_once('/').map_or("", |(parent, _)| parent);
        if self.removes {
            root.create_dir_all(format!("{folder}/old"))?;
            root.rename(&path, root, format!("{folder}/old/removed"))?;
            if let SitePart::Plugin(name) = &self.part {
                // Without the component, nobody reads them.
                for rest in ["toml", "wasm.sig"] {
                    let _none = root.remove_file(format!("plugins/{name}.{rest}"));
                }
            }
        } else {
            root.create_dir_all(parent)?;
            root.rename(format!("{folder}/{path}"), root, &path)?;
        }
        File::open(self.workspace.site.join(parent))?.sync_all()
    }

    fn put(&self, path: &str, content: &[u8]) -> io::Result<()> {
        let path = format!("{}/{path}", self.workspace.folder());
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        self.workspace.root.create_dir_all(parent)?;
        self.workspace.root.write(&path, content)?;
        File::open(self.workspace.site.join(&path))?.sync_all()
    }

    /// Copies a file of the site beside what is staged, where there is one and nothing is staged in its place.
    fn stand_in(&self, path: &str) -> io::Result<()> {
        let (root, target) = (
            &self.workspace.root,
            format!("{}/{path}", self.workspace.folder()),
        );
        if root.exists(&target) || !root.is_file(path) {
            return Ok(());
        }
        let parent = target.rsplit_once('/').map_or("", |(parent, _)| parent);
        root.create_dir_all(parent)?;
        root.copy(path, root, &target).map(drop)
    }

    /// Compiles the plugin, starts it and lets it test itself, with the files that its settings name; and looks whether it still has the
    /// stages that routes call.
    fn check_plugin(&self, name: &Name, in_force: &InForce) -> Result<()> {
        for rest in ["wasm", "toml", "wasm.sig"] {
            self.stand_in(&format!("plugins/{name}.{rest}"))
                .map_err(not_written)?;
        }
        let host = in_force.ports().plugins;
        let staged = PluginFile {
            site: self.workspace.site.join(self.workspace.folder()),
            name: name.clone(),
        };
        let read = || {
            host.read(&staged)
                .map_err(|error| refused(&self.part, error))
        };
        let mut release = read()?;
        let named: BTreeSet<Arc<str>> = release
            .files
            .iter()
            .map(|file| Arc::clone(&file.path))
            .collect();
        let inside = named
            .iter()
            .filter(|path| Path::new(&***path).is_relative());
        let mut copied = false;
        for path in inside {
            // One that leads out is left out here, and the reading says so.
            copied |= self.stand_in(path).is_ok();
        }
        if copied {
            release = read()?;
        }
        let release = PluginRelease {
            site: self.workspace.site.clone(),
            ..release
        };
        let plugin = host
            .load(&release)
            .map_err(|error| refused(&self.part, error))?;
        let stages = &plugin.info().stages;
        let snapshot = in_force.snapshot();
        let routes = snapshot.routes().filter(|route| route.release().is_none());
        for route in routes {
            if let Some(stage) = route
                .spec()
                .calls_of(name)
                .find(|stage| !stages.contains(stage))
            {
                let message = format!(
                    "route {} calls its {} stage, which this one does not have; change the route first",
                    route.name(),
                    stage.name()
                );
                return Err(Error::new(ErrorKind::Conflict, message).with_field("plugin"));
            }
        }
        Ok(())
    }

    /// Refuses to take out what routes of the site need.
    fn check_users(&self, in_force: &InForce) -> Result<()> {
        let snapshot = in_force.snapshot();
        let name = self.part.name();
        let needs = |route: &Arc<crate::Route>| match &self.part {
            SitePart::Plugin(_) => route.spec().calls_of(name).next().is_some(),
            SitePart::Model(_) => {
                let mut candidates = route.spec().candidates.iter();
                !route.spec().implicit && candidates.any(|candidate| candidate.model == *name)
            }
            SitePart::PluginSettings(_) | SitePart::Route(_) => false,
        };
        let routes = snapshot.routes().filter(|route| route.release().is_none());
        let users: Vec<String> = routes
            .filter(|route| needs(route))
            .map(|route| route.name().to_string())
            .collect();
        if users.is_empty() {
            return Ok(());
        }
        let message = format!(
            "routes need it: {}; change or delete them first",
            users.join(", ")
        );
        Err(Error::new(ErrorKind::Conflict, message).with_field(self.part.word()))
    }
}

fn check_route(name: &Name, content: &[u8], in_force: &InForce) -> Result<()> {
    let part = SitePart::Route(name.clone());
    let text = String::from_utf8_lossy(content);
    let spec = parse(name.clone(), &text).map_err(|error| refused(&part, error))?;
    match in_force.check_route(&Arc::new(spec)).into_iter().next() {
        Some(error) => Err(refused(&part, error)),
        None => Ok(()),
    }
}

fn check_toml(path: &str, content: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(content).map_err(|error| {
        Error::new(ErrorKind::Unprocessable, "the settings are not UTF-8")
            .with_field("body")
            .with_source(error)
    })?;
    let parsed = text.parse::<toml::Table>();
    parsed.map(drop).map_err(|error| {
        let message = format!("the settings are no TOML: {}", error.message());
        let source = LoadError::new(path, error.message());
        Error::new(ErrorKind::Unprocessable, message)
            .with_field("body")
            .with_source(source)
    })
}

/// What a client is told of a part that would be refused: the reason and the key, and no file.
pub(super) fn refused(part: &SitePart, error: LoadError) -> Error {
    let field = error.key.clone().unwrap_or_else(|| part.word().to_owned());
    let message = error.client_message().to_owned();
    Error::new(ErrorKind::Unprocessable, message)
        .with_field(field)
        .with_source(error)
}

/// A file of the site; none where there is none.
pub(super) fn read_file(path: &Path) -> Result<Option<Bytes>> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_BYTES => {}
        Ok(_) => return Err(unreadable(io::Error::other("no regular file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    }
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// The settings of a model that is there.
fn read_model(folder: &Path) -> Result<Option<Bytes>> {
    if !std::fs::symlink_metadata(folder).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    read_file(&folder.join("model.toml")).map(|text| Some(text.unwrap_or_default()))
}

fn unreadable(error: io::Error) -> Error {
    let message = "it cannot be read right now; the server's log says why";
    Error::new(ErrorKind::Unavailable, message).with_source(error)
}
