//! What becomes of requests that have a model: counted as they end, by relaxed additions alone.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use opentelemetry::KeyValue;
use wharf_core::{CacheLookup, ErrorKind, Name, Timings};

use crate::lifecycle::{BatchStatistics, ModelStatistics, Tally};

/// Runs of so many rows have a counter of their own; above, each counts under the next power of two.
const EXACT_ROWS: u64 = 128;

/// The counters of runs: the exact ones, and one for each power of two above.
const BUCKETS: usize = EXACT_ROWS as usize + 63 - EXACT_ROWS.ilog2() as usize;

/// The requests of one route to one version of a model.
pub(crate) struct ModelCounters {
    route: Name,
    version: u64,
    /// By outcome: 0 is success, the rest are the kinds of error.
    outcomes: [AtomicU64; 1 + ErrorKind::ALL.len()],
    attributes: Vec<[KeyValue; 4]>,
    times: Times,
    /// Requests that were refused for want of room, before there was anything to account for. Among those of outcomes they are
    /// not: `route_refused` has them.
    refused: AtomicU64,
    /// Made with the first run: most pairs of route and version never see one.
    runs: OnceLock<Box<[Runs; BUCKETS]>>,
    /// When the counters were made. The last request is kept as the time since.
    made: (Instant, SystemTime),
}

/// Sums of times in nanoseconds, but for those that say otherwise. Counts that follow from others are not kept.
#[derive(Default)]
struct Times {
    success: AtomicU64,
    fail: AtomicU64,
    queue: AtomicU64,
    compute_input: AtomicU64,
    compute_infer: AtomicU64,
    compute_output: AtomicU64,
    cache_hit: AtomicU64,
    cache_miss: AtomicU64,
    /// Requests.
    hits: AtomicU64,
    /// Requests.
    misses: AtomicU64,
    /// Rows that were computed.
    rows: AtomicU64,
    /// Since the counters were made, plus one; 0 before the first request.
    last: AtomicU64,
}

/// The runs of one number of rows, and the sums of their times in nanoseconds.
#[derive(Default)]
struct Runs {
    count: AtomicU64,
    compute_input: AtomicU64,
    compute_infer: AtomicU64,
    compute_output: AtomicU64,
}

impl ModelCounters {
    pub(super) fn new(route: &Name, model: &Name, version: u64) -> Self {
        let outcomes = std::iter::once("ok").chain(ErrorKind::ALL.map(ErrorKind::name));
        Self {
            route: route.clone(),
            version,
            outcomes: Default::default(),
            attributes: outcomes
                .map(|outcome| {
                    [
                        KeyValue::new("model", model.shared()),
                        KeyValue::new("model_version", version.to_string()),
                        KeyValue::new("endpoint", route.shared()),
                        KeyValue::new("outcome", outcome),
                    ]
                })
                .collect(),
            times: Times::default(),
            refused: AtomicU64::new(0),
            runs: OnceLock::new(),
            made: (Instant::now(), SystemTime::now()),
        }
    }

    /// Each count with the labels that it is shown under.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&AtomicU64, &[KeyValue])> {
        self.outcomes
            .iter()
            .zip(self.attributes.iter().map(<[KeyValue; 4]>::as_slice))
    }

    /// Counts a request that was refused for want of room.
    pub(crate) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    fn ended(&self, error: Option<ErrorKind>, at: Instant) {
        // The kinds are declared in the order of `ErrorKind::ALL`.
        let index = error.map_or(0, |kind| 1 + kind as usize);
        self.outcomes[index].fetch_add(1, Ordering::Relaxed);
        let since = nanoseconds(at.saturating_duration_since(self.made.0));
        self.times.last.store(since + 1, Ordering::Relaxed);
    }

    fn ran(&self, rows: u64, timings: &Timings) {
        let runs = self
            .runs
            .get_or_init(|| Box::new(std::array::from_fn(|_| Runs::default())));
        let runs = &runs[bucket(rows)];
        runs.count.fetch_add(1, Ordering::Relaxed);
        add(&runs.compute_input, timings.compute_input);
        add(&runs.compute_infer, timings.compute_infer);
        add(&runs.compute_output, timings.compute_output);
    }

    fn succeeded(&self, rows: u64, timings: &Timings, took: Duration) {
        let times = &self.times;
        add(&times.success, took);
        add(&times.queue, timings.queue);
        match timings.cache {
            Some(CacheLookup::Hit(time)) => {
                times.hits.fetch_add(1, Ordering::Relaxed);
                add(&times.cache_hit, time);
                // Nothing was computed for it: its rows are no inferences, as Triton counts them.
                return;
            }
            Some(CacheLookup::Miss(time)) => {
                times.misses.fetch_add(1, Ordering::Relaxed);
                add(&times.cache_miss, time);
            }
            None => {}
        }
        times.rows.fetch_add(rows, Ordering::Relaxed);
        add(&times.compute_input, timings.compute_input);
        add(&times.compute_infer, timings.compute_infer);
        add(&times.compute_output, timings.compute_output);
    }

    /// What was counted so far. Requests end while it is read, so sums may be ahead of each other by these.
    pub(crate) fn statistics(&self) -> ModelStatistics {
        let times = &self.times;
        let mut outcomes = self.outcomes.iter().map(read);
        let successes = outcomes.next().unwrap_or_default();
        let fails = outcomes.sum::<u64>() + read(&self.refused);
        let (hits, misses) = (read(&times.hits), read(&times.misses));
        let computed = successes.saturating_sub(hits);
        let last = read(&times.last).checked_sub(1).map(Duration::from_nanos);
        let batches: Vec<BatchStatistics> = self
            .runs
            .get()
            .into_iter()
            .flat_map(|runs| runs.iter().enumerate())
            .filter_map(|(index, runs)| runs.statistics(rows_of(index)))
            .collect();
        ModelStatistics {
            name: self.route.clone(),
            version: self.version,
            last_inference: last.map(|since| self.made.1 + since),
            inference_count: read(&times.rows),
            execution_count: batches.iter().map(|batch| batch.compute_infer.count).sum(),
            success: tally(successes, &times.success),
            fail: tally(fails, &times.fail),
            queue: tally(successes, &times.queue),
            compute_input: tally(computed, &times.compute_input),
            compute_infer: tally(computed, &times.compute_infer),
            compute_output: tally(computed, &times.compute_output),
            cache_hit: tally(hits, &times.cache_hit),
            cache_miss: tally(misses, &times.cache_miss),
            batches,
        }
    }
}

