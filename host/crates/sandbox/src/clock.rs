//! The end of a call: the plugin's own limit or the request's deadline, whichever comes first.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::limits::LimitBroken;

/// When a call ends at the latest, and why.
#[derive(Clone, Debug)]
pub(crate) struct CallClock {
    stop_at: Instant,
    reason: Stop,
}

#[derive(Clone, Debug)]
enum Stop {
    Limit(LimitBroken),
    Deadline,
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
    /// The clock of a stage call.
    pub(crate) fn call(call_ms: u32, now: Instant, deadline: Instant) -> Self {
        let limit = now + Duration::from_millis(call_ms.into());
        if deadline < limit {
            return Self {
                stop_at: deadline,
                reason: Stop::Deadline,
            };
        }
        Self {
            stop_at: limit,
            reason: Stop::Limit(LimitBroken {
                what: "the call took too long",
                setting: "call_ms",
                value: call_ms,
            }),
        }
    }

    /// The clock of instantiation, `describe`, `init` and `self-test`.
    pub(crate) fn init(init_ms: u32) -> Self {
        Self {
            stop_at: Instant::now() + Duration::from_millis(init_ms.into()),
            reason: Stop::Limit(LimitBroken {
                what: "the plugin took too long to start",
                setting: "init_ms",
                value: init_ms,
            }),
        }
    }

    /// Fails once the time is up. Asked at each tick of the epoch.
    pub(crate) fn check(&self) -> wasmtime::Result<()> {
        self.check_at(Instant::now())
    }

    /// Fails where the time was up at `now`.
    pub(crate) fn check_at(&self, now: Instant) -> wasmtime::Result<()> {
        if now < self.stop_at {
            Ok(())
        } else {
            Err(self.expired())
        }
    }

    fn expired(&self) -> wasmtime::Error {
        match &self.reason {
            Stop::Limit(limit) => limit.clone().into(),
            Stop::Deadline => DeadlinePassed.into(),
        }
    }

    /// Waits for a call. Epochs end a guest that computes; this ends one that waits in a host call, such as a WASI sleep.
    pub(crate) async fn bound<T>(
        &self,
        call: impl Future<Output = wasmtime::Result<T>>,
    ) -> wasmtime::Result<T> {
        let mut call = pin!(call);
        // Most calls are done at the first poll, and pay for no timer.
        let first = poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(result) = first.await {
            return result;
        }
        match tokio::time::timeout_at(self.stop_at.into(), call).await {
            Ok(result) => result,
            Err(_) => Err(self.expired()),
        }
    }
}
