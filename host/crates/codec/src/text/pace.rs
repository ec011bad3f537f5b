//! How long short work takes a tokenizer. No reading of its file tells that for certain, so it is measured.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// What is short takes less, or some hundred microseconds.
const SHORT: Duration = Duration::from_millis(2);

/// How often more often it may take longer than less. A thread that others interrupt takes longer, too.
const PATIENCE: u32 = 4;

/// Counts what took too long, and forgets it with what did not.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU32);

impl Pace {
    /// Whether short work took a short time of late.
    pub(super) fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed) < PATIENCE
    }

    /// Does short work, and takes the time.
    pub(super) fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = work();
        self.took(began.elapsed());
        result
    }

    fn took(&self, time: Duration) {
        let slow = self.0.load(Ordering::Relaxed);
        // Work that takes ten times as long is not tried four times. Lost updates of other threads only delay what is to come.
        let now = match (time.as_nanos() / SHORT.as_nanos()) as u32 {
            0 => slow.saturating_sub(1),
            times => (slow + times.min(PATIENCE)).min(4 * PATIENCE),
        };
        // Written only where it changes: the line is shared by all who use the tokenizer.
        if now != slow {
            self.0.store(now, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_long_is_noticed_and_forgotten_again() {
        let pace = Pace::default();
        assert_eq!(pace.timed(|| 7), 7);
        assert!(pace.is_quick());
        for _ in 0..3 {
            pace.took(SHORT);
        }
        assert!(pace.is_quick(), "that may be chance");
        pace.took(Duration::ZERO);
        pace.took(10 * SHORT);
        assert!(!pace.is_quick());
        for _ in 0..4 * PATIENCE {
            pace.took(Duration::ZERO);
        }
        assert!(pace.is_quick());
        for _ in 0..1000 {
            pace.took(SHORT);
        }
        assert!(!pace.is_quick());
        for _ in 0..4 * PATIENCE {
            pace.took(Duration::ZERO);
        }
        assert!(pace.is_quick(), "it is not remembered for ever");
    }
}
