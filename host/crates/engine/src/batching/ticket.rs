//! A request's place in the queue or in a run, from its own side.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::oneshot;
use tokio::time::timeout_at;
use wharf_core::{Error, Inference, Result};

use super::queue::{Patience, Run};
use super::scheduler::{Scheduler, deadline_passed};

/// Dropped before the result is there, it gives the place up.
pub(super) struct Ticket<'a> {
    scheduler: &'a Scheduler,
    /// Of the request, in the queue.
    id: u64,
    run: Option<Arc<OnceLock<Arc<Run>>>>,
}

impl<'a> Ticket<'a> {
    pub(super) fn new(scheduler: &'a Scheduler, id: u64, run: Arc<OnceLock<Arc<Run>>>) -> Self {
        Self {
            scheduler,
            id,
            run: Some(run),
        }
    }

    /// Waits for the answer. The request has a timer of its own, so that it is refused when its time is over, whoever looks at
    /// the queue or does not.
    pub(super) async fn wait(
        mut self,
        mut reply: oneshot::Receiver<Result<Inference>>,
        patience: Patience,
    ) -> Result<Inference> {
        if let Some(until) = patience.queue.filter(|until| *until < patience.deadline) {
            match timeout_at(until.into(), &mut reply).await {
                Ok(answer) => return self.done(answer),
                Err(_elapsed) if self.scheduler.leave(self.id) => {
                    self.run = None;
                    return Err(self.scheduler.waited_too_long(patience, Instant::now()));
                }
                // It runs: the queue's timeout is no more.
                Err(_elapsed) => {}
            }
        }
        match timeout_at(patience.deadline.into(), &mut reply).await {
            Ok(answer) => self.done(answer),
            // Dropping the ticket takes the request out of the queue, or ends its run.
            Err(_elapsed) => Err(deadline_passed()),
        }
    }

    fn done(
        mut self,
        answer: Result<Result<Inference>, oneshot::error::RecvError>,
    ) -> Result<Inference> {
        match answer {
            Ok(result) => {
                self.run = None;
                result
            }
            Err(_closed) => Err(Error::internal("the model's instance failed while it ran")),
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let Some(run) = self.run.take() else { return };
        if self.scheduler.leave(self.id) {
            return;
        }
        // Where it has no run either, it had waited too long.
        if let Some(run) = run.get() {
            run.leave();
        }
    }
}
