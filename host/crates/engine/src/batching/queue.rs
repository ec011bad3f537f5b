//! The queue of a model, with its idle sessions.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::AcqRel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use tokio::sync::oneshot;
use wharf_core::{Result, Tensor};

use super::join;
use crate::ort::Session;

/// A request that waits.
pub(super) struct Job {
    pub(super) id: u64,
    pub(super) inputs: Vec<Tensor>,
    /// The rows, where it may be joined with others.
    pub(super) rows: Option<u64>,
    pub(super) bytes: u64,
    pub(super) enqueued: Instant,
    pub(super) deadline: Instant,
    pub(super) reply: oneshot::Sender<Result<Vec<Tensor>>>,
    /// Set, under the queue's lock, when it leaves the queue to be run.
    pub(super) run: Arc<OnceLock<Arc<Run>>>,
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

/// What one run is made of.
pub(super) struct Batch {
    pub(super) session: Session,
    pub(super) jobs: Vec<Job>,
    pub(super) run: Arc<Run>,
}

pub(super) struct Queue {
    /// Ascending by id.
    pub(super) jobs: VecDeque<Job>,
    pub(super) idle: Vec<Session>,
    pub(super) closed: bool,
    next_id: u64,
}

/// What a worker finds.
pub(super) enum Turn {
    /// Nothing to run, or nothing to run it on.
    Wait,
    /// A batch fills until then.
    WaitUntil(Instant),
    /// Run these. The jobs that passed their deadline come beside.
    Run(Batch),
}

impl Queue {
    pub(super) fn new(sessions: Vec<Session>) -> Self {
        Self {
            jobs: VecDeque::new(),
            idle: sessions,
            closed: false,
            next_id: 0,
        }
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes a job out that nobody waits for any more.
    pub(super) fn remove(&mut self, id: u64) -> Option<Job> {
        let index = self.jobs.binary_search_by_key(&id, |job| job.id).ok()?;
        self.jobs.remove(index)
    }

    /// Takes the jobs out whose deadline has passed.
    pub(super) fn take_expired(&mut self, now: Instant) -> Vec<Job> {
        if self.jobs.iter().all(|job| job.deadline > now) {
            return Vec::new();
        }
        let (expired, live) = self.jobs.drain(..).partition(|job| job.deadline <= now);
        self.jobs = live;
        Vec::from(expired)
    }

    /// Finds the next batch: the oldest job, and those that fit it, as many as the rows allow.
    pub(super) fn next(&mut self, max_rows: u64, delay: Duration, now: Instant) -> Turn {
        let Some(oldest) = self.jobs.front() else {
            return Turn::Wait;
        };
        if self.idle.is_empty() {
            return Turn::Wait;
        }
        let picked = self.pick(oldest, max_rows);
        if !delay.is_zero() && picked.rows < max_rows && now < oldest.enqueued + delay {
            return Turn::WaitUntil(oldest.enqueued + delay);
        }
        let options = match RunOptions::new() {
            Ok(options) => options,
            Err(error) => {
                tracing::error!(%error, "run options could not be made");
                return Turn::WaitUntil(now + Duration::from_millis(100));
            }
        };
        let run = Arc::new(Run {
            options,
            members: AtomicUsize::new(picked.indices.len()),
        });
        let session = self
            .idle
            .pop()
            .expect("an idle session was seen under this lock");
        // From the back, so that the indices before stay right.
        let mut jobs: Vec<Job> = picked
            .indices
            .iter()
            .rev()
            .filter_map(|index| self.jobs.remove(*index))
            .collect();
        jobs.reverse();
        for job in &jobs {
            // Nobody else sets it: a job leaves the queue once.
            let _first = job.run.set(Arc::clone(&run));
        }
        Turn::Run(Batch { session, jobs, run })
    }

    fn pick(&self, oldest: &Job, max_rows: u64) -> Picked {
        let mut picked = Picked {
            indices: vec![0],
            rows: oldest.rows.unwrap_or(max_rows),
        };
        if oldest.rows.is_none() {
            return picked;
        }
        for (index, job) in self.jobs.iter().enumerate().skip(1) {
            if picked.rows >= max_rows {
                break;
            }
            let Some(rows) = job.rows else { continue };
            if picked.rows.saturating_add(rows) <= max_rows
                && join::fit(&oldest.inputs, &job.inputs)
            {
                picked.indices.push(index);
                picked.rows += rows;
            }
        }
        picked
    }
}

struct Picked {
    indices: Vec<usize>,
    rows: u64,
}
