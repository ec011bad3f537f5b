//! Gives each request an instance, now or in its turn.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use wharf_core::{Error, ErrorKind, Inference, Name, RequestContext, Result, Tensor};

use super::admission::{Admission, Backlog, Counted, Shortage};
use super::compute::Share;
use super::demand::{Capacity, Change};
use super::dispatch::count;
use super::gather::Gathering;
use super::join;
use super::pace::{Pace, Ran};
use super::queue::{Forming, Instance, Job, Patience, Queue};
use super::ticket::Ticket;
use super::watchdog::Watchdog;
use super::worker::Joining;
use crate::metrics::{Closing, ModelMetrics, Refusal};
use crate::ort::Session;

/// The bounds of a model's queue.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// The most rows of one batch; 1 joins nothing.
    pub(crate) max_rows: u64,
    /// Whether nobody asked for batches: then none is long.
    pub(crate) unasked: bool,
    /// Batches of these rows are run at once, ascending.
    pub(crate) preferred_rows: Vec<u64>,
    /// How long an idle instance waits for a batch to fill.
    pub(crate) delay: Duration,
    /// Requests that may wait.
    pub(crate) capacity: usize,
    /// The longest that a request may be likely to wait; none where it depends on what comes.
    pub(crate) wait: Option<Duration>,
    /// The longest that a request may wait.
    pub(crate) timeout: Option<Duration>,
    /// The levels of priority; 0 where requests have none.
    pub(crate) priority_levels: u32,
    /// The level of a request that names none.
    pub(crate) default_priority: u32,
    /// Requests that may wait or run.
    pub(crate) max_in_flight: Option<u32>,
    /// Runs shorter than this may be on the caller's thread.
    pub(crate) inline_below: Duration,
}

impl Limits {
    /// The default bounds.
    pub(crate) const CAPACITY: NonZeroU32 = NonZeroU32::new(256).expect("256 is not zero");
    pub(crate) const INLINE_BELOW: Duration = Duration::from_micros(200);

    /// The most rows of a batch at this pace.
    pub(super) fn rows(&self, pace: &Pace) -> u64 {
        if self.unasked {
            self.max_rows.min(pace.rows_of_a_short_run())
        } else {
            self.max_rows
        }
    }
}

/// The queue of one version of a model, its instances, and what is known of their pace.
pub(crate) struct Scheduler {
    pub(super) model: Name,
    pub(super) limits: Limits,
    pub(super) instances: usize,
    /// The devices that the instances are on; an [`Instance`] has its index.
    pub(super) shares: Vec<Share>,
    pub(super) queue: Mutex<Queue>,
    pub(super) backlog: Arc<Backlog>,
    pub(super) wake: Condvar,
    pub(super) gathering: Gathering,
    /// Set with the queue's `closed`, for those who wait for a device.
    pub(super) stopping: AtomicBool,
    pub(super) pace: Pace,
    pub(super) joining: Joining,
    /// The inputs that every request has.
    pub(super) required: usize,
    pub(super) watchdog: Arc<Watchdog>,
    pub(super) metrics: ModelMetrics,
}

impl Scheduler {
    /// Takes the sessions, in the order of the devices that they are on, of which each has so many.
    pub(crate) fn new(
        model: Name,
        limits: Limits,
        (devices, sessions): (Vec<(Share, u32)>, Vec<Session>),
        watchdog: Arc<Watchdog>,
        metrics: ModelMetrics,
    ) -> Self {
        let instances = sessions.len();
        let (shares, counts): (Vec<_>, Vec<_>) = devices.into_iter().unzip();
        let required = sessions.first().map_or(0, |session| {
            session.inputs.iter().filter(|spec| !spec.optional).count()
        });
        let indices = counts
            .into_iter()
            .enumerate()
            .flat_map(|(index, count)| std::iter::repeat_n(index, count as usize));
        let idle = sessions
            .into_iter()
            .zip(indices)
            .map(|(session, share)| Instance { session, share })
            .collect();
        let levels = limits.priority_levels.max(1) as usize;
        let backlog = Arc::new(Backlog::new(levels, instances));
        Self {
            model,
            instances,
            pace: Pace::new(limits.inline_below),
            joining: Joining::new(limits.max_rows > 1),
            required,
            limits,
            shares,
            queue: Mutex::new(Queue::new(idle, Arc::clone(&backlog))),
            backlog,
            wake: Condvar::new(),
            gathering: Gathering::default(),
            stopping: AtomicBool::new(false),
            watchdog,
            metrics,
        }
    }

