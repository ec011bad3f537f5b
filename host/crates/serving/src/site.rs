//! Reads a site folder: what is there, without loading it. Everything here blocks.
//!
//! A thing is what its content is: it is compared by digest, and a file that was only touched is no change. To spare
//! hashing gigabytes at each look, a folder whose files have the same sizes, times and inodes as at the last look is taken
//! as unchanged; an operator's reload looks at the content in any case.

mod bundles;
mod fingerprint;
mod listing;
mod upstreams;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use wharf_core::{
    Cancel, Changed, Digest, Engine, LoadError, ModelFolder, ModelVersions, Name, PluginFile,
    PluginHost, PluginRelease, UpstreamRelease, Upstreams,
};

use crate::route::{RouteSpec, parse};
use crate::watcher::Whole;
use bundles::BundleEyes;
use fingerprint::Fingerprint;

pub(crate) use bundles::{BundleFound, Focus, FocusOn, ReleaseFound, Serves};
pub(crate) use listing::{FOLDERS, Kind, hidden, list, read_text};

/// What a look at the site found.
#[derive(Default)]
pub(crate) struct Scan {
    pub(crate) plugins: Section<PluginFound>,
    pub(crate) models: Section<ModelVersions>,
    pub(crate) routes: Section<Arc<RouteSpec>>,
    pub(crate) bundles: Section<BundleFound>,
    pub(crate) upstreams: Section<UpstreamRelease>,
    /// The text of `wharf.toml`, empty where there is none; none where it cannot be read.
    pub(crate) site_config: Option<Arc<str>>,
    /// What is wrong with the folders themselves, and with names in them.
    pub(crate) errors: Vec<Arc<LoadError>>,
    /// Whether something is being written right now, so that another look is due.
    pub(crate) unsettled: bool,
}

/// What a look found in one of the site's folders.
pub(crate) struct Section<T> {
    pub(crate) found: BTreeMap<Name, Found<T>>,
    /// Whether the folder could be listed. Where not, what is missing here may still be there.
    pub(crate) complete: bool,
}

/// What a look found of one thing.
pub(crate) enum Found<T> {
    /// It is being written: what is in force stays for now.
    Held,
    /// It is this.
    Is(T),
    /// It cannot be read.
    Refused(Arc<LoadError>),
}

/// A plugin that was found.
pub(crate) struct PluginFound {
    pub(crate) file: PluginFile,
    pub(crate) digest: Digest,
    /// What was read; none where the look before read the same, and nobody kept the bytes.
    pub(crate) release: Option<PluginRelease>,
}

/// How closely to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// After a change was noticed: what was written within this time is left alone until it is quiet.
    AfterChange(Duration),
    /// From time to time: whatever is there, if its files look different. A release of a bundle, which comes as many files, must
    /// have been quiet for this time.
    Rescan(Duration),
    /// By order: the content of everything.
    Thorough,
}

/// The runtimes that know what a plugin, a model or an upstream is.
#[derive(Clone, Copy)]
pub(crate) struct Ports<'a> {
    pub(crate) engine: &'a dyn Engine,
    pub(crate) plugins: &'a dyn PluginHost,
    /// None where this program reaches no other servers.
    pub(crate) upstreams: Option<UpstreamPort<'a>>,
    /// What ends a load of a model.
    pub(crate) cancel: &'a Cancel,
}

/// What opens upstreams, and whom they tell of a change.
#[derive(Clone, Copy)]
pub(crate) struct UpstreamPort<'a> {
    pub(crate) port: &'a dyn Upstreams,
    pub(crate) changed: &'a Changed,
}

/// Looks at a site, and remembers what it saw.
pub(crate) struct Scanner {
    site: PathBuf,
    plugins: BTreeMap<Name, Seen<ReadPlugin>>,
    models: BTreeMap<Name, Seen<ModelVersions>>,
    bundles: BTreeMap<Name, BundleEyes>,
    /// Which releases of bundles the next look is at.
    pub(crate) focus: Focus,
}

