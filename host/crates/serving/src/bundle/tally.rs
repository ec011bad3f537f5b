//! What the requests of a release came to: counted as they end, by relaxed additions alone.

use std::array;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use wharf_core::ErrorKind;

/// Times are counted in buckets of an eighth of a power of two of nanoseconds: 12 % wide, up to an hour.
const PARTS: u32 = 3;
const BUCKETS: usize = 42 << PARTS;

/// The counts of a release, over all its routes.
pub(crate) struct Tally {
    ok: AtomicU64,
    refused: AtomicU64,
    faults: AtomicU64,
    no_room: AtomicU64,
    times: [AtomicU64; BUCKETS],
    /// Told of each fault, so that a bad release need not wait for a timer.
    noticed: Arc<Notify>,
}

/// What was counted by a moment, or between two.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Requests that were answered.
    pub(crate) ok: u64,
    /// Those that were refused for what the client sent.
    pub(crate) refused: u64,
    /// Those that failed for what the release is.
    pub(crate) faults: u64,
    /// Those of them that found no room in the release's model.
    no_room: u64,
    /// How long all of them took, and how long those had taken that a client left.
    times: Vec<u64>,
}

/// What the end of a request says of its release.
fn is_fault(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::PluginFault | ErrorKind::Internal | ErrorKind::Deadline | ErrorKind::Unavailable
    )
}

impl Tally {
    pub(crate) fn new(noticed: &Arc<Notify>) -> Self {
        Self {
            ok: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            faults: AtomicU64::new(0),
            no_room: AtomicU64::new(0),
            times: array::from_fn(|_| AtomicU64::new(0)),
            noticed: Arc::clone(noticed),
        }
    }

    /// Counts a request that found no room in the release's model: it failed, and took no time.
    pub(crate) fn no_room(&self) {
        self.fault();
        self.no_room.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, error: Option<ErrorKind>, took: Duration) {
        match error {
            // The client left: that says nothing but how long it waited.
            Some(ErrorKind::Cancelled) => {}
            Some(kind) if is_fault(kind) => self.fault(),
            Some(_) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            None => {
                self.ok.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.times[bucket(took)].fetch_add(1, Ordering::Relaxed);
    }

    fn fault(&self) {
        self.faults.fetch_add(1, Ordering::Relaxed);
        self.noticed.notify_one();
    }

    pub(crate) fn read(&self) -> Counts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counts {
            ok: read(&self.ok),
            refused: read(&self.refused),
            faults: read(&self.faults),
            no_room: read(&self.no_room),
            times: self.times.iter().map(read).collect(),
        }
    }
}

/// Counts one request, whatever becomes of it.
pub(crate) struct Measuring<'a> {
    tally: &'a Tally,
    started: Instant,
    deadline: Instant,
    ended: bool,
}

impl<'a> Measuring<'a> {
    pub(crate) fn start(tally: &'a Tally, deadline: Instant) -> Self {
        Self {
            tally,
            started: Instant::now(),
            deadline,
            ended: false,
        }
    }

    pub(crate) fn end(mut self, error: Option<ErrorKind>) {
        self.ended = true;
        self.tally.ended(error, self.started.elapsed());
    }
}

impl Drop for Measuring<'_> {
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        // Whoever dropped it, past its deadline it was too late. Before, the client left, and the time that it waited counts all
        // the same: of a release that hangs, nothing else may ever be known.
        let kind = match self.deadline <= Instant::now() {
            true => ErrorKind::Deadline,
            false => ErrorKind::Cancelled,
        };
        self.tally.ended(Some(kind), self.started.elapsed());
    }
}

