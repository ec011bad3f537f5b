//! The queue of a model, with its idle sessions.
//!
//! Each level of priority has a [`line`] of its own, in the order of arrival, or fair between tenants where it has several. A batch begins
//! with the first request of the highest line that has one, and takes on those that fit it, higher lines first. Priority is strict: as
//! long as higher requests keep the instances busy, lower ones wait, until their time is over.

mod line;

use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use tokio::sync::oneshot;
use wharf_core::{Inference, Result, Tensor};

use super::admission::Backlog;
use super::demand::Demand;
use super::join;
use crate::metrics::Closing;
use crate::ort::Session;
use line::Line;

pub(super) use line::{Spot, Tenant};

/// A request that waits.
pub(super) struct Job {
    /// Its place in the line of its level.
    pub(super) spot: Spot,
    pub(super) level: usize,
    pub(super) tenant: Tenant,
    pub(super) inputs: Vec<Tensor>,
    /// The rows, where it may be joined with others.
    pub(super) rows: Option<u64>,
    /// The part of a run that it takes: its rows, and no more than a run has.
    pub(super) units: u64,
    pub(super) bytes: u64,
    pub(super) enqueued: Instant,
    pub(super) patience: Patience,
    pub(super) reply: oneshot::Sender<Result<Inference>>,
    /// Set, under the queue's lock, when it leaves the queue to be run.
    pub(super) run: Arc<OnceLock<Arc<Run>>>,
}

/// How long a request may take, and how long of that it may wait in the queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) deadline: Instant,
    pub(super) queue: Option<Instant>,
}

impl Patience {
    /// Says whether a request that waits has waited too long.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.deadline <= now || self.queue.is_some_and(|until| until <= now)
    }
}

/// A run of one batch.
pub(super) struct Run {
    pub(super) options: RunOptions,
    /// The requests that still want its result.
    members: AtomicUsize,
}

impl Run {
    /// A request leaves. The last one ends the run.
    pub(super) fn leave(&self) {
        if self.members.fetch_sub(1, AcqRel) == 1
            && let Err(error) = self.options.terminate()
        {
            tracing::warn!(%error, "a run could not be terminated");
        }
    }
}

/// A session, and which share of which device it runs on.
pub(super) struct Instance {
    pub(super) session: Session,
    pub(super) share: usize,
}

/// How batches are formed.
#[derive(Clone, Debug)]
pub(super) struct Forming {
    pub(super) max_rows: u64,
    pub(super) preferred_rows: Vec<u64>,
    pub(super) delay: Duration,
}

pub(super) struct Queue<I = Instance> {
    /// By level, the highest first.
    lines: Vec<Line>,
    idle: Vec<I>,
    pub(super) closed: bool,
    pub(super) demand: Demand,
    backlog: Arc<Backlog>,
    next_id: u64,
}

/// What a worker finds.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing to run, or nothing to run it on.
    Wait,
    /// A batch fills until then.
    WaitUntil(Instant),
    /// This is a batch.
    Ready(Picked),
}

/// Requests that make a batch, by their places.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Picked {
    /// Ascending.
    places: Vec<(usize, usize)>,
    pub(super) rows: u64,
    pub(super) closing: Closing,
}

impl<I> Queue<I> {
    pub(super) fn new(levels: usize, idle: Vec<I>, backlog: Arc<Backlog>) -> Self {
        Self {
            lines: (0..levels).map(|_| Line::default()).collect(),
            idle,
            closed: false,
            demand: Demand::new(Instant::now()),
            backlog,
            next_id: 0,
        }
    }

    /// The spot of a request that comes now, before its line says when it ends.
    pub(super) fn next_spot(&mut self) -> Spot {
        self.next_id += 1;
        Spot::arriving(self.next_id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(Line::is_empty)
    }

    /// When the request came that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.lines.iter().filter_map(Line::oldest).min()
    }

    pub(super) fn idle(&self) -> &[I] {
        &self.idle
    }

    pub(super) fn take_idle(&mut self, index: usize) -> I {
        let instance = self.idle.swap_remove(index);
        self.backlog.set_idle(self.idle.len());
        instance
    }

    pub(super) fn give_idle(&mut self, instance: I) {
        self.idle.push(instance);
        self.backlog.set_idle(self.idle.len());
    }

    /// Puts a request into the line of its level, and says where it is.
    pub(super) fn push(&mut self, job: Job) -> Spot {
        self.backlog.entered(job.level, job.units);
        if job.tenant.is_some() {
            self.backlog.tenant_entered();
        }
        self.lines[job.level].push(job)
    }

    /// Takes a job out that nobody waits for any more.
    pub(super) fn remove(&mut self, level: usize, spot: Spot) -> Option<Job> {
        let index = self.lines[level].find(spot)?;
        self.give_up(level, index)
    }

    /// Takes a job out that is not run.
    fn give_up(&mut self, level: usize, index: usize) -> Option<Job> {
        let job = self.lines[level].give_up(index)?;
        self.left(&job);
        Some(job)
    }

    /// Takes a job out that is run.
    fn serve(&mut self, (level, index): (usize, usize)) -> Option<Job> {
        let job = self.lines[level].serve(index)?;
        self.left(&job);
        Some(job)
    }

    fn left(&self, job: &Job) {
        self.backlog.left(job.level, job.units);
        if job.tenant.is_some() {
            self.backlog.tenant_left();
        }
    }

