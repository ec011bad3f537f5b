//! Brings the requests that wait to idle instances, each on a thread of its own.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use super::compute::Seat;
use super::queue::{Instance, Job, Picked, Queue, Run, Turn};
use super::scheduler::Scheduler;

/// What one run is made of.
pub(super) struct Batch<'a> {
    pub(super) instance: Instance,
    pub(super) seat: Seat<'a>,
    pub(super) jobs: Vec<Job>,
    pub(super) run: Arc<Run>,
}

impl Scheduler {
    /// The worker threads of this scheduler, one for each instance.
    pub(crate) fn spawn_workers(self: &Arc<Self>) -> std::io::Result<Vec<JoinHandle<()>>> {
        let spawn = |index| {
            let scheduler = Arc::clone(self);
            std::thread::Builder::new()
                .name(format!("model-{}-{index}", self.model))
                .spawn(move || super::worker::work(&scheduler))
        };
        (0..self.instances).map(spawn).collect()
    }

    /// Waits for the next batch and a place on its device; none when the scheduler closes.
    pub(super) fn wait_for_batch(&self) -> Option<Batch<'_>> {
        let mut held: Option<(usize, Seat<'_>)> = None;
        let mut expired = Vec::new();
        let mut queue = self.queue.lock();
        loop {
            if queue.closed {
                return None;
            }
            let now = Instant::now();
            let turn = match self.gathers_until(&queue, now) {
                Some(until) => Turn::WaitUntil(until),
                None => queue.next(self.forming(), now, &mut expired),
            };
            if !expired.is_empty() {
                self.metrics.queue_changed(-count(expired.len()));
                for job in expired.drain(..) {
                    let error = self.waited_too_long(job.patience, now);
                    // The request's own timer may have been first.
                    let _gone = job.reply.send(Err(error));
                }
            }
            match turn {
                Turn::Wait => {
                    held = None;
                    self.wake.wait(&mut queue);
                }
                Turn::WaitUntil(until) => {
                    held = None;
                    self.wake.wait_until(&mut queue, until);
                }
                Turn::Ready(picked) => {
                    let Some((index, seat)) = self.place(&queue, held.take()) else {
                        // Requests go on gathering meanwhile.
                        let share = queue.idle().last().map_or(0, |instance| instance.share);
                        drop(queue);
                        let likely = self.pace.latency();
                        let seat = self.shares[share].enter(likely, &self.stopping);
                        held = seat.map(|seat| (share, seat));
                        queue = self.queue.lock();
                        continue;
                    };
                    match picked.run() {
                        Ok(run) => {
                            let instance = queue.take_idle(index);
                            return Some(self.form(queue, &picked, (instance, seat), run));
                        }
                        Err(error) => {
                            tracing::error!(%error, "run options could not be made");
                            drop(seat);
                            self.wake.wait_for(&mut queue, Duration::from_millis(100));
                        }
                    }
                }
            }
        }
    }

    /// An idle instance with a place on its device: the one that is held, or one that is free now.
    fn place<'a>(
        &'a self,
        queue: &Queue,
        held: Option<(usize, Seat<'a>)>,
    ) -> Option<(usize, Seat<'a>)> {
        let mut idle = queue.idle().iter().enumerate().rev();
        if let Some((share, seat)) = held {
            let (index, _) = idle.find(|(_, instance)| instance.share == share)?;
            return Some((index, seat));
        }
        let likely = self.pace.latency();
        idle.find_map(|(index, instance)| {
            let seat = self.shares[instance.share].try_enter(likely)?;
            Some((index, seat))
        })
    }

    fn form<'a>(
        &'a self,
        mut queue: MutexGuard<'_, Queue>,
        picked: &Picked,
        (instance, seat): (Instance, Seat<'a>),
        run: Arc<Run>,
    ) -> Batch<'a> {
        let jobs = queue.take_picked(picked, &run);
        let more = !queue.is_empty() && !queue.idle().is_empty();
        drop(queue);
        self.metrics.queue_changed(-count(jobs.len()));
        if more {
            self.wake.notify_one();
        }
        if self.limits.max_rows > 1 {
            let oldest = jobs.iter().map(|job| job.enqueued).min();
            let gathered = oldest.map_or(Duration::ZERO, |oldest| oldest.elapsed());
            self.closed(picked.closing, picked.rows, gathered);
        }
        Batch {
            instance,
            seat,
            jobs,
            run,
        }
    }

    /// Makes an instance idle again, after it answered so many requests of the queue.
    pub(super) fn give_back(&self, instance: Instance, answered: usize) {
        let mut queue = self.queue.lock();
        queue.give_idle(instance);
        let shed = if answered > 0 {
            self.count(&mut queue, 0, answered as u64, Instant::now())
        } else {
            Vec::new()
        };
        let waiting = !queue.is_empty();
        drop(queue);
        if waiting {
            self.wake.notify_one();
        }
        self.refuse(shed);
    }
}

pub(super) fn count(jobs: usize) -> i64 {
    i64::try_from(jobs).unwrap_or(i64::MAX)
}
