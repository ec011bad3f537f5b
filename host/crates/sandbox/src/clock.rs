//! The end of a call: the plugin's own limit or the request's deadline, whichever comes first.
//!
//! The limit is on the guest's own time. What it waits for the host to do, such as a call of a model, is not counted there:
//! how long that takes is no property of the plugin. The deadline counts everything.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

use crate::host_work::{HostWork, Running};
use crate::limits::LimitBroken;

/// When a call ends at the latest, and why.
#[derive(Clone)]
pub(crate) struct CallClock {
    /// When the guest's own time is over, if it never waits for the host.
    limit_at: Instant,
    /// How long that was from the start on, in milliseconds.
    limit_ms: u32,
    /// None where no request is worked for: the instance starts.
    deadline: Option<Instant>,
    work: HostWork,
}

/// The request's deadline passed while the guest worked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DeadlinePassed;

impl fmt::Display for DeadlinePassed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request's deadline passed during the call")
    }
}

impl std::error::Error for DeadlinePassed {}

impl CallClock {
    /// The clock of a new instance: of instantiation, `describe`, `init` and `self-test`.
    pub(crate) fn new(init_ms: u32) -> Self {
        Self {
            limit_at: Instant::now() + Duration::from_millis(init_ms.into()),
            limit_ms: init_ms,
            deadline: None,
            work: HostWork::default(),
        }
    }

    /// Begins anew, for the next step of an instance's start.
    pub(crate) fn arm_init(&mut self, init_ms: u32) {
        self.work.reset();
        self.follow(&Self::new(init_ms));
    }

    /// Begins anew, for a stage call.
    ///
    /// # Errors
    /// Where the deadline has passed: a guest could still work until the next tick.
    pub(crate) fn arm_call(
        &mut self,
        call_ms: u32,
        now: Instant,
        deadline: Instant,
    ) -> wasmtime::Result<()> {
        self.work.reset();
        if now >= deadline {
            return Err(DeadlinePassed.into());
        }
        self.limit_at = now + Duration::from_millis(call_ms.into());
        self.limit_ms = call_ms;
        self.deadline = Some(deadline);
        Ok(())
    }

    /// Takes over when another clock ends. Both have the same work.
    pub(crate) fn follow(&mut self, other: &Self) {
        (self.limit_at, self.limit_ms, self.deadline) =
            (other.limit_at, other.limit_ms, other.deadline);
    }

    /// Where the guest leaves what it waits for.
    pub(crate) fn work(&self) -> &HostWork {
        &self.work
    }

    /// Fails once the time is up. Asked at each tick of the epoch.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        if Instant::now() < self.stop_at() {
            Ok(())
        } else {
            Err(self.expired())
        }
    }

    /// When a guest that works must stop.
    fn stop_at(&self) -> Instant {
        // While an instance starts, all that it does is its own.
        let Some(deadline) = self.deadline else {
            return self.limit_at;
        };
        deadline.min(self.limit_at + self.work.waited())
    }

    fn expired(&self) -> wasmtime::Error {
        let (what, setting) = match self.deadline {
            Some(deadline) if deadline <= self.stop_at() => return DeadlinePassed.into(),
            Some(_) => ("the call took too long", "call_ms"),
            None => ("the plugin took too long to start", "init_ms"),
        };
        LimitBroken {
            what,
            setting,
            value: self.limit_ms,
        }
        .into()
    }

    /// Waits for a call, and runs what its guest leaves for the host. Epochs end a guest that computes; this ends one that waits
    /// in a host call, such as a WASI sleep, and work of the host that outlasts the request.
    pub(crate) async fn bound<T>(
        &self,
        mut call: Pin<&mut impl Future<Output = wasmtime::Result<T>>>,
    ) -> wasmtime::Result<T> {
        // Most calls are done at the first poll, and pay for no timer.
        let mut timer = None;
        let mut running: Option<Running<'_>> = None;
        poll_fn(|context| {
            loop {
                if let Some(work) = &mut running {
                    let latest = self.deadline.unwrap_or(self.limit_at);
                    if work.poll(context).is_pending() {
                        ready!(wait_until(&mut timer, latest, context));
                        running = None;
                        return Poll::Ready(Err(self.expired()));
                    }
                    running = None;
                    // What came too late is of no use to the guest.
                    if Instant::now() >= latest {
                        return Poll::Ready(Err(self.expired()));
                    }
                }
                if let Poll::Ready(result) = call.as_mut().poll(context) {
                    return Poll::Ready(result);
                }
                running = self.work.take();
                if running.is_none() {
                    ready!(wait_until(&mut timer, self.stop_at(), context));
                    return Poll::Ready(Err(self.expired()));
                }
            }
        })
        .await
    }
}

fn wait_until(
    timer: &mut Option<Pin<Box<Sleep>>>,
    at: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    let at = at.into();
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
    if timer.deadline() != at {
        timer.as_mut().reset(at);
    }
    timer.as_mut().poll(context)
}
