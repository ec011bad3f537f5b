//! The schedule of an open loop, and the thread that says when a request of it is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// The longest sleep of the pacer, so that it ends soon when it is told to.
const LONGEST_SLEEP: Duration = Duration::from_millis(50);

/// Requests at even distances, whatever the answers do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    /// When the first is due.
    pub(super) start: Instant,
    /// Requests a second.
    pub(super) rate: f64,
    /// How many there are.
    pub(super) total: u64,
}

impl Schedule {
    /// Plans what is due from `start` until `end`.
    pub(super) fn new(start: Instant, end: Instant, rate: f64) -> Self {
        let total = (end.saturating_duration_since(start).as_secs_f64() * rate).round();
        Self {
            start,
            rate,
            total: total as u64,
        }
    }

    /// When a request is due; the first has the number 0.
    pub(super) fn at(&self, number: u64) -> Instant {
        self.start + Duration::from_secs_f64(number as f64 / self.rate)
    }

    /// How many are due by now.
    pub(super) fn due(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.start) {
            // What is due in this very moment counts, whatever the last digit of the quotient says.
            Some(passed) => {
                let due = (passed.as_secs_f64() * self.rate + 1e-6).floor() as u64 + 1;
                due.min(self.total)
            }
            None => 0,
        }
    }
}

/// A thread that sleeps until a request is due and wakes who sends it. The runtime's timer counts milliseconds, which is a
/// hundred requests at a high rate; a thread is woken within a tenth of that.
pub(super) struct Pacer {
    due: Arc<Notify>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Pacer {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where the system has none left.
    pub(super) fn start(schedule: Schedule) -> std::io::Result<Self> {
        let (due, stopped) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let (wake, stop) = (Arc::clone(&due), Arc::clone(&stopped));
        let thread = std::thread::Builder::new()
            .name("wharf-pacer".to_owned())
            .spawn(move || pace(&schedule, &wake, &stop))?;
        Ok(Self {
            due,
            stopped,
            thread: Some(thread),
        })
    }

    /// Waits until the thread has found more requests due since the last tick; they may be taken care of already.
    pub(super) async fn tick(&self) {
        self.due.notified().await;
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It does nothing that panics.
            let _ = thread.join();
        }
    }
}

fn pace(schedule: &Schedule, wake: &Notify, stop: &AtomicBool) {
    let mut announced = 0;
    while announced < schedule.total && !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        let due = schedule.due(now);
        if due > announced {
            announced = due;
            wake.notify_one();
        } else {
            let wait = schedule.at(announced).saturating_duration_since(now);
            std::thread::park_timeout(wait.clamp(Duration::from_micros(1), LONGEST_SLEEP));
        }
    }
    wake.notify_one();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(seconds: u64, rate: f64) -> Schedule {
        let start = Instant::now();
        Schedule::new(start, start + Duration::from_secs(seconds), rate)
    }

    #[test]
    fn requests_are_due_at_even_distances() {
        let schedule = schedule(10, 3.0);
        assert_eq!(schedule.total, 30);
        assert_eq!(schedule.due(schedule.start), 1);
        assert_eq!(schedule.due(schedule.start + Duration::from_millis(999)), 3);
        assert_eq!(schedule.due(schedule.start + Duration::from_secs(1)), 4);
        assert_eq!(schedule.due(schedule.start + Duration::from_secs(60)), 30);
        assert_eq!(schedule.due(schedule.start - Duration::from_millis(1)), 0);
    }

    #[test]
    fn what_is_due_counts_at_its_own_time() {
        for rate in [0.3, 7.0, 333.3, 60_000.0, 1e6] {
            let schedule = schedule(20, rate);
            for number in [0, 1, 2, schedule.total / 3, schedule.total - 1] {
                let due = schedule.due(schedule.at(number) + Duration::from_nanos(1));
                assert_eq!(due, number + 1, "{rate}/s");
            }
        }
    }

    #[tokio::test]
    async fn the_pacer_ticks_until_everything_is_due() {
        let schedule = schedule(1, 200.0);
        let pacer = Pacer::start(schedule).unwrap();
        let mut ticks = 0;
        while schedule.due(Instant::now()) < schedule.total {
            pacer.tick().await;
            ticks += 1;
        }
        assert!(Instant::now() >= schedule.at(schedule.total - 1));
        // Several requests are due at a tick where the machine is busy, but never none for long.
        assert!((10..=schedule.total + 1).contains(&ticks), "{ticks}");
    }
}