    /// Runs a request whose inputs have been checked and are in the model's order.
    pub(crate) async fn infer(
        &self,
        inputs: Vec<Tensor>,
        request: &RequestContext,
    ) -> Result<Inference> {
        let deadline = request.deadline;
        if deadline <= Instant::now() {
            return Err(deadline_passed());
        }
        let _place = self.admission().enter()?;
        let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let gathers = self.joining.is_on() && self.limits.delay.is_zero();
        let crowd = gathers && self.meet().await;
        if !crowd && self.limits.delay.is_zero() && self.pace.is_short(bytes) {
            if let Some(result) = self.run_inline(&inputs, bytes, deadline) {
                return result;
            }
            if deadline <= Instant::now() {
                return Err(deadline_passed());
            }
        }
        let timeout = match (self.limits.timeout, request.scheduling.queue_timeout) {
            (Some(model), Some(own)) => Some(model.min(own)),
            (model, own) => model.or(own),
        };
        let now = Instant::now();
        let patience = Patience {
            deadline,
            queue: timeout.and_then(|timeout| now.checked_add(timeout)),
        };
        let (ticket, reply) = self.enqueue(inputs, request, patience, now)?;
        ticket.wait(reply, patience).await
    }

    /// Says early whether a request would find no room.
    pub(crate) fn check_room(&self) -> Result<()> {
        self.admission().check_room()
    }

    /// The level of a request, from 0.
    fn level(&self, request: &RequestContext) -> usize {
        let levels = self.limits.priority_levels;
        let level = match request.scheduling.priority {
            // As with Triton, a level means nothing to a model that has none, and one that is not there is none.
            _ if levels == 0 => 1,
            Some(level) if level.get() <= levels => level.get(),
            _ => self.limits.default_priority.clamp(1, levels),
        };
        level as usize - 1
    }

    /// The most rows of a batch now.
    pub(super) fn max_rows(&self) -> u64 {
        self.limits.rows(&self.pace)
    }

