//! A bundle by name: the release in force, the one on trial, and what is known of the others.

mod linked;
mod trial;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use wharf_core::{Digest, LoadError, Name};

use super::choice::{Numbered, View};
use super::policy::Policy;
use super::record::Record;
use super::release::{Kit, Release, ReleaseLoad, ReleaseName};
use crate::events::EventKind;
use crate::route::Route;
use crate::site::{BundleFound, Found};
use crate::state::{Effects, Failure, Load};
use trial::Trial;

pub(crate) use linked::Public;

/// A bundle by name.
pub(crate) struct Slot {
    pub(super) name: Name,
    pub(super) kit: Kit,
    /// None while the settings were never read.
    settings: Option<Policy>,
    pub(super) record: Record,
    /// Whether the record is not on disk yet.
    pub(super) unsaved: bool,
    /// Whether the log has said that it cannot be written.
    complained: bool,
    /// The releases whose folders are there.
    pub(super) present: BTreeSet<u64>,
    /// What those are that were read.
    pub(super) found: BTreeMap<u64, Digest>,
    /// Why the bundle, or one of its releases, cannot be read.
    unread: Vec<Arc<LoadError>>,
    pub(super) failed: BTreeMap<u64, Failed>,
    pub(super) current: Option<Release>,
    pub(super) trial: Option<Trial>,
    /// The release that an operator ordered, until it is in force or refused.
    pub(super) ordered: Option<u64>,
    /// The routes in force, as they were linked last.
    public: BTreeMap<Name, Arc<Route>>,
}

/// A release that could not be loaded.
pub(super) struct Failed {
    failure: Failure,
    pub(super) errors: Vec<Arc<LoadError>>,
}

/// The names that are taken, with the place of each.
#[derive(Default)]
pub(crate) struct Taken<'a> {
    pub(crate) by_site: Option<&'a BTreeMap<Name, String>>,
    pub(crate) by_others: BTreeMap<Name, String>,
}

/// What became of loading releases of the bundle.
pub(crate) type Results = BTreeMap<u64, (Digest, Result<Box<Release>, Vec<LoadError>>)>;