struct Seen<T> {
    fingerprint: Fingerprint,
    result: Result<T, Arc<LoadError>>,
}

/// What a plugin was when it was read.
struct ReadPlugin {
    digest: Digest,
    /// The files beside its own that are part of it.
    files: Vec<PathBuf>,
}

impl Scanner {
    pub(crate) fn new(site: &Path) -> Self {
        Self {
            site: site.to_owned(),
            plugins: BTreeMap::new(),
            models: BTreeMap::new(),
            bundles: BTreeMap::new(),
            focus: Focus::default(),
        }
    }

    /// Looks at the whole site. What is `whole` is read however young it is.
    pub(crate) fn scan(&mut self, ports: Ports<'_>, look: Look, whole: &Whole) -> Scan {
        let mut scan = Scan::default();
        match read_text(&self.site.join("wharf.toml"), "wharf.toml") {
            Ok(text) => scan.site_config = Some(text.unwrap_or_default().into()),
            Err(error) => scan.errors.push(Arc::new(error)),
        }
        // Without the site itself nothing is known about what is in it: an unmounted volume removes no model.
        if let Err(error) = std::fs::read_dir(&self.site) {
            scan.errors.push(Arc::new(
                LoadError::new(".", "the site folder cannot be read; is it mounted?")
                    .with_source(error),
            ));
            return scan;
        }
        self.scan_plugins(ports, (look, whole), &mut scan);
        self.scan_models(ports, look, &mut scan);
        self.scan_routes((look, whole), &mut scan);
        self.scan_bundles(ports, look, &mut scan);
        self.scan_upstreams(ports, (look, whole), &mut scan);
        scan
    }

    /// Looks at the content of one model, and at nothing else; none where the site does not have it.
    pub(crate) fn scan_model(&mut self, ports: Ports<'_>, name: &Name) -> Option<Scan> {
        let folder = self.site.join("models").join(name.as_str());
        if !folder.is_dir() {
            return None;
        }
        let mut scan = Scan::default();
        let found = self.look_at_model(ports, Look::Thorough, name);
        scan.models.found.insert(name.clone(), found);
        Some(scan)
    }

    fn scan_plugins(&mut self, ports: Ports<'_>, (look, whole): (Look, &Whole), scan: &mut Scan) {
        let names = list(&self.site, Kind::Plugins, &mut scan.errors);
        scan.plugins.complete = names.is_some();
        for name in names.into_iter().flatten() {
            let file = PluginFile {
                site: self.site.clone(),
                name: name.clone(),
            };
            let seen = self.plugins.get(&name);
            let files = seen.and_then(|seen| seen.result.as_ref().ok());
            let fingerprint = self.look_at_plugin(&name, files.map_or(&[], |read| &read.files));
            let found = if let Some(seen) = unchanged(seen, &fingerprint, look) {
                match &seen.result {
                    Ok(read) => Found::Is(PluginFound {
                        file,
                        digest: read.digest,
                        release: None,
                    }),
                    Err(error) => Found::Refused(Arc::clone(error)),
                }
            } else if fingerprint.unsettled(look, whole) {
                scan.unsettled = true;
                Found::Held
            } else {
                self.read_plugin(ports, file, fingerprint)
            };
            scan.plugins.found.insert(name, found);
        }
        if scan.plugins.complete {
            self.plugins
                .retain(|name, _| scan.plugins.found.contains_key(name));
        }
    }

    /// Looks at a plugin's own files, and at those that were part of it when it was read.
    fn look_at_plugin(&self, name: &Name, files: &[PathBuf]) -> Fingerprint {
        let folder = self.site.join("plugins");
        let own =
            ["wasm", "toml", "wasm.sig"].map(|ending| folder.join(format!("{name}.{ending}")));
        Fingerprint::of(&[&own, files].concat())
    }

