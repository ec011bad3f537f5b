//! The bundles of a site: their settings, and the releases that may serve or be tried.
//!
//! A release is looked at like a site of its own. It is taken as a whole: while anything in it is being written, or changes under the
//! look, nothing of it is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wharf_core::{Digest, LoadError, ModelVersions, Name};

use super::fingerprint::Fingerprint;
use super::listing::{Kind, hidden, list, printable, read_text};
use super::{Found, Look, Ports, Scan, Scanner};
use crate::bundle::{Policy, Record, parse_policy};
use crate::watcher::Whole;

/// A bundle that was found.
pub(crate) struct BundleFound {
    pub(crate) policy: Found<Policy>,
    /// What a process before wrote down.
    pub(crate) record: Result<Record, Arc<LoadError>>,
    /// The releases whose folders are there.
    pub(crate) numbers: BTreeSet<u64>,
    /// Those of them that were looked at.
    pub(crate) releases: BTreeMap<u64, Found<ReleaseFound>>,
    pub(crate) errors: Vec<Arc<LoadError>>,
}

/// A release that was found.
pub(crate) struct ReleaseFound {
    /// What it is made of.
    pub(crate) digest: Digest,
    /// The names of its routes.
    pub(crate) routes: Vec<Name>,
    /// What is to be loaded; none once it was taken.
    pub(crate) scan: Option<Scan>,
}

/// Which releases of bundles are looked at: reading all that were ever released could take long.
#[derive(Clone, Debug, Default)]
pub(crate) enum Focus {
    /// Those that may serve or be tried, where these bundles have something in force or ordered.
    #[default]
    Unknown,
    Known(BTreeMap<Name, FocusOn>),
    /// Every release.
    All,
}

/// Which releases of a bundle are looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FocusOn {
    /// From this one on.
    pub(crate) from: u64,
    /// Whether one of the bundle is in force: otherwise older ones may have to stand in.
    pub(crate) serves: Serves,
}

/// Whether a release of a bundle is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Yes,
    No,
}

/// How many releases stand in where nothing is in force.
const STAND_INS: usize = 4;

/// Looks at the releases of one bundle, and remembers what it saw.
#[derive(Default)]
pub(super) struct BundleEyes(BTreeMap<u64, Scanner>);

impl Scanner {
    pub(super) fn scan_bundles(&mut self, ports: Ports<'_>, look: Look, scan: &mut Scan) {
        let names = list(&self.site, Kind::Bundles, &mut scan.errors);
        scan.bundles.complete = names.is_some();
        for name in names.into_iter().flatten() {
            let found = self.look_at_bundle(ports, look, &name, &mut scan.unsettled);
            scan.bundles.found.insert(name, Found::Is(found));
        }
        if scan.bundles.complete {
            let found = &scan.bundles.found;
            self.bundles.retain(|name, _| found.contains_key(name));
        }
    }

    fn look_at_bundle(
        &mut self,
        ports: Ports<'_>,
        look: Look,
        name: &Name,
        unsettled: &mut bool,
    ) -> BundleFound {
        let folder = self.site.join("bundles").join(name.as_str());
        let place = format!("bundles/{name}");
        let record = read_text(&folder.join("state.toml"), &format!("{place}/state.toml"))
            .and_then(|text| Record::parse(name, &text.unwrap_or_default()))
            .map_err(Arc::new);
        let mut found = BundleFound {
            policy: read_policy(&folder, name, look, unsettled),
            record,
            numbers: BTreeSet::new(),
            releases: BTreeMap::new(),
            errors: Vec::new(),
        };
        if let Err(error) = read_numbers(&folder, &place, &mut found) {
            let refused = LoadError::new(&place, format!("the folder cannot be read: {error}"));
            found.errors.push(Arc::new(refused.with_source(error)));
        }
        let wanted = wanted(&found, &self.focus, name);
        let eyes = self.bundles.entry(name.clone()).or_default();
        eyes.0.retain(|release, _| found.numbers.contains(release));
        for release in wanted {
            let folder = folder.join(release.to_string());
            let scanner = eyes.0.entry(release).or_insert_with(|| Self::new(&folder));
            let seen = scanner.look_at_release(ports, look);
            *unsettled |= matches!(seen, Found::Held);
            found.releases.insert(release, seen);
        }
        found
    }