    /// Makes room for a request of so many units, where its tenant would still have less in the line than another: the newest of the tenant
    /// that has most leave it. None do where nobody has more than its share.
    pub(super) fn displace(&mut self, level: usize, tenant: &Tenant, units: u64) -> Vec<Job> {
        let mut displaced = Vec::new();
        let mut room = 0;
        while room < units {
            let newest = self.lines[level].newest_of_more(tenant, units);
            let Some(job) = newest.and_then(|index| self.give_up(level, index)) else {
                break;
            };
            room += job.units;
            displaced.push(job);
        }
        displaced
    }

    /// Takes the oldest of the lowest line, of the tenant that has most in it, until no more than so many units wait.
    pub(super) fn shed(&mut self, units: u64) -> Vec<Job> {
        let jobs = self.lines.iter().flat_map(Line::iter);
        let mut waiting: u64 = jobs.map(|job| job.units).sum();
        let mut shed = Vec::new();
        while waiting > units {
            let lowest = self.lines.iter().rposition(|line| !line.is_empty());
            let found = lowest.and_then(|level| Some((level, self.lines[level].oldest_of_most()?)));
            let Some(job) = found.and_then(|(level, index)| self.give_up(level, index)) else {
                break;
            };
            waiting -= job.units;
            shed.push(job);
        }
        shed
    }

    /// Finds the next batch. What has waited too long, as far as it was come across, goes into `expired`.
    pub(super) fn next(&mut self, forming: &Forming, now: Instant, expired: &mut Vec<Job>) -> Turn {
        let first = loop {
            let Some(level) = self.lines.iter().position(|line| !line.is_empty()) else {
                return Turn::Wait;
            };
            if !self.lines[level].get(0).patience.is_over(now) {
                break (level, 0);
            }
            expired.extend(self.give_up(level, 0));
        };
        if self.idle.is_empty() {
            return Turn::Wait;
        }
        let (mut picked, oldest, preferred) = self.pick(first, forming, now);
        if picked.closing == Closing::Full {
            return Turn::Ready(picked);
        }
        if let Some((requests, rows)) = preferred {
            picked.places.truncate(requests);
            picked.rows = rows;
            picked.closing = Closing::Preferred;
        } else if !forming.delay.is_zero() {
            let until = oldest + forming.delay;
            if now < until {
                return Turn::WaitUntil(until);
            }
            picked.closing = Closing::Delay;
        }
        Turn::Ready(picked)
    }

    /// The most rows of the next batch. Where several instances are idle, they divide between them what waits: one that took
    /// all of it would let the others look on.
    fn fair_rows(&self, forming: &Forming) -> u64 {
        if !forming.preferred_rows.is_empty() || !forming.delay.is_zero() {
            return forming.max_rows;
        }
        let idle = self.idle.len().max(1) as u64;
        self.backlog
            .units()
            .div_ceil(idle)
            .clamp(1, forming.max_rows)
    }

    /// Gathers what fits the first request: with it, when the oldest of them came, and the largest preferred batch on the way
    /// as its requests and rows.
    fn pick(
        &self,
        first: (usize, usize),
        forming: &Forming,
        now: Instant,
    ) -> (Picked, Instant, Option<(usize, u64)>) {
        let max_rows = forming.max_rows;
        let most = self.fair_rows(forming);
        let is_preferred = |rows: u64| forming.preferred_rows.binary_search(&rows).is_ok();
        let head = self.lines[first.0].get(first.1);
        let mut picked = Picked {
            places: vec![first],
            rows: head.rows.unwrap_or(max_rows),
            closing: Closing::Idle,
        };
        let mut oldest = head.enqueued;
        let mut preferred = is_preferred(picked.rows).then_some((1, picked.rows));
        let jobs = self
            .lines
            .iter()
            .enumerate()
            .flat_map(|(level, line)| (0..line.len()).map(move |index| (level, index)))
            .skip_while(|place| *place <= first);
        if head.rows.is_some() {
            for place in jobs {
                if picked.rows >= most {
                    break;
                }
                let job = self.lines[place.0].get(place.1);
                let Some(rows) = job.rows else { continue };
                if picked.rows.saturating_add(rows) <= most
                    && !job.patience.is_over(now)
                    && join::fit(&head.inputs, &job.inputs)
                {
                    picked.places.push(place);
                    picked.rows += rows;
                    oldest = oldest.min(job.enqueued);
                    if is_preferred(picked.rows) {
                        preferred = Some((picked.places.len(), picked.rows));
                    }
                }
            }
        }
        if picked.rows >= max_rows && max_rows > 1 {
            picked.closing = Closing::Full;
        }
        (picked, oldest, preferred)
    }

    /// Takes a batch out, in the order of the queue.
    pub(super) fn take_picked(&mut self, picked: &Picked, run: &Arc<Run>) -> Vec<Job> {
        // From the back, so that the places before stay right.
        let mut jobs: Vec<Job> = picked
            .places
            .iter()
            .rev()
            .filter_map(|place| self.serve(*place))
            .collect();
        jobs.reverse();
        for job in &jobs {
            // Nobody else sets it: a job leaves the queue once.
            let _first = job.run.set(Arc::clone(run));
        }
        jobs
    }
}

impl Picked {
    /// A run for these.
    pub(super) fn run(&self) -> ort::Result<Arc<Run>> {
        Ok(Arc::new(Run {
            options: RunOptions::new()?,
            members: AtomicUsize::new(self.places.len()),
        }))
    }
}

#[cfg(test)]
mod tests;
