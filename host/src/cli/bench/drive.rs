//! The load itself: threads that keep requests in flight (a closed loop) or send them on a schedule (an open loop).
//!
//! Each thread has a runtime of its own and shares nothing with the others, so that none waits for another.

mod closed;
mod line;
mod open;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::call::Call;
use super::statistics::{Recorder, Sample, Verdict};

pub(super) use line::message;

/// A load to put on a server.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) address: SocketAddr,
    pub(super) call: Call,
    pub(super) pace: Pace,
    /// In a closed loop the requests in flight, in an open one the most that may be.
    pub(super) connections: u32,
    pub(super) threads: u32,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// How long a request may take.
    pub(super) timeout: Duration,
}

/// When a request is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// When the one before it on its connection is answered.
    Closed,
    /// On a schedule of so many a second, whatever the answers do.
    Open { rate: f64 },
}

/// What a load came to.
pub(super) struct Measured {
    pub(super) recorder: Recorder,
    /// The time in which the successes of the throughput came.
    pub(super) elapsed: Duration,
    /// Connections that were opened.
    pub(super) lines: u32,
    /// Whether it was ended before its time.
    pub(super) early: bool,
}

/// How far the load is, for who watches it.
#[derive(Default)]
pub(super) struct Progress {
    pub(super) succeeded: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// The moments of a load.
#[derive(Clone, Copy)]
struct Window {
    start: Instant,
    /// The warm-up is over.
    measured: Instant,
    /// Nothing more is due.
    end: Instant,
    /// Whoever has no answer now has none.
    last: Instant,
}

/// The part of a load that one thread has.
struct Shard {
    load: Load,
    window: Window,
    progress: Arc<Progress>,
    recorder: Mutex<Recorder>,
}

/// Puts the load on the server, until it is over or stopped.
///
/// # Errors
/// Where the system gives no thread.
pub(super) async fn run(
    load: &Load,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Measured> {
    let start = Instant::now();
    let measured = start + load.warmup;
    let end = measured + load.duration;
    let window = Window {
        start,
        measured,
        end,
        last: end + load.timeout,
    };
    let mut threads = JoinSet::new();
    for (part, late) in parts(load) {
        let shard = Shard {
            load: part,
            window: Window {
                start: start + late,
                ..window
            },
            progress: Arc::clone(progress),
            recorder: Mutex::new(Recorder::new()?),
        };
        let stop = stop.clone();
        threads.spawn_blocking(move || shard.run(&stop));
    }
    let (mut recorder, mut lines) = (Recorder::new()?, 0);
    while let Some(ended) = threads.join_next().await {
        let (part, part_lines) = ended.context("a thread of the load panicked")??;
        recorder.merge(part)?;
        lines += part_lines;
    }
    let early = stop.is_cancelled();
    let mut until = if early { Instant::now().min(end) } else { end };
    if let (Pace::Open { .. }, Some(last)) = (load.pace, recorder.last) {
        // What was due in time may have been answered later.
        until = until.max(last);
    }
    Ok(Measured {
        recorder,
        elapsed: until.saturating_duration_since(measured),
        lines,
        early,
    })
}

/// Splits a load among its threads, and says by how much each begins later, so that their requests alternate.
fn parts(load: &Load) -> impl Iterator<Item = (Load, Duration)> {
    let threads = load.threads.min(load.connections).max(1);
    (0..threads).map(move |thread| {
        let more = u32::from(thread < load.connections % threads);
        let mut part = load.clone();
        part.connections = load.connections / threads + more;
        let mut late = Duration::ZERO;
        if let Pace::Open { rate } = &mut part.pace {
            late = Duration::from_secs_f64(f64::from(thread) / *rate);
            *rate /= f64::from(threads);
        }
        (part, late)
    })
}

impl Shard {
    /// Runs this part on this thread; gives what it measured, and how many connections it had.
    fn run(self, stop: &CancellationToken) -> Result<(Recorder, u32)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the runtime cannot be started")?;
        let shard = Arc::new(self);
        let lines = runtime.block_on(async {
            match shard.load.pace {
                Pace::Closed => Ok(closed::run(&shard, stop).await),
                Pace::Open { rate } => open::run(&shard, rate, stop).await,
            }
        })?;
        // Requests that nobody waits for any more end with it.
        drop(runtime);
        let recorder = Arc::into_inner(shard)
            .context("a task outlived its runtime")?
            .recorder
            .into_inner();
        Ok((recorder.unwrap_or_else(PoisonError::into_inner), lines))
    }

    /// Takes in a request that is over.
    fn record(&self, sample: Sample) {
        let count = match &sample.verdict {
            Verdict::Succeeded => &self.progress.succeeded,
            Verdict::Refused(_) => &self.progress.refused,
            Verdict::Failed(..) => &self.progress.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        let counted_until = match self.load.pace {
            // The answers to what was sent in the warm-up take the place of those that come after the end.
            Pace::Closed if sample.done < self.window.measured => return,
            Pace::Closed => Some(self.window.end),
            Pace::Open { .. } if sample.from < self.window.measured => return,
            Pace::Open { .. } => None,
        };
        self.recorder().record(sample, counted_until);
    }

    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
pub(super) mod tests;