    fn look_at_release(&mut self, ports: Ports<'_>, look: Look) -> Found<ReleaseFound> {
        let folder = [self.site.clone()];
        let before = Fingerprint::of(&folder);
        if before.touched(look) {
            return Found::Held;
        }
        let mut scan = Scan::default();
        // A release is a folder: no file of it is whole before all are.
        let whole = Whole::new();
        self.scan_plugins(ports, (look, &whole), &mut scan);
        self.scan_models(ports, look, &mut scan);
        self.scan_routes((look, &whole), &mut scan);
        let digest = self.digest_of(&scan);
        // What changed under the look is looked at again when it is quiet.
        let held = scan
            .routes
            .found
            .values()
            .any(|found| matches!(found, Found::Held));
        if scan.unsettled || held || !before.is_same(&Fingerprint::of(&folder)) {
            return Found::Held;
        }
        Found::Is(ReleaseFound {
            digest,
            routes: scan.routes.found.keys().cloned().collect(),
            scan: Some(scan),
        })
    }

    /// What a release is made of. Where a part cannot be read, its error stands for it: the release cannot be loaded, and is
    /// another one when that is mended.
    fn digest_of(&self, scan: &Scan) -> Digest {
        let mut whole = Sha256::new();
        let mut part = |kind: &str, name: &Name, content: &[u8]| {
            whole.update(format!("{kind}/{name}\n{}\n", content.len()));
            whole.update(content);
        };
        for (name, found) in &scan.plugins.found {
            match found {
                Found::Is(plugin) => part("plugins", name, plugin.digest.as_bytes()),
                Found::Refused(error) => part("plugins", name, error.to_string().as_bytes()),
                Found::Held => {}
            }
        }
        for (name, found) in &scan.models.found {
            match found {
                Found::Is(versions) => part("models", name, &content_of(versions)),
                Found::Refused(error) => part("models", name, error.to_string().as_bytes()),
                Found::Held => {}
            }
        }
        for name in scan.routes.found.keys() {
            let file = format!("routes/{name}.toml");
            let text = read_text(&self.site.join(&file), &file);
            part(
                "routes",
                name,
                text.ok().flatten().unwrap_or_default().as_bytes(),
            );
        }
        for error in &scan.errors {
            whole.update(error.to_string());
        }
        Digest::new(whole.finalize().into())
    }
}

/// The versions of a model that are to serve, and their labels.
fn content_of(versions: &ModelVersions) -> Vec<u8> {
    let mut content = Vec::new();
    for version in &versions.serve {
        content.extend(version.version.to_le_bytes());
        content.extend(version.digest.as_bytes());
    }
    for (label, version) in &versions.labels {
        content.extend(format!("\n{label} {version}").bytes());
    }
    content
}

fn read_policy(folder: &Path, name: &Name, look: Look, unsettled: &mut bool) -> Found<Policy> {
    let (path, file) = (
        folder.join("bundle.toml"),
        format!("bundles/{name}/bundle.toml"),
    );
    if Fingerprint::of(std::slice::from_ref(&path)).unsettled(look, &Whole::new()) {
        *unsettled = true;
        return Found::Held;
    }
    let policy =
        read_text(&path, &file).and_then(|text| parse_policy(name, &text.unwrap_or_default()));
    match policy {
        Ok(policy) => Found::Is(policy),
        Err(error) => Found::Refused(Arc::new(error)),
    }
}

/// Lists the releases of a bundle.
fn read_numbers(folder: &Path, place: &str, found: &mut BundleFound) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if hidden(&path) || !path.is_dir() {
            continue;
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        // The record keeps them as numbers of TOML, which have a sign.
        let number = name.parse().ok().filter(|number: &u64| {
            *number > 0 && i64::try_from(*number).is_ok() && number.to_string() == name
        });
        match number {
            Some(number) => {
                found.numbers.insert(number);
            }
            None => {
                let message = "the folder of a release is a number from 1 on; rename it";
                let file = format!("{place}/{}", printable(&path));
                found.errors.push(Arc::new(LoadError::new(file, message)));
            }
        }
    }
    Ok(())
}

/// The releases that are looked at.
fn wanted(found: &BundleFound, focus: &Focus, name: &Name) -> BTreeSet<u64> {
    let known = match focus {
        Focus::All => return found.numbers.clone(),
        Focus::Unknown => None,
        Focus::Known(bundles) => bundles.get(name),
    };
    let promoted = found
        .record
        .as_ref()
        .ok()
        .and_then(|record| record.promoted);
    let first = || FocusOn {
        from: promoted.unwrap_or(u64::MAX),
        serves: Serves::No,
    };
    let on = known.copied().unwrap_or_else(first);
    let mut wanted: BTreeSet<u64> = found.numbers.range(on.from..).copied().collect();
    // Where the folder of the one in force is gone, an older one may be better than all that came after it.
    if on.serves == Serves::No || !found.numbers.contains(&on.from) {
        let older = found.numbers.range(..on.from).rev();
        wanted.extend(older.take(STAND_INS));
    }
    if let Found::Is(policy) = &found.policy {
        wanted.extend(
            policy
                .release
                .filter(|release| found.numbers.contains(release)),
        );
    }
    wanted
}