impl Counts {
    /// What came after an earlier reading.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        let then = earlier.times.iter().chain(std::iter::repeat(&0));
        Self {
            ok: less(self.ok, earlier.ok),
            refused: less(self.refused, earlier.refused),
            faults: less(self.faults, earlier.faults),
            no_room: less(self.no_room, earlier.no_room),
            times: (self.times.iter().zip(then))
                .map(|(now, then)| less(*now, *then))
                .collect(),
        }
    }

    pub(crate) fn requests(&self) -> u64 {
        self.ok + self.refused + self.faults
    }

    /// The part of the requests that failed for what the release is; 0 before the first.
    pub(crate) fn fault_rate(&self) -> f64 {
        match self.requests() {
            0 => 0.0,
            requests => self.faults as f64 / requests as f64,
        }
    }

    /// The part of the requests that were refused; 0 before the first.
    pub(crate) fn refusal_rate(&self) -> f64 {
        match self.requests() {
            0 => 0.0,
            requests => self.refused as f64 / requests as f64,
        }
    }

    /// The same without the requests that found no room.
    pub(crate) fn with_room(&self) -> Self {
        Self {
            faults: self.faults.saturating_sub(self.no_room),
            no_room: 0,
            ..self.clone()
        }
    }

    /// The requests whose time was taken, those that a client left among them.
    pub(crate) fn timed(&self) -> u64 {
        self.times.iter().sum()
    }

    /// The time within which this part of the requests ended, at most 12 % too long; none before the first.
    pub(crate) fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = (self.timed() as f64 * part).ceil() as u64;
        self.first(|so_far| so_far > 0 && so_far >= wanted)
    }

    /// The shortest time for which a test of the requests within it holds.
    pub(crate) fn first(&self, holds: impl Fn(u64) -> bool) -> Option<Duration> {
        let mut so_far = 0;
        self.times.iter().enumerate().find_map(|(index, count)| {
            so_far += count;
            (*count > 0 && holds(so_far)).then(|| start_of(index + 1))
        })
    }

    /// The requests that surely took longer.
    pub(crate) fn slower_than(&self, time: Duration) -> u64 {
        self.times
            .iter()
            .enumerate()
            .filter(|(index, _)| start_of(*index) >= time)
            .map(|(_, count)| count)
            .sum()
    }

    #[cfg(test)]
    pub(super) fn of(ok: u64, faults: u64, took: Duration) -> Self {
        let mut times = vec![0; BUCKETS];
        times[bucket(took)] = ok + faults;
        Self {
            ok,
            refused: 0,
            faults,
            no_room: 0,
            times,
        }
    }

    #[cfg(test)]
    pub(super) fn refusing(mut self, count: u64, took: Duration) -> Self {
        self.refused += count;
        self.left(count, took)
    }

    #[cfg(test)]
    pub(super) fn full(mut self, count: u64) -> Self {
        self.faults += count;
        self.no_room += count;
        self
    }

    #[cfg(test)]
    pub(super) fn left(mut self, count: u64, took: Duration) -> Self {
        self.times.resize(BUCKETS, 0);
        self.times[bucket(took)] += count;
        self
    }

    #[cfg(test)]
    pub(super) fn and(mut self, count: u64, took: Duration) -> Self {
        self.ok += count;
        self.times[bucket(took)] += count;
        self
    }
}

/// The bucket of a time.
fn bucket(time: Duration) -> usize {
    let nanos = u64::try_from(time.as_nanos())
        .unwrap_or(u64::MAX)
        .max(1 << PARTS);
    let power = nanos.ilog2();
    let part = (nanos >> (power - PARTS)) - (1 << PARTS);
    let index = ((power - PARTS) << PARTS) as usize + part as usize;
    index.min(BUCKETS - 1)
}

/// Where a bucket begins.
fn start_of(bucket: usize) -> Duration {
    let part = (bucket & ((1 << PARTS) - 1)) as u64;
    Duration::from_nanos(((1 << PARTS) + part) << (bucket >> PARTS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_in_its_bucket() {
        for nanos in [
            8,
            9,
            15,
            16,
            17,
            1000,
            4_600,
            1_000_000,
            123_456_789,
            3_600_000_000_000,
        ] {
            let time = Duration::from_nanos(nanos);
            let index = bucket(time);
            assert!(
                start_of(index) <= time && time < start_of(index + 1),
                "{nanos}"
            );
            assert!(start_of(index + 1).as_secs_f64() <= time.as_secs_f64() * 1.126);
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BUCKETS - 1);
    }

    #[test]
    fn what_a_client_did_is_no_fault_and_of_one_that_left_the_time_alone_counts() {
        let tally = Tally::new(&Arc::default());
        let took = Duration::from_millis(1);
        tally.ended(None, took);
        for kind in ErrorKind::ALL {
            tally.ended(Some(kind), took);
        }
        let counts = tally.read();
        assert_eq!((counts.ok, counts.refused, counts.faults), (1, 11, 4));
        // The time of the one that was cancelled.
        assert_eq!(counts.timed(), counts.requests() + 1);
        assert_eq!(counts.since(&counts).requests(), 0);
        // Dropped in time: the client left.
        drop(Measuring::start(
            &tally,
            Instant::now() + Duration::from_secs(60),
        ));
        assert_eq!(tally.read().requests(), counts.requests());
        assert_eq!(tally.read().timed(), counts.timed() + 1);
        drop(Measuring::start(&tally, Instant::now()));
        assert_eq!(tally.read().faults, 5);
        tally.no_room();
        assert_eq!(tally.read().faults, 6);
        assert_eq!(tally.read().with_room().faults, 5);
    }

    #[test]
    fn quantiles_are_those_of_the_buckets() {
        let (short, long) = (Duration::from_millis(1), Duration::from_millis(100));
        let counts = Counts::of(96, 0, short).and(4, long);
        let near = |time: Option<Duration>, wanted: Duration| {
            let ratio = time.unwrap().as_secs_f64() / wanted.as_secs_f64();
            (1.0..1.126).contains(&ratio)
        };
        assert!(near(counts.quantile(0.95), short));
        assert!(near(counts.quantile(0.99), long));
        assert_eq!(counts.slower_than(Duration::from_millis(10)), 4);
        assert_eq!(Counts::default().quantile(0.95), None);
    }
}
