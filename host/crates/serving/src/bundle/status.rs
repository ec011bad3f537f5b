//! What operators see of bundles.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wharf_core::{Digest, Name};

use super::release::{Release, ReleaseName};
use super::slot::Slot;
use super::tally::Counts;
use super::verdict::Verdict;

/// A bundle and its releases.
#[derive(Clone, Debug)]
pub struct BundleStatus {
    /// The name.
    pub name: Name,
    /// Who promotes: `auto` or `manual`.
    pub mode: &'static str,
    /// The release that the settings name.
    pub pinned: Option<u64>,
    /// Its releases, sorted by number.
    pub releases: Vec<ReleaseStatus>,
}

/// A release of a bundle.
#[derive(Clone, Debug)]
pub struct ReleaseStatus {
    /// Its number.
    pub release: u64,
    /// What it does.
    pub state: ReleaseState,
    /// What it is made of, where that was looked at.
    pub digest: Option<Digest>,
    /// When it was loaded, where it is.
    pub loaded_at: Option<SystemTime>,
    /// The share of the requests that it gets, from 0 to 1.
    pub share: f64,
    /// The step of its trial, from 1 on.
    pub step: Option<usize>,
    /// What its requests came to: those of the present step, where one is on trial.
    pub counts: Option<ReleaseCounts>,
    /// Why it is so, or what its trial waits for; empty where there is nothing to say.
    pub reason: String,
}

/// What the requests of a release came to. Those that named it are not among them.
#[derive(Clone, Copy, Debug)]
pub struct ReleaseCounts {
    /// All that ended.
    pub requests: u64,
    /// Those that failed for what the release is.
    pub faults: u64,
    /// Those that were refused for what the client sent.
    pub refused: u64,
    /// Faults of requests, from 0 to 1.
    pub error_rate: f64,
    /// The time within which half of them ended.
    pub p50: Option<Duration>,
    /// The time within which 95 of 100 of them ended.
    pub p95: Option<Duration>,
}

/// What a release does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseState {
    /// It serves.
    InForce,
    /// It is tried beside the one that serves.
    OnTrial,
    /// It was rolled back.
    RolledBack,
    /// It cannot be loaded.
    Refused,
    /// Nothing.
    Idle,
}

impl ReleaseState {
    /// The name for the admin API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InForce => "in-force",
            Self::OnTrial => "on-trial",
            Self::RolledBack => "rolled-back",
            Self::Refused => "refused",
            Self::Idle => "idle",
        }
    }
}

/// What metrics show of a release that is loaded.
pub(crate) struct Reading {
    pub(crate) name: Arc<ReleaseName>,
    pub(crate) share: f64,
    pub(crate) counts: Counts,
}

impl From<&Counts> for ReleaseCounts {
    fn from(counts: &Counts) -> Self {
        Self {
            requests: counts.requests(),
            faults: counts.faults,
            refused: counts.refused,
            error_rate: counts.fault_rate(),
            p50: counts.quantile(0.5),
            p95: counts.quantile(0.95),
        }
    }
}

impl Slot {
    pub(crate) fn status(&self) -> BundleStatus {
        let policy = self.policy();
        let mut releases: BTreeSet<u64> = self.present.clone();
        releases.extend(self.current.as_ref().map(Release::number));
        releases.extend(self.trial.as_ref().map(|trial| trial.release.number()));
        BundleStatus {
            name: self.name.clone(),
            mode: policy.mode.name(),
            pinned: policy.release,
            releases: releases
                .into_iter()
                .flat_map(|release| self.of(release))
                .collect(),
        }
    }

    /// The shares of the release in force and of the one on trial.
    fn shares(&self) -> (f64, f64) {
        let trial = self.trial.as_ref();
        let share = trial.and_then(|trial| self.policy().shares().get(trial.step).copied());
        let share = share.unwrap_or_default();
        (1.0 - share, share)
    }

    /// What there is of a number: more than one release, where new content of the one in force is tried.
    fn of(&self, release: u64) -> Vec<ReleaseStatus> {
        let (of_current, of_trial) = self.shares();
        let is = |one: &&Release| one.number() == release;
        let loaded = |one: &Release, state, share, counts: &Counts| ReleaseStatus {
            release,
            state,
            digest: Some(one.digest),
            loaded_at: Some(one.loaded_at),
            share,
            step: None,
            counts: Some(counts.into()),
            reason: String::new(),
        };
        let mut found = Vec::new();
        if let Some(current) = self.current.as_ref().filter(is) {
            let counts = current.member.tally.read();
            let counts = match &self.trial {
                Some(trial) => counts.since(&trial.old),
                None => counts,
            };
            found.push(loaded(current, ReleaseState::InForce, of_current, &counts));
        }
        if let Some(trial) = self.trial.as_ref().filter(|trial| is(&&trial.release)) {
            let counts = trial.release.member.tally.read().since(&trial.new);
            let reason = match self.judge() {
                Some(Verdict::Wait(reason) | Verdict::RollBack(reason)) => reason,
                Some(Verdict::Advance) => String::new(),
                None => "it gets no share; an operator promotes it".to_owned(),
            };
            found.push(ReleaseStatus {
                step: Some(trial.step + 1),
                reason,
                ..loaded(&trial.release, ReleaseState::OnTrial, of_trial, &counts)
            });
        }
        if found.is_empty() {
            found.push(self.unloaded(release));
        }
        found
    }

    fn unloaded(&self, release: u64) -> ReleaseStatus {
        let digest = self.found.get(&release).copied();
        let rejected = digest.and_then(|digest| self.record.rejection(release, digest));
        let failed = self.failed.get(&release);
        let failed = failed.and_then(|failed| failed.errors.first());
        let (state, reason) = match (rejected, failed) {
            (Some(rejected), _) => (ReleaseState::RolledBack, rejected.reason.clone()),
            (None, Some(error)) => (ReleaseState::Refused, error.to_string()),
            (None, None) => (ReleaseState::Idle, String::new()),
        };
        ReleaseStatus {
            release,
            state,
            digest,
            loaded_at: None,
            share: 0.0,
            step: None,
            counts: None,
            reason,
        }
    }

    /// What metrics show.
    pub(crate) fn readings(&self) -> Vec<Reading> {
        let (of_current, of_trial) = self.shares();
        let trial = self.trial.as_ref().map(|trial| (&trial.release, of_trial));
        let current = self.current.as_ref().map(|current| (current, of_current));
        let releases = current.into_iter().chain(trial);
        let reading = |(release, share): (&Release, f64)| Reading {
            name: Arc::clone(&release.member.name),
            share,
            counts: release.member.tally.read(),
        };
        releases.map(reading).collect()
    }
}
