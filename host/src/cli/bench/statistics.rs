//! What is counted and timed, in memory that does not grow with the count of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;

/// Longer times are recorded as this one.
const LONGEST: Duration = Duration::from_hours(1);

/// Three digits of every time are kept.
const DIGITS: u8 = 3;

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Succeeded,
    /// 503 or `UNAVAILABLE`: the server sheds load.
    Refused(String),
    Failed(Failure, String),
}

/// The kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    /// Another HTTP status than 2xx and 503.
    Status(u16),
    /// Another gRPC code than `OK` and `UNAVAILABLE`.
    Grpc(u32),
    /// No connection could be opened.
    Connect,
    /// The connection broke, or the answer was no answer.
    Broken,
    /// No answer in time.
    Timeout,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(code) => write!(f, "grpc-status {code}"),
            Self::Connect => f.write_str("no connection"),
            Self::Broken => f.write_str("broken connection"),
            Self::Timeout => f.write_str("timeout"),
        }
    }
}

/// A request that is over.
pub(super) struct Sample {
    /// From when its latency counts: when it was due in an open loop, when it was sent in a closed one.
    pub(super) from: Instant,
    pub(super) done: Instant,
    pub(super) received: u64,
    pub(super) verdict: Verdict,
}

/// How often something happened, and what the server said about it the first time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) count: u64,
    pub(super) message: String,
}

/// The times of the requests with one verdict.
#[derive(Clone)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    fn new() -> Result<Self> {
        let longest = u64::try_from(LONGEST.as_nanos()).context("an hour has fewer nanoseconds")?;
        let histogram = Histogram::new_with_bounds(1, longest, DIGITS)
            .context("the histogram's bounds are in order")?;
        Ok(Self(histogram))
    }

    fn record(&mut self, latency: Duration) {
        self.0
            .saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    pub(super) fn mean(&self) -> Duration {
        Duration::from_nanos(self.0.mean() as u64)
    }

    pub(super) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }

    /// The time that so many percent of the requests did not exceed.
    pub(super) fn percentile(&self, percent: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_percentile(percent).min(self.0.max()))
    }
}

/// Everything that was measured.
pub(super) struct Recorder {
    pub(super) succeeded: Latencies,
    pub(super) refused: Latencies,
    pub(super) failures: BTreeMap<Failure, Said>,
    /// What the first refusal said.
    pub(super) refusal: String,
    /// Due in time, and never sent: every connection was busy to the end.
    pub(super) unsent: u64,
    /// Successes that the throughput counts.
    pub(super) counted: u64,
    pub(super) received: u64,
    /// When the last answer came.
    pub(super) last: Option<Instant>,
}

impl Recorder {
    /// Makes an empty one.
    ///
    /// # Errors
    /// Never: the bounds of the histograms are constants.
    pub(super) fn new() -> Result<Self> {
        Ok(Self {
            succeeded: Latencies::new()?,
            refused: Latencies::new()?,
            failures: BTreeMap::new(),
            refusal: String::new(),
            unsent: 0,
            counted: 0,
            received: 0,
            last: None,
        })
    }

    /// Takes a request in. Successes up to `counted_until` make the throughput.
    pub(super) fn record(&mut self, sample: Sample, counted_until: Option<Instant>) {
        let latency = sample.done.saturating_duration_since(sample.from);
        self.received += sample.received;
        self.last = self.last.max(Some(sample.done));
        match sample.verdict {
            Verdict::Succeeded => {
                self.succeeded.record(latency);
                if counted_until.is_none_or(|until| sample.done <= until) {
                    self.counted += 1;
                }
            }
            Verdict::Refused(message) => {
                self.refused.record(latency);
                if self.refusal.is_empty() {
                    self.refusal = message;
                }
            }
            Verdict::Failed(failure, message) => self.failed(failure, Said { count: 1, message }),
        }
    }

    /// Takes in what another thread measured.
    ///
    /// # Errors
    /// Never: all histograms have the same bounds.
    pub(super) fn merge(&mut self, other: Self) -> Result<()> {
        self.succeeded.0.add(&other.succeeded.0)?;
        self.refused.0.add(&other.refused.0)?;
        for (failure, said) in other.failures {
            self.failed(failure, said);
        }
        if self.refusal.is_empty() {
            self.refusal = other.refusal;
        }
        self.unsent += other.unsent;
        self.counted += other.counted;
        self.received += other.received;
        self.last = self.last.max(other.last);
        Ok(())
    }

    /// Requests that failed, the refused ones apart.
    pub(super) fn failed_count(&self) -> u64 {
        self.failures.values().map(|said| said.count).sum()
    }

    /// Requests that were sent.
    pub(super) fn requests(&self) -> u64 {
        self.succeeded.count() + self.refused.count() + self.failed_count()
    }

    fn failed(&mut self, failure: Failure, said: Said) {
        self.failures
            .entry(failure)
            .and_modify(|known| known.count += said.count)
            .or_insert(said);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(from: Instant, millis: u64, verdict: Verdict) -> Sample {
        Sample {
            from,
            done: from + Duration::from_millis(millis),
            received: 10,
            verdict,
        }
    }

    #[test]
    fn verdicts_are_kept_apart_and_merged() {
        let from = Instant::now();
        let (mut one, mut other) = (Recorder::new().unwrap(), Recorder::new().unwrap());
        let until = Some(from + Duration::from_millis(90));
        for millis in 1..=100 {
            one.record(sample(from, millis, Verdict::Succeeded), until);
        }
        other.record(sample(from, 500, Verdict::Refused("full".into())), until);
        for message in ["first", "second"] {
            let verdict = Verdict::Failed(Failure::Status(500), message.into());
            other.record(sample(from, 1000, verdict), until);
        }
        other.unsent = 7;
        one.merge(other).unwrap();

        assert_eq!(
            (one.requests(), one.failed_count(), one.unsent),
            (103, 2, 7)
        );
        assert_eq!((one.counted, one.received), (90, 1030));
        assert_eq!(one.last, Some(from + Duration::from_secs(1)));
        assert_eq!(one.failures[&Failure::Status(500)].message, "first");
        assert_eq!(one.refusal, "full");
        let close = |found: Duration, millis: u64| {
            let wanted = Duration::from_millis(millis);
            assert!(
                found.abs_diff(wanted) <= wanted / 500,
                "{found:?} for {wanted:?}"
            );
        };
        close(one.succeeded.percentile(50.0), 50);
        close(one.succeeded.percentile(99.0), 99);
        close(one.succeeded.max(), 100);
        close(one.refused.percentile(99.9), 500);
    }

    #[test]
    fn times_beyond_the_bounds_are_recorded_as_the_longest() {
        let from = Instant::now();
        let mut recorder = Recorder::new().unwrap();
        recorder.record(sample(from, 7 * 3_600_000, Verdict::Succeeded), None);
        recorder.record(sample(from, 0, Verdict::Succeeded), None);
        assert!(recorder.succeeded.max() >= LONGEST);
        assert_eq!(recorder.succeeded.count(), 2);
    }
}
