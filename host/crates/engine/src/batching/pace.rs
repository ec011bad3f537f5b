//! How long a model's runs take, and whether one may run on the caller's thread.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// After an inline run that took far too long, none runs inline for so long.
const PENALTY: Duration = Duration::from_secs(1);

/// A run on a busy machine may be held up for a thousand times its length. It at most doubles what is usual, so that one
/// makes no queue look endless; a model that became slower is known after a few.
const OUTLIER: u64 = 8;

/// A batch that nobody asked for takes no longer than this, or than [`LONGER`] times a run for one row, whichever is
/// more. Most of what a batch wins it wins by then, and all in it wait for the last.
const SHORT: Duration = Duration::from_millis(2);
/// See [`SHORT`].
const LONGER: u64 = 4;

/// A run that is over, and succeeded.
#[derive(Clone, Copy)]
pub(crate) struct Ran {
    pub(crate) time: Duration,
    pub(crate) requests: usize,
    pub(crate) rows: u64,
    /// Of the inputs.
    pub(crate) bytes: u64,
}

/// The moving averages of a model's runs. Written without a lock: a lost update does no harm.
pub(super) struct Pace {
    /// Runs shorter than this may be inline; zero turns it off.
    inline_below: Duration,
    born: Instant,
    run_nanos: AtomicU64,
    /// The same, where one run that was held up counts no more than so many usual ones: see [`OUTLIER`].
    usual_nanos: AtomicU64,
    /// The share of a run that one request took.
    request_nanos: AtomicU64,
    /// A run for one row, and the share of any run that one row took.
    alone_nanos: AtomicU64,
    row_nanos: AtomicU64,
    /// Requests with inputs up to so many bytes have been short.
    short_bytes: AtomicU64,
    /// Until when none runs inline, in nanoseconds since `born`.
    banned_until: AtomicU64,
}

impl Pace {
    pub(super) fn new(inline_below: Duration) -> Self {
        Self {
            inline_below,
            born: Instant::now(),
            run_nanos: AtomicU64::new(0),
            usual_nanos: AtomicU64::new(0),
            request_nanos: AtomicU64::new(0),
            alone_nanos: AtomicU64::new(0),
            row_nanos: AtomicU64::new(0),
            short_bytes: AtomicU64::new(0),
            banned_until: AtomicU64::new(0),
        }
    }

    /// Notes a run.
    pub(super) fn ran(&self, ran: Ran) {
        let Ran {
            time,
            requests,
            rows,
            bytes,
        } = ran;
        let nanos = nanos(time);
        average(&self.run_nanos, nanos);
        average_of_usual(&self.usual_nanos, nanos);
        average(&self.request_nanos, nanos / requests.max(1) as u64);
        average_of_usual(&self.row_nanos, nanos / rows.max(1));
        if rows <= 1 {
            average_of_usual(&self.alone_nanos, nanos);
        }
        if self.latency() < self.inline_below && time < self.inline_below {
            self.short_bytes.fetch_max(bytes, Relaxed);
        } else if time >= self.inline_below && bytes > 0 && self.latency() >= self.inline_below {
            self.short_bytes.fetch_min(bytes - 1, Relaxed);
        }
    }

    /// Notes an inline run that had to be stopped.
    pub(super) fn overran(&self) {
        self.banned_until
            .store(nanos(self.born.elapsed() + PENALTY), Relaxed);
    }

    /// Whether a request with inputs of so many bytes may run on the caller's thread. Only sizes that have been seen to be
    /// short may: a model may be quick for one token and slow for a thousand.
    pub(super) fn is_short(&self, bytes: u64) -> bool {
        self.latency() < self.inline_below
            && bytes <= self.short_bytes.load(Relaxed)
            && match self.banned_until.load(Relaxed) {
                0 => true,
                until => until < nanos(self.born.elapsed()),
            }
    }

