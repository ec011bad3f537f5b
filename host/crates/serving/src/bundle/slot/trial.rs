//! The trial of a release: its steps, and how it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::{Slot, numbered, take_ready};
use crate::bundle::choice::{Choice, Numbered};
use crate::bundle::lot::Lot;
use crate::bundle::policy::Mode;
use crate::bundle::release::Release;
use crate::bundle::tally::Counts;
use crate::bundle::verdict::{Evidence, Verdict, judge};
use crate::events::EventKind;
use crate::state::Effects;

/// A release beside the one in force.
pub(in crate::bundle) struct Trial {
    pub(in crate::bundle) release: Release,
    pub(in crate::bundle) step: usize,
    /// When the step began.
    pub(in crate::bundle) since: Instant,
    /// None while it gets no share.
    pub(super) lot: Option<Arc<Lot>>,
    /// What both had counted when the step began.
    pub(in crate::bundle) new: Counts,
    pub(in crate::bundle) old: Counts,
    /// What the release in force did before the new one got everything.
    pub(in crate::bundle) before: Counts,
}

impl Slot {
    pub(super) fn put_in_force(&mut self, release: Release, effects: &mut Effects) {
        let number = release.number();
        let kind = match &self.current {
            Some(_) => EventKind::Promoted,
            None => EventKind::Loaded,
        };
        let message = format!("content {:.12} is in force", release.digest);
        effects.events.push((kind, self.folder(number), message));
        if kind == EventKind::Promoted {
            self.kit.guards.metrics().verdict(&self.name, kind);
        }
        if let Some(old) = self.current.replace(release) {
            old.retire(effects);
        }
        if self.ordered == Some(number) {
            self.record.forgive(number);
            self.unsaved = true;
            // Whoever orders an older one does not want the newer ones to be tried again.
            for (release, digest) in self.found.clone().split_off(&(number + 1)) {
                if self.record.rejection(release, digest).is_none() {
                    self.reject((release, digest), "an older release was ordered", effects);
                }
            }
        }
        self.unsaved |= self.record.promoted != Some(number);
        self.record.promoted = Some(number);
        // It was compared with the release before.
        if let Some(trial) = &mut self.trial {
            (trial.old, trial.before) = (Counts::default(), Counts::default());
        }
        self.restart(|_| 0);
    }

    /// Begins and ends trials.
    pub(super) fn follow_trial(
        &mut self,
        choice: Choice,
        held: &BTreeSet<u64>,
        ready: &mut BTreeMap<u64, Release>,
        effects: &mut Effects,
    ) {
        let now = self.trial.as_ref().map(|trial| numbered(&trial.release));
        if now == choice.trial || now.is_some_and(|(release, _)| held.contains(&release)) {
            return;
        }
        let next = choice.trial.and_then(|wanted| take_ready(wanted, ready));
        if let Some(trial) = self.trial.take() {
            let why = match next {
                Some(_) => "another release is tried in its place",
                None => "it is not to be tried any more",
            };
            let folder = self.folder(trial.release.number());
            effects
                .events
                .push((EventKind::Removed, folder, why.to_owned()));
            trial.release.retire(effects);
        }
        if let Some(release) = next {
            let mut trial = Trial {
                release,
                step: 0,
                since: Instant::now(),
                lot: None,
                new: Counts::default(),
                old: Counts::default(),
                before: Counts::default(),
            };
            self.begin_step(&mut trial);
            self.announce(&trial, effects);
            self.trial = Some(trial);
        }
    }

    /// Begins a step of a trial: a lot of its own, and both releases counted from here.
    fn begin_step(&self, trial: &mut Trial) {
        let policy = self.policy();
        let counts = |release: &Release| release.member.tally.read();
        let old = self.current.as_ref().map(counts).unwrap_or_default();
        let before = old.since(&trial.old);
        // A release that gets nothing any more has nothing new to be compared with.
        if before.requests() > 0 {
            trial.before = before;
        }
        trial.old = old;
        trial.new = counts(&trial.release);
        trial.since = Instant::now();
        let share = policy.shares().get(trial.step).copied();
        let lot = |share| Lot::new(share, policy.sticky_header.clone(), trial.release.digest);
        trial.lot = share.map(|share| Arc::new(lot(share)));
    }

