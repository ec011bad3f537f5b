//! Gives each request an instance, now or in its turn.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use wharf_core::{Error, ErrorKind, Name, Result, Tensor};

use super::join;
use super::pace::Pace;
use super::queue::{Batch, Job, Queue, Run, Turn};
use super::watchdog::Watchdog;
use super::worker::{Joining, explain};
use crate::metrics::ModelMetrics;
use crate::ort::{RunError, Session};

/// The most that a run on the caller's thread may take before it is stopped, and run again on an instance's thread.
const INLINE_LIMIT: Duration = Duration::from_millis(20);
/// So many requests for each instance may wait, however long the model takes.
const ALWAYS_WAIT: usize = 4;

/// The bounds of a model's queue.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The most rows of one batch; 1 joins nothing.
    pub(crate) max_rows: u64,
    /// How long an idle instance waits for a batch to fill.
    pub(crate) delay: Duration,
    /// Requests that may wait.
    pub(crate) capacity: usize,
    /// The longest that a request may be likely to wait.
    pub(crate) wait: Duration,
    /// Runs shorter than this may be on the caller's thread.
    pub(crate) inline_below: Duration,
}

/// The queue of one version of a model, its instances, and what is known of their pace.
pub(crate) struct Scheduler {
    model: Name,
    limits: Limits,
    instances: usize,
    queue: Mutex<Queue>,
    wake: Condvar,
    in_flight: AtomicU32,
    pace: Pace,
    joining: Joining,
    watchdog: Arc<Watchdog>,
    pub(super) metrics: ModelMetrics,
}

impl Scheduler {
    pub(crate) fn new(
        model: Name,
        limits: Limits,
        sessions: Vec<Session>,
        watchdog: Arc<Watchdog>,
        metrics: ModelMetrics,
    ) -> Self {
        Self {
            model,
            instances: sessions.len(),
            pace: Pace::new(limits.inline_below),
            joining: Joining::new(limits.max_rows > 1),
            limits,
            queue: Mutex::new(Queue::new(sessions)),
            wake: Condvar::new(),
            in_flight: AtomicU32::new(0),
            watchdog,
            metrics,
        }
    }

    /// Runs a request whose inputs have been checked and are in the model's order.
    pub(crate) async fn infer(
        &self,
        inputs: Vec<Tensor>,
        deadline: Instant,
    ) -> Result<Vec<Tensor>> {
        if deadline <= Instant::now() {
            return Err(deadline_passed());
        }
        let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        if self.limits.delay.is_zero() && self.pace.is_short(bytes) {
            if let Some(result) = self.run_inline(&inputs, bytes, deadline) {
                return result;
            }
            if deadline <= Instant::now() {
                return Err(deadline_passed());
            }
        }
        let (ticket, reply) = self.enqueue(inputs, bytes, deadline)?;
        let result = tokio::time::timeout_at(deadline.into(), reply).await;
        match result {
            Ok(Ok(result)) => {
                ticket.done();
                result
            }
            Ok(Err(_closed)) => Err(Error::internal("the model's instance failed while it ran")),
            // The ticket takes the job out of the queue, or ends its run.
            Err(_elapsed) => Err(deadline_passed()),
        }
    }

    /// Runs a request on this thread; none where no instance is idle or others wait, or where the run takes longer than a
    /// thread of the runtime may be held.
    fn run_inline(
        &self,
        inputs: &[Tensor],
        bytes: u64,
        deadline: Instant,
    ) -> Option<Result<Vec<Tensor>>> {
        let mut session = {
            let mut queue = self.queue.lock();
            if !queue.jobs.is_empty() {
                return None;
            }
            queue.idle.pop()?
        };
        let started = Instant::now();
        let running = self.running(1);
        let outcome = self.run_watched(&mut session, inputs, deadline.min(started + INLINE_LIMIT));
        drop(running);
        self.give_back(session);
        match outcome {
            Err(RunError::Terminated) => {
                // A stop by the request's own deadline says nothing of the model.
                if started.elapsed() >= INLINE_LIMIT {
                    self.pace.overran();
                }
                None
            }
            Err(error) => Some(Err(explain(error))),
            Ok(outputs) => {
                self.metrics.waited(Duration::ZERO);
                self.ran(started, 1, inputs.first().map_or(1, Tensor::rows), bytes);
                Some(Ok(outputs))
            }
        }
    }

    fn run_watched(
        &self,
        session: &mut Session,
        inputs: &[Tensor],
        until: Instant,
    ) -> Result<Vec<Tensor>, RunError> {
        let options = Arc::new(RunOptions::new().map_err(RunError::Failed)?);
        let watch = self.watchdog.watch(until, Arc::clone(&options));
        let outcome = session.run(inputs, &options);
        drop(watch);
        outcome
    }

    fn enqueue(
        &self,
        inputs: Vec<Tensor>,
        bytes: u64,
        deadline: Instant,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Result<Vec<Tensor>>>)> {
        let (reply, receiver) = oneshot::channel();
        let run = Arc::new(OnceLock::new());
        let rows = if self.joining.is_on() {
            join::rows(&inputs)
        } else {
            None
        };
        let now = Instant::now();
        let mut queue = self.queue.lock();
        self.admit(
            queue.jobs.len(),
            queue.idle.len(),
            deadline.saturating_duration_since(now),
        )?;
        let id = queue.next_id();
        queue.jobs.push_back(Job {
            id,
            inputs,
            rows,
            bytes,
            enqueued: now,
            deadline,
            reply,
            run: Arc::clone(&run),
        });
        let idle = !queue.idle.is_empty();
        drop(queue);
        self.metrics.queue_changed(1);
        if idle {
            self.wake.notify_one();
        }
        Ok((
            Ticket {
                scheduler: self,
                id,
                run: Some(run),
            },
            receiver,
        ))
    }