impl Runs {
    fn statistics(&self, rows: u64) -> Option<BatchStatistics> {
        let count = read(&self.count);
        (count > 0).then(|| BatchStatistics {
            rows,
            compute_input: tally(count, &self.compute_input),
            compute_infer: tally(count, &self.compute_infer),
            compute_output: tally(count, &self.compute_output),
        })
    }
}

/// Counts one request, whatever becomes of it. One that is dropped half-way was ended by its deadline, or by a client that
/// left: that is a failed request, as Triton counts it.
pub(crate) struct Accounting<'a> {
    counters: &'a ModelCounters,
    started: Instant,
    deadline: Instant,
    /// The rows that it brought, and where the time of its inference went.
    inference: Option<(u64, Timings)>,
    ended: bool,
}

impl<'a> Accounting<'a> {
    pub(crate) fn start(
        counters: &'a ModelCounters,
        started: Instant,
        deadline: Instant,
    ) -> Accounting<'a> {
        Self {
            counters,
            started,
            deadline,
            inference: None,
            ended: false,
        }
    }

    /// The model has answered. A run counts whatever becomes of the request after it.
    pub(crate) fn inferred(&mut self, rows: u64, timings: Timings) {
        if let Some(rows) = timings.run_rows {
            self.counters.ran(rows, &timings);
        }
        self.inference = Some((rows, timings));
    }

    pub(crate) fn end(mut self, error: Option<ErrorKind>) {
        self.close(error, Instant::now());
    }

    fn close(&mut self, error: Option<ErrorKind>, now: Instant) {
        self.ended = true;
        let took = now.saturating_duration_since(self.started);
        self.counters.ended(error, now);
        match (error, &self.inference) {
            (None, Some((rows, timings))) => self.counters.succeeded(*rows, timings, took),
            (None, None) => add(&self.counters.times.success, took),
            (Some(_), _) => add(&self.counters.times.fail, took),
        }
    }
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        if !self.ended {
            let now = Instant::now();
            let kind = if self.deadline <= now {
                ErrorKind::Deadline
            } else {
                ErrorKind::Cancelled
            };
            self.close(Some(kind), now);
        }
    }
}

/// The counter of runs of so many rows.
fn bucket(rows: u64) -> usize {
    // `rows` is at most 2^63 here, and so is its next power of two.
    let rows = rows.clamp(1, 1 << 63);
    let index = if rows <= EXACT_ROWS {
        rows - 1
    } else {
        EXACT_ROWS - 1 + u64::from(rows.next_power_of_two().ilog2() - EXACT_ROWS.ilog2())
    };
    index as usize
}

/// The rows that a counter stands for.
fn rows_of(bucket: usize) -> u64 {
    match (bucket as u64).checked_sub(EXACT_ROWS) {
        None => bucket as u64 + 1,
        Some(beyond) => EXACT_ROWS << (beyond + 1),
    }
}

fn add(sum: &AtomicU64, time: Duration) {
    // Many are nothing: a request that did not wait, a run of one request.
    if !time.is_zero() {
        sum.fetch_add(nanoseconds(time), Ordering::Relaxed);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    // 584 years.
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX - 1)
}

fn read(count: &AtomicU64) -> u64 {
    count.load(Ordering::Relaxed)
}

fn tally(count: u64, time: &AtomicU64) -> Tally {
    Tally {
        count,
        time: Duration::from_nanos(read(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_of_rows_has_a_counter_and_only_large_ones_share_it() {
        for rows in 1..=EXACT_ROWS {
            assert_eq!(rows_of(bucket(rows)), rows);
        }
        for (rows, shown) in [
            (0, 1),
            (129, 256),
            (256, 256),
            (257, 512),
            (1 << 40, 1 << 40),
            (u64::MAX, 1 << 63),
        ] {
            assert_eq!(rows_of(bucket(rows)), shown, "{rows}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }
}