    fn read_plugin(
        &mut self,
        ports: Ports<'_>,
        file: PluginFile,
        fingerprint: Fingerprint,
    ) -> Found<PluginFound> {
        let read = ports.plugins.read(&file).map_err(Arc::new);
        let result = match &read {
            // Files that are named for the first time are not in the fingerprint yet, so the next look reads once more. One taken now
            // would be of what was written since.
            Ok(release) => Ok(ReadPlugin {
                digest: release.digest,
                files: (release.files.iter())
                    .map(|file| self.site.join(&*file.path))
                    .collect(),
            }),
            Err(error) => Err(Arc::clone(error)),
        };
        let seen = Seen {
            fingerprint,
            result,
        };
        self.plugins.insert(file.name.clone(), seen);
        match read {
            Ok(release) => Found::Is(PluginFound {
                file,
                digest: release.digest,
                release: Some(release),
            }),
            Err(error) => Found::Refused(error),
        }
    }

    fn scan_models(&mut self, ports: Ports<'_>, look: Look, scan: &mut Scan) {
        let names = list(&self.site, Kind::Models, &mut scan.errors);
        scan.models.complete = names.is_some();
        for name in names.into_iter().flatten() {
            let found = self.look_at_model(ports, look, &name);
            scan.unsettled |= matches!(found, Found::Held);
            scan.models.found.insert(name, found);
        }
        if scan.models.complete {
            self.models
                .retain(|name, _| scan.models.found.contains_key(name));
        }
    }

    fn look_at_model(&mut self, ports: Ports<'_>, look: Look, name: &Name) -> Found<ModelVersions> {
        let folder = self.site.join("models").join(name.as_str());
        let fingerprint = Fingerprint::of(&[folder]);
        let seen = self.models.get(name);
        let result = if let Some(seen) = unchanged(seen, &fingerprint, look) {
            seen.result.clone()
        } else if fingerprint.unsettled(look, &Whole::new()) {
            return Found::Held;
        } else {
            let folder = ModelFolder {
                site: self.site.clone(),
                name: name.clone(),
            };
            let result = ports.engine.versions(&folder).map_err(Arc::new);
            let seen = Seen {
                fingerprint,
                result: result.clone(),
            };
            self.models.insert(name.clone(), seen);
            result
        };
        match result {
            Ok(versions) => Found::Is(versions),
            Err(error) => Found::Refused(error),
        }
    }

    fn scan_routes(&self, (look, whole): (Look, &Whole), scan: &mut Scan) {
        let names = list(&self.site, Kind::Routes, &mut scan.errors);
        scan.routes.complete = names.is_some();
        for name in names.into_iter().flatten() {
            let file = format!("routes/{name}.toml");
            let path = self.site.join(&file);
            let found = if Fingerprint::of(std::slice::from_ref(&path)).unsettled(look, whole) {
                scan.unsettled = true;
                Found::Held
            } else {
                match read_text(&path, &file) {
                    // It went between the listing and the reading; the next look says what became of it.
                    Ok(None) => Found::Held,
                    Ok(Some(text)) => match parse(name.clone(), &text) {
                        Ok(spec) => Found::Is(Arc::new(spec)),
                        Err(error) => Found::Refused(Arc::new(error)),
                    },
                    Err(error) => Found::Refused(Arc::new(error)),
                }
            };
            scan.routes.found.insert(name, found);
        }
    }
}

/// What the last look saw, where this one would see the same.
fn unchanged<'a, T>(
    seen: Option<&'a Seen<T>>,
    fingerprint: &Fingerprint,
    look: Look,
) -> Option<&'a Seen<T>> {
    seen.filter(|seen| look != Look::Thorough && seen.fingerprint.proves_same(fingerprint))
}

impl<T> Default for Section<T> {
    fn default() -> Self {
        Self {
            found: BTreeMap::new(),
            complete: false,
        }
    }
}

#[cfg(test)]
mod tests;