impl Slot {
    /// A bundle that was not seen before, or whose server starts anew.
    pub(crate) fn new(name: Name, kit: Kit, found: &BundleFound) -> Self {
        Self {
            name,
            kit,
            settings: None,
            record: found.record.clone().unwrap_or_default(),
            unsaved: false,
            complained: false,
            present: BTreeSet::new(),
            found: BTreeMap::new(),
            unread: Vec::new(),
            failed: BTreeMap::new(),
            current: None,
            trial: None,
            ordered: None,
            public: BTreeMap::new(),
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.settings.clone().unwrap_or_else(Policy::unread)
    }

    fn folder(&self, release: u64) -> String {
        let bundle = self.name.clone();
        ReleaseName { bundle, release }.folder()
    }

    /// Adds what must be loaded to follow the site. What was loaded already in this pass, or failed to, is `done`.
    pub(crate) fn plan(
        &self,
        found: &mut BundleFound,
        taken: &Taken<'_>,
        now: Option<Instant>,
        done: &BTreeMap<u64, (Digest, bool)>,
        loads: &mut Vec<Load>,
    ) {
        let policy = match &found.policy {
            Found::Is(policy) => policy.clone(),
            Found::Held | Found::Refused(_) => self.policy(),
        };
        let mut view = self.view(found, &policy, taken, now);
        for (release, (digest, loaded)) in done {
            if !loaded && view.fit.get(release) == Some(digest) {
                view.fit.remove(release);
            }
        }
        let is_done = |(release, digest): Numbered| done.get(&release) == Some(&(digest, true));
        let mut choice = view.choose();
        if let Some(serve) = choice.serve.filter(|serve| is_done(*serve)) {
            // It will be in force: what is to be tried beside it is loaded in the same pass.
            (view.current, view.told) = (Some(serve), policy.release);
            choice = view.choose();
        }
        let wanted = [choice.serve, choice.trial].into_iter().flatten();
        for (release, digest) in wanted.filter(|one| !self.has(*one) && !is_done(*one)) {
            let Some(Found::Is(there)) = found.releases.get_mut(&release) else {
                continue;
            };
            if let Some(scan) = there.scan.take() {
                loads.push(Load::Release(Box::new(ReleaseLoad {
                    name: ReleaseName {
                        bundle: self.name.clone(),
                        release,
                    },
                    digest,
                    scan,
                    kit: self.kit.clone(),
                })));
            }
        }
    }

    /// Takes what was found and what was loaded.
    pub(crate) fn apply(
        &mut self,
        found: &BundleFound,
        results: Results,
        taken: &Taken<'_>,
        effects: &mut Effects,
    ) {
        self.note(found, taken);
        let mut ready = BTreeMap::new();
        for (release, (digest, result)) in results {
            match result {
                Ok(loaded) => {
                    self.failed.remove(&release);
                    ready.insert(release, *loaded);
                }
                Err(errors) => self.fail(release, digest, errors),
            }
        }
        let policy = self.policy();
        let mut view = self.view(found, &policy, taken, Some(Instant::now()));
        if let Some(serve) = view.choose().serve
            && let Some(release) = self.take(serve, &mut ready)
        {
            self.put_in_force(release, effects);
        }
        (view.current, view.told) = (self.current.as_ref().map(numbered), policy.release);
        self.follow_trial(view.choose(), &view.held, &mut ready, effects);
        self.ordered = None;
        for (_, unused) in ready {
            unused.retire(effects);
        }
    }

    /// What is there, as the choice sees it.
    fn view(
        &self,
        found: &BundleFound,
        policy: &Policy,
        taken: &Taken<'_>,
        now: Option<Instant>,
    ) -> View {
        let mut view = View {
            told: self.ordered.or(policy.release),
            current: self.current.as_ref().map(numbered),
            promoted: self.record.promoted,
            present: found.numbers.clone(),
            ..View::default()
        };
        for (release, found) in &found.releases {
            match found {
                Found::Held => {
                    view.held.insert(*release);
                }
                Found::Is(found) => {
                    let digest = found.digest;
                    let failed = self.failed.get(release);
                    let fails = failed.is_some_and(|failed| failed.failure.bars(digest, now));
                    if fails || self.clash(*release, &found.routes, taken).is_some() {
                        continue;
                    }
                    view.fit.insert(*release, digest);
                    if self.record.rejection(*release, digest).is_some() {
                        view.rejected.insert(*release);
                    }
                }
                Found::Refused(_) => {}
            }
        }
        view
    }

    /// Notes what the site has.
    pub(crate) fn note(&mut self, found: &BundleFound, taken: &Taken<'_>) {
        self.unread.clear();
        let record = found.record.as_ref().err();
        self.unread.extend(record.map(Arc::clone));
        self.unread.extend(found.errors.iter().map(Arc::clone));
        match &found.policy {
            Found::Held => {}
            Found::Is(policy) => self.settle(policy.clone()),
            Found::Refused(error) => self.unread.push(Arc::clone(error)),
        }
        self.present = found.numbers.clone();
        let present = &self.present;
        self.found.retain(|release, _| present.contains(release));
        self.failed.retain(|release, _| present.contains(release));
        for (release, found) in &found.releases {
            match found {
                Found::Held => {}
                Found::Is(found) => {
                    self.found.insert(*release, found.digest);
                    let clash = self.clash(*release, &found.routes, taken);
                    self.unread.extend(clash.map(Arc::new));
                }
                Found::Refused(error) => self.unread.push(Arc::clone(error)),
            }
        }
        if let Some(told) = self.policy().release
            && !self.present.contains(&told)
        {
            let file = format!("bundles/{}/bundle.toml", self.name);
            let message =
                format!("there is no release {told}; add its folder, or name another one");
            let missing = LoadError::new(file, message).with_key("release");
            self.unread.push(Arc::new(missing));
        }
    }

    /// Goes over to other settings. A trial goes on by the new ones, and its step begins anew.
    fn settle(&mut self, policy: Policy) {
        if self.settings.as_ref() == Some(&policy) {
            return;
        }
        self.settings = Some(policy);
        let last = self.policy().shares().len().saturating_sub(1);
        self.restart(|step| step.min(last));
    }

    /// Why a release cannot have its routes: the names of others. What the bundle has already, it keeps.
    fn clash(&self, release: u64, routes: &[Name], taken: &Taken<'_>) -> Option<LoadError> {
        let serves_again = self.current.is_none() && self.record.promoted == Some(release);
        routes.iter().find_map(|route| {
            let keeps = serves_again || self.public.contains_key(route);
            let by_site = taken.by_site.filter(|_| !keeps);
            let place = taken.by_others.get(route).or_else(|| by_site?.get(route))?;
            let file = format!("{}/routes/{route}.toml", self.folder(release));
            let message = format!("{place} has this name already; give one of them another");
            Some(LoadError::new(file, message))
        })
    }

    fn fail(&mut self, release: u64, digest: Digest, errors: Vec<LoadError>) {
        let whole = LoadError::new(self.folder(release), "it cannot be loaded");
        let before = self.failed.remove(&release).map(|failed| failed.failure);
        let failed = Failed {
            failure: Failure::after(before, digest, whole),
            errors: errors.into_iter().map(Arc::new).collect(),
        };
        self.failed.insert(release, failed);
    }

    pub(super) fn has(&self, wanted: Numbered) -> bool {
        let trial = self.trial.as_ref().map(|trial| &trial.release);
        [self.current.as_ref(), trial]
            .into_iter()
            .flatten()
            .any(|release| numbered(release) == wanted)
    }

    /// Takes a release that is to serve and does not yet.
    fn take(&mut self, wanted: Numbered, ready: &mut BTreeMap<u64, Release>) -> Option<Release> {
        if self.current.as_ref().map(numbered) == Some(wanted) {
            return None;
        }
        let on_trial = |trial: &mut Trial| numbered(&trial.release) == wanted;
        match self.trial.take_if(on_trial) {
            Some(trial) => Some(trial.release),
            None => take_ready(wanted, ready),
        }
    }

    /// The number of the release in force.
    pub(crate) fn in_force(&self) -> Option<u64> {
        self.current.as_ref().map(Release::number)
    }

    pub(crate) fn ordered(&self) -> Option<u64> {
        self.ordered
    }

    /// The releases that are loaded.
    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Release> {
        let trial = self.trial.as_ref().map(|trial| &trial.release);
        self.current.iter().chain(trial)
    }

    pub(crate) fn unsaved(&self) -> bool {
        self.unsaved
    }

    pub(crate) fn to_save(&self) -> Option<(Name, Record)> {
        self.unsaved
            .then(|| (self.name.clone(), self.record.clone()))
    }

    /// Notes what became of writing the record. What cannot be written is not tried again before there is something new to
    /// write: a site that is read-only stays so, as a rule.
    pub(crate) fn saved(&mut self, record: &Record, result: io::Result<()>) {
        if self.record == *record {
            self.unsaved = false;
        }
        if let Err(error) = result
            && !mem::replace(&mut self.complained, true)
        {
            tracing::warn!(
                bundle = %self.name, %error,
                "what became of the bundle's releases cannot be written to its folder; a restart begins anew"
            );
        }
    }

    /// Lets go of everything.
    pub(crate) fn retire(mut self, effects: &mut Effects) {
        let trial = mem::take(&mut self.trial).map(|trial| trial.release);
        for release in [trial, self.current.take()].into_iter().flatten() {
            let folder = self.folder(release.number());
            effects
                .events
                .push((EventKind::Removed, folder, String::new()));
            release.retire(effects);
        }
    }

    /// Why what the site has of the bundle is not all in force.
    pub(crate) fn errors(&self) -> impl Iterator<Item = Arc<LoadError>> {
        let failed = self
            .failed
            .iter()
            .filter(|(release, _)| self.present.contains(release));
        let failed = failed.flat_map(|(_, failed)| failed.errors.iter().map(Arc::clone));
        let rejected = self.found.iter().filter_map(|(release, digest)| {
            let rejected = self.record.rejection(*release, *digest)?;
            let folder = self.folder(*release);
            Some(Arc::new(LoadError::new(folder, rejected.reason.clone())))
        });
        let unread = self.unread.iter().map(Arc::clone);
        unread.chain(failed).chain(rejected)
    }
}

fn numbered(release: &Release) -> Numbered {
    (release.number(), release.digest)
}

fn take_ready(wanted: Numbered, ready: &mut BTreeMap<u64, Release>) -> Option<Release> {
    let is = ready
        .get(&wanted.0)
        .is_some_and(|release| numbered(release) == wanted);
    is.then(|| ready.remove(&wanted.0)).flatten()
}
