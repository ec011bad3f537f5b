//! The queue of a model, with its idle sessions.
//!
//! What waits stands in one [`line`], fair between tenants where there are several, and higher levels of priority first within each. A batch
//! begins with the first request of the line, and takes on those behind it that fit. Priority is strict: as long as higher requests of a
//! tenant take all that it gets of the instances, its lower ones wait, until their time is over.

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

pub(super) use line::Tenant;

/// A request that waits.
pub(super) struct Job {
    /// In the order of arrival.
    pub(super) id: u64,
    /// When it ends, in the virtual time of the line.
    pub(super) end: u64,
    /// Of its priority, 0 the highest.
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

impl Job {
    /// Where it stands among those of other tenants.
    fn spot(&self) -> (u64, u64) {
        (self.end, self.id)
    }
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
#[derive(Clone, Copy, Debug)]
pub(super) struct Forming<'a> {
    pub(super) max_rows: u64,
    pub(super) preferred_rows: &'a [u64],
    pub(super) delay: Duration,
}

pub(super) struct Queue<I = Instance> {
    line: Line,
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
    places: Vec<usize>,
    pub(super) rows: u64,
    pub(super) closing: Closing,
}

impl<I> Queue<I> {
    pub(super) fn new(idle: Vec<I>, backlog: Arc<Backlog>) -> Self {
        Self {
            line: Line::default(),
            idle,
            closed: false,
            demand: Demand::new(Instant::now()),
            backlog,
            next_id: 0,
        }
    }

    /// The id of a request that comes now.
    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// When the request came that has waited longest.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.line.oldest()
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

    /// Says whether a tenant has a request that waits.
    pub(super) fn has_any_of(&self, tenant: &Tenant) -> bool {
        self.line.has_any_of(tenant)
    }

    /// Puts a request into the line.
    pub(super) fn push(&mut self, job: Job) {
        self.backlog.entered(job.level, job.units);
        if job.tenant.is_some() {
            self.backlog.tenant_entered();
        }
        self.line.push(job);
    }

    /// Takes a job out that nobody waits for any more.
    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        self.give_up(self.line.find(id)?)
    }

    /// Takes a job out that is not run.
    fn give_up(&mut self, index: usize) -> Option<Job> {
        let job = self.line.give_up(index)?;
        self.left(&job);
        Some(job)
    }

    /// Takes a job out that is run.
    fn serve(&mut self, index: usize) -> Option<Job> {
        let job = self.line.serve(index)?;
        self.left(&job);
        Some(job)
    }

    fn left(&self, job: &Job) {
        self.backlog.left(job.level, job.units);
        if job.tenant.is_some() {
            self.backlog.tenant_left();
        }
    }

    /// Makes room for a request of so many units, where others' would be served after it: the last of the line leave it. None do where nobody
    /// asks for more than its share.
    pub(super) fn displace(&mut self, tenant: &Tenant, units: u64) -> Vec<Job> {
        let mut displaced = Vec::new();
        let mut room = 0;
        while room < units {
            let last = self.line.last_after(tenant, units);
            let Some(job) = last.and_then(|index| self.give_up(index)) else {
                break;
            };
            room += job.units;
            displaced.push(job);
        }
        displaced
    }

    /// Takes the oldest of the lowest level, of the tenant that has most in the line, until no more than so many units wait, or one request
    /// of each tenant.
    pub(super) fn shed(&mut self, units: u64) -> Vec<Job> {
        let mut waiting: u64 = self.line.iter().map(|job| job.units).sum();
        let mut shed = Vec::new();
        while waiting > units {
            let found = self.line.oldest_of_most();
            let Some(job) = found.and_then(|index| self.give_up(index)) else {
                break;
            };
            waiting -= job.units;
            shed.push(job);
        }
        shed
    }

    /// Finds the next batch. What has waited too long, as far as it was come across, goes into `expired`.
    pub(super) fn next(
        &mut self,
        forming: Forming<'_>,
        now: Instant,
        expired: &mut Vec<Job>,
    ) -> Turn {
        while let Some(first) = self.line.first()
            && first.patience.is_over(now)
        {
            expired.extend(self.give_up(0));
        }
        let Some(head) = self.line.first().filter(|_| !self.idle.is_empty()) else {
            return Turn::Wait;
        };
        let (mut picked, oldest, preferred) = self.pick(head, forming, now);
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
    fn fair_rows(&self, forming: Forming<'_>) -> u64 {
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
        head: &Job,
        forming: Forming<'_>,
        now: Instant,
    ) -> (Picked, Instant, Option<(usize, u64)>) {
        let max_rows = forming.max_rows;
        let most = self.fair_rows(forming);
        let is_preferred = |rows: u64| forming.preferred_rows.binary_search(&rows).is_ok();
        let mut picked = Picked {
            places: vec![0],
            rows: head.rows.unwrap_or(max_rows),
            closing: Closing::Idle,
        };
        let mut oldest = head.enqueued;
        let mut preferred = is_preferred(picked.rows).then_some((1, picked.rows));
        if head.rows.is_some() {
            for (place, job) in self.line.iter().enumerate().skip(1) {
                if picked.rows >= most {
                    break;
                }
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
