//! Runs on the caller's thread.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use wharf_core::{Inference, Result, Tensor, Timings};

use super::pace::Ran;
use super::scheduler::Scheduler;
use super::worker::explain;
use crate::metrics::Closing;
use crate::ort::{RunError, Session};

/// The most that a run on the caller's thread may take before it is stopped, and run again on an instance's thread.
const INLINE_LIMIT: Duration = Duration::from_millis(20);

impl Scheduler {
    /// Runs a request on this thread; none where no instance is idle or others wait, or where the run takes longer than a
    /// thread of the runtime may be held.
    pub(super) fn run_inline(
        &self,
        inputs: &[Tensor],
        bytes: u64,
        deadline: Instant,
    ) -> Option<Result<Inference>> {
        let likely = self.pace.latency();
        let (mut instance, seat) = {
            let mut queue = self.queue.lock();
            if !queue.is_empty() {
                return None;
            }
            let last = queue.idle().len().checked_sub(1)?;
            let seat = self.shares[queue.idle()[last].share].try_enter(likely)?;
            (queue.take_idle(last), seat)
        };
        let started = Instant::now();
        let running = self.running(1);
        let until = deadline.min(started + INLINE_LIMIT);
        let outcome = self.run_watched(&mut instance.session, inputs, until);
        let time = started.elapsed();
        drop(running);
        seat.leave(time);
        self.give_back(instance, 0);
        match outcome {
            Err(RunError::Terminated) => {
                // A stop by the request's own deadline says nothing of the model.
                if time >= INLINE_LIMIT {
                    self.pace.overran();
                }
                None
            }
            Err(error) => Some(Err(explain(error))),
            Ok(outputs) => {
                let rows = inputs.first().map_or(1, Tensor::rows);
                self.metrics.waited(Duration::ZERO);
                if self.limits.max_rows > 1 {
                    self.closed(Closing::Idle, rows, Duration::ZERO);
                }
                self.ran(Ran {
                    time,
                    requests: 1,
                    rows,
                    bytes,
                });
                Some(Ok(Inference {
                    outputs,
                    timings: Timings {
                        compute_infer: time,
                        run_rows: Some(rows),
                        ..Timings::default()
                    },
                }))
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
}