    pub(super) fn forming(&self) -> Forming<'_> {
        Forming {
            max_rows: self.max_rows(),
            preferred_rows: &self.limits.preferred_rows,
            delay: self.limits.delay,
        }
    }

    pub(super) fn admission(&self) -> Admission<'_> {
        Admission {
            backlog: &self.backlog,
            limits: &self.limits,
            pace: &self.pace,
            metrics: &self.metrics,
            instances: self.instances,
        }
    }

    fn enqueue(
        &self,
        inputs: Vec<Tensor>,
        request: &RequestContext,
        patience: Patience,
        now: Instant,
    ) -> Result<(Ticket<'_>, oneshot::Receiver<Result<Inference>>)> {
        let level = self.level(request);
        let tenant = request.tenant.clone();
        let (reply, receiver) = oneshot::channel();
        let run = Arc::new(OnceLock::new());
        // What a request may leave out cannot be joined.
        let rows = if self.joining.is_on() && inputs.len() == self.required {
            join::rows(&inputs)
        } else {
            None
        };
        let full = self.max_rows();
        let units = rows.map_or(full, |rows| rows.clamp(1, full));
        let mut queue = self.queue.lock();
        let shed = self.count(&mut queue, 1, 0, now);
        let left = patience.deadline.saturating_duration_since(now);
        let mut displaced = Vec::new();
        let admitted = self.admission().judge(level, left).or_else(|shortage| {
            // Whoever has more than its share in the queue makes room for whoever has less, and an overload leaves a place to each.
            displaced = queue.displace(&tenant, units);
            let has_place = shortage.refusal == Refusal::Overload && !queue.has_any_of(&tenant);
            if displaced.is_empty() && !has_place {
                Err(shortage)
            } else {
                Ok(())
            }
        });
        let id = queue.next_id();
        let mut wanted = false;
        if admitted.is_ok() {
            queue.push(Job {
                id,
                end: 0,
                level,
                tenant,
                bytes: inputs.iter().map(|tensor| tensor.data().len() as u64).sum(),
                inputs,
                rows,
                units,
                enqueued: now,
                patience,
                reply,
                run: Arc::clone(&run),
            });
            wanted = !queue.idle().is_empty() && self.gathers_until(&queue, now).is_none();
        }
        drop(queue);
        self.refuse(shed);
        self.refuse(displaced);
        admitted.map_err(|shortage| self.admission().refuse(shortage))?;
        self.metrics.queue_changed(1);
        if wanted {
            self.wake.notify_one();
        }
        Ok((Ticket::new(self, id, run), receiver))
    }

    /// Counts what came and what went. Where that shows that an overload begins, it takes those out of the queue that cannot
    /// be answered soon.
    pub(super) fn count(&self, queue: &mut Queue, came: u64, went: u64, now: Instant) -> Vec<Job> {
        if self.limits.wait.is_some() {
            return Vec::new();
        }
        let came = came + self.backlog.take_turned_away();
        let capacity = Capacity {
            run: self.pace.usual(),
            per_request: self.pace.per_request(),
            delay: self.limits.delay,
            instances: self.instances as u64,
            rows: self.max_rows(),
        };
        match queue.demand.count(came, went, now, capacity) {
            Change::None => Vec::new(),
            Change::Calm => {
                self.backlog.set_overloaded(false);
                Vec::new()
            }
            Change::Overloaded => {
                self.backlog.set_overloaded(true);
                queue.shed(self.admission().short_backlog())
            }
        }
    }

    pub(super) fn refuse(&self, jobs: Vec<Job>) {
        if jobs.is_empty() {
            return;
        }
        self.metrics.queue_changed(-count(jobs.len()));
        for job in jobs {
            let shortage = Shortage {
                refusal: Refusal::Overload,
                wait: Duration::ZERO,
            };
            let error = self.admission().refuse(shortage);
            // Where nobody waits any more, nobody misses it.
            let _gone = job.reply.send(Err(error));
        }
    }

    /// Takes a request out of the queue, and says whether it was there.
    pub(super) fn leave(&self, id: u64) -> bool {
        let removed = self.queue.lock().remove(id);
        if removed.is_some() {
            self.metrics.queue_changed(-1);
        }
        removed.is_some()
    }

    /// Counts requests as running until the guard is dropped.
    pub(super) fn running(&self, requests: usize) -> Counted<'_> {
        self.backlog.running(requests)
    }

    /// Notes a run that succeeded.
    pub(super) fn ran(&self, ran: Ran) {
        self.pace.ran(ran);
        self.metrics.ran(ran.rows, ran.time);
    }

    /// Notes how a batch of a model that joins came to be.
    pub(super) fn closed(&self, closing: Closing, rows: u64, gathered: Duration) {
        let fill = rows as f64 / self.max_rows() as f64;
        self.metrics.closed(closing, fill.min(1.0), gathered);
    }

    /// Notes a run of the warm-up, before any request.
    pub(crate) fn warmed_up(&self, ran: Ran) {
        self.pace.ran(ran);
    }

    /// Turns joining off for good, because the outputs of a batch did not have its rows.
    pub(super) fn stop_joining(&self) {
        if self.joining.turn_off() {
            tracing::warn!(
                model = %self.model,
                "the model's outputs do not have the rows of its inputs; requests are not joined any more, so say \
                 batching.max_rows = 1 in its model.toml"
            );
        }
    }

    /// Why a request that waited was refused.
    pub(super) fn waited_too_long(&self, patience: Patience, now: Instant) -> Error {
        if patience.deadline <= now {
            return deadline_passed();
        }
        self.metrics.refused(Refusal::Timeout);
        Error::new(
            ErrorKind::Unavailable,
            "the request waited for the model for longer than its queue timeout; send fewer requests at a time, or allow \
             a longer timeout",
        )
        .with_retry_after(Duration::from_secs(1))
    }

    /// Lets the workers end, and ends what they run. Nobody waits for a result any more.
    pub(crate) fn close(&self) {
        self.queue.lock().closed = true;
        self.stopping.store(true, SeqCst);
        self.wake.notify_all();
        for share in &self.shares {
            share.wake();
        }
    }

    /// The requests that wait, and those that run.
    pub(crate) fn depths(&self) -> (u32, u32) {
        self.backlog.depths()
    }

    /// The moving average of a run's time.
    pub(crate) fn latency(&self) -> Duration {
        self.pace.latency()
    }
}

pub(crate) fn deadline_passed() -> Error {
    Error::new(
        ErrorKind::Deadline,
        "the deadline passed before the model had an answer",
    )
}