    /// Refuses a request that would wait too long, so that those in the queue keep their time.
    fn admit(&self, queued: usize, idle: usize, left: Duration) -> Result<()> {
        // What an idle instance is about to take does not wait.
        let waiting = queued.saturating_sub(idle);
        if queued < idle {
            return Ok(());
        }
        let per_request = self.pace.per_request();
        let wait = per_request * u32::try_from(waiting / self.instances.max(1)).unwrap_or(u32::MAX);
        let too_long = waiting >= ALWAYS_WAIT * self.instances && wait > self.limits.wait.min(left);
        if waiting < self.limits.capacity && !too_long {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the model's queue is full; send fewer requests at a time",
        )
        .with_retry_after(wait.max(Duration::from_secs(1))))
    }

    /// Waits for the next batch; none when the scheduler closes.
    pub(super) fn wait_for_batch(&self) -> Option<Batch> {
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            let now = Instant::now();
            let expired = queue.take_expired(now);
            if !expired.is_empty() {
                self.metrics.queue_changed(-count(expired.len()));
                for job in expired {
                    // The request's own timer may have been first.
                    let _gone = job.reply.send(Err(deadline_passed()));
                }
            }
            match queue.next(self.limits.max_rows, self.limits.delay, now) {
                Turn::Wait => self.wake.wait(&mut queue),
                Turn::WaitUntil(until) => {
                    self.wake.wait_until(&mut queue, until);
                }
                Turn::Run(batch) => {
                    let more = !queue.jobs.is_empty() && !queue.idle.is_empty();
                    drop(queue);
                    self.metrics.queue_changed(-count(batch.jobs.len()));
                    if more {
                        self.wake.notify_one();
                    }
                    return Some(batch);
                }
            }
        }
    }

    /// Makes an instance idle again.
    pub(super) fn give_back(&self, session: Session) {
        let mut queue = self.queue.lock();
        queue.idle.push(session);
        let waiting = !queue.jobs.is_empty();
        drop(queue);
        if waiting {
            self.wake.notify_one();
        }
    }

    /// Counts requests as running until the guard is dropped.
    pub(super) fn running(&self, requests: usize) -> Running<'_> {
        let requests = u32::try_from(requests).unwrap_or(u32::MAX);
        self.in_flight.fetch_add(requests, Relaxed);
        Running {
            scheduler: self,
            requests,
        }
    }

    /// Notes a run that succeeded.
    pub(super) fn ran(&self, started: Instant, requests: usize, rows: u64, bytes: u64) {
        let time = started.elapsed();
        self.pace.ran(time, requests, bytes);
        self.metrics.ran(rows, time);
    }

    /// Notes a run of the warm-up, before any request.
    pub(crate) fn warmed_up(&self, time: Duration, bytes: u64) {
        self.pace.ran(time, 1, bytes);
    }

    /// Turns joining off for good, because the outputs of a batch did not have its rows.
    pub(super) fn stop_joining(&self) {
        if self.joining.turn_off() {
            tracing::warn!(
                model = %self.model,
                "the model's outputs do not have the rows of its inputs; requests are not joined any more, so remove \
                 batching.max_rows from its model.toml"
            );
        }
    }

    /// Lets the workers end, and ends what they run. Nobody waits for a result any more.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.wake.notify_all();
    }

    /// The requests that wait, and those that run.
    pub(crate) fn depths(&self) -> (u32, u32) {
        let waiting = self.queue.lock().jobs.len();
        (
            u32::try_from(waiting).unwrap_or(u32::MAX),
            self.in_flight.load(Relaxed),
        )
    }

    /// The moving average of a run's time.
    pub(crate) fn latency(&self) -> Duration {
        self.pace.latency()
    }

    /// The worker threads of this scheduler, one for each instance.
    pub(crate) fn spawn_workers(
        self: &Arc<Self>,
    ) -> std::io::Result<Vec<std::thread::JoinHandle<()>>> {
        let spawn = |index| {
            let scheduler = Arc::clone(self);
            std::thread::Builder::new()
                .name(format!("model-{}-{index}", self.model))
                .spawn(move || super::worker::work(&scheduler))
        };
        (0..self.instances).map(spawn).collect()
    }
}

/// The default bounds.
impl Limits {
    pub(crate) const CAPACITY: NonZeroU32 = NonZeroU32::new(256).expect("256 is not zero");
    pub(crate) const WAIT: Duration = Duration::from_millis(500);
    pub(crate) const INLINE_BELOW: Duration = Duration::from_micros(200);
}

fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}

pub(super) fn deadline_passed() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the deadline passed before the model had an answer",
    )
}

pub(super) struct Running<'a> {
    scheduler: &'a Scheduler,
    requests: u32,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.scheduler.in_flight.fetch_sub(self.requests, Relaxed);
    }
}

/// A request's place in the queue or in a run. Dropped before the result is there, it gives the place up.
struct Ticket<'a> {
    scheduler: &'a Scheduler,
    id: u64,
    run: Option<Arc<OnceLock<Arc<Run>>>>,
}

impl Ticket<'_> {
    fn done(mut self) {
        self.run = None;
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        let removed = self.scheduler.queue.lock().remove(self.id);
        match (removed, run.get()) {
            (Some(job), _) => {
                self.scheduler.metrics.queue_changed(-1);
                drop(job);
            }
            (None, Some(run)) => run.leave(),
            // It passed its deadline in the queue.
            (None, None) => {}
        }
    }
}