    fn announce(&self, trial: &Trial, effects: &mut Effects) {
        let share = self.policy().shares().get(trial.step).copied();
        let message = match share {
            Some(share) => format!("it gets {} % of the traffic", (share * 1e4).round() / 1e2),
            None => "it gets no traffic, but for requests that name it".to_owned(),
        };
        let folder = self.folder(trial.release.number());
        effects.events.push((EventKind::Tried, folder, message));
    }

    /// Ends a step well: the next one begins, or the release is promoted.
    fn advance(&mut self, effects: &mut Effects) {
        let Some(mut trial) = self.trial.take() else {
            return;
        };
        if trial.step + 1 < self.policy().shares().len() {
            trial.step += 1;
            self.begin_step(&mut trial);
            self.announce(&trial, effects);
            self.trial = Some(trial);
        } else {
            self.put_in_force(trial.release, effects);
        }
    }

    /// Promotes the release on trial, whatever is known of it.
    pub(in crate::bundle) fn promote(&mut self, effects: &mut Effects) {
        if let Some(trial) = self.trial.take() {
            self.put_in_force(trial.release, effects);
        }
    }

    /// Ends a trial badly: the release is not tried again until its content is another.
    pub(in crate::bundle) fn roll_back(&mut self, reason: &str, effects: &mut Effects) {
        if let Some(trial) = self.trial.take() {
            let digest = trial.release.digest;
            self.reject((trial.release.number(), digest), reason, effects);
            trial.release.retire(effects);
        }
    }

    pub(in crate::bundle) fn reject(
        &mut self,
        release: Numbered,
        reason: &str,
        effects: &mut Effects,
    ) {
        let (number, digest) = release;
        let message = format!("{reason}; replace it by one that works, or order it with promote");
        self.record.reject(number, digest, message.clone());
        self.unsaved = true;
        let kind = EventKind::RolledBack;
        self.kit.guards.metrics().verdict(&self.name, kind);
        effects.events.push((kind, self.folder(number), message));
    }

    /// Begins a step of the trial anew, where there is one.
    pub(super) fn restart(&mut self, at: impl FnOnce(usize) -> usize) {
        if let Some(mut trial) = self.trial.take() {
            trial.step = at(trial.step);
            self.begin_step(&mut trial);
            self.trial = Some(trial);
        }
    }

    /// What is to become of the release on trial; none where there is none, or it gets no share.
    pub(in crate::bundle) fn judge(&self) -> Option<Verdict> {
        let (trial, policy) = (self.trial.as_ref()?, self.policy());
        let shares = policy.shares();
        let share = *shares.get(trial.step)?;
        let old = match &self.current {
            Some(current) if share < 1.0 => current.member.tally.read().since(&trial.old),
            _ => trial.before.clone(),
        };
        let verdict = judge(Evidence {
            policy: &policy,
            share,
            held: trial.since.elapsed(),
            new: &trial.release.member.tally.read().since(&trial.new),
            old: &old,
        });
        let is_last = trial.step + 1 == shares.len();
        Some(match verdict {
            Verdict::Advance if is_last && policy.mode == Mode::Manual => {
                Verdict::Wait("it has done well; an operator promotes it".to_owned())
            }
            verdict => verdict,
        })
    }

    /// Whether a release is on trial that gets a share.
    pub(crate) fn is_trying(&self) -> bool {
        self.trial.as_ref().is_some_and(|trial| trial.lot.is_some())
    }

    /// Whether `carry_out` would do something.
    pub(crate) fn verdict_due(&self) -> bool {
        matches!(self.judge(), Some(Verdict::Advance | Verdict::RollBack(_)))
    }

    /// Does what the verdict says.
    pub(crate) fn carry_out(&mut self, effects: &mut Effects) {
        match self.judge() {
            Some(Verdict::Advance) => self.advance(effects),
            Some(Verdict::RollBack(reason)) => self.roll_back(&reason, effects),
            Some(Verdict::Wait(_)) | None => {}
        }
    }
}