    /// The rows of a run that is short: one where nothing is known yet.
    pub(super) fn rows_of_a_short_run(&self) -> u64 {
        let alone = self.alone_nanos.load(Relaxed);
        let longest = alone.saturating_mul(LONGER).max(nanos(SHORT));
        match self.row_nanos.load(Relaxed) {
            0 => 1,
            row => (longest / row).max(1),
        }
    }

    /// The moving average of a run's time; zero before the first.
    pub(super) fn latency(&self) -> Duration {
        Duration::from_nanos(self.run_nanos.load(Relaxed))
    }

    /// How long a run usually takes: what waiting is reckoned by.
    pub(super) fn usual(&self) -> Duration {
        Duration::from_nanos(self.usual_nanos.load(Relaxed))
    }

    /// The moving average of the time that an instance is busy for one request.
    pub(super) fn per_request(&self) -> Duration {
        Duration::from_nanos(self.request_nanos.load(Relaxed))
    }
}

/// Moves an average by an eighth of the difference.
fn average(place: &AtomicU64, value: u64) {
    let old = place.load(Relaxed);
    let new = if old == 0 {
        value
    } else {
        old - old / 8 + value / 8
    };
    place.store(new.max(1), Relaxed);
}

/// The same, where a value that is far too high counts for a few usual ones: see [`OUTLIER`].
fn average_of_usual(place: &AtomicU64, value: u64) {
    let most = match place.load(Relaxed) {
        0 => u64::MAX,
        usual => usual.saturating_mul(OUTLIER),
    };
    average(place, value.min(most));
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of requests of one row each.
    fn run(time: Duration, requests: usize, bytes: u64) -> Ran {
        Ran {
            time,
            requests,
            rows: requests as u64,
            bytes,
        }
    }

    #[test]
    fn only_sizes_that_were_short_are_short() {
        let pace = Pace::new(Duration::from_micros(200));
        assert!(!pace.is_short(0) || pace.latency().is_zero());
        for _ in 0..3 {
            pace.ran(run(Duration::from_micros(20), 1, 100));
        }
        assert!(pace.is_short(100));
        assert!(!pace.is_short(101));
        pace.overran();
        assert!(!pace.is_short(100));
    }

    #[test]
    fn one_run_that_was_held_up_does_not_count_for_all() {
        let pace = Pace::new(Duration::ZERO);
        for _ in 0..10 {
            pace.ran(run(Duration::from_micros(200), 1, 0));
        }
        pace.ran(run(Duration::from_secs(1), 1, 0));
        assert!(pace.latency() > Duration::from_millis(100));
        assert!(pace.usual() < Duration::from_micros(400));
        for _ in 0..20 {
            pace.ran(run(Duration::from_millis(20), 1, 0));
        }
        assert!(pace.usual() > Duration::from_millis(15), "it became slower");
    }

    #[test]
    fn a_slow_model_is_never_short() {
        let pace = Pace::new(Duration::from_micros(200));
        pace.ran(run(Duration::from_millis(5), 4, 100));
        assert!(!pace.is_short(100) && !pace.is_short(0));
        assert_eq!(pace.per_request(), Duration::from_micros(1250));
        let off = Pace::new(Duration::ZERO);
        off.ran(run(Duration::from_micros(1), 1, 100));
        assert!(!off.is_short(1));
    }

    #[test]
    fn a_batch_that_nobody_asked_for_is_short() {
        let quick = Pace::new(Duration::ZERO);
        assert_eq!(quick.rows_of_a_short_run(), 1, "nothing is known");
        quick.ran(run(Duration::from_micros(20), 1, 0));
        assert_eq!(quick.rows_of_a_short_run(), 100);
        // Twenty milliseconds alone, and five for each row of a batch: four times twenty are sixteen rows.
        let long = Pace::new(Duration::ZERO);
        long.ran(run(Duration::from_millis(20), 1, 0));
        assert_eq!(long.rows_of_a_short_run(), 4);
        for _ in 0..40 {
            long.ran(run(Duration::from_millis(20), 4, 0));
        }
        assert!((15..=16).contains(&long.rows_of_a_short_run()));
    }
}
