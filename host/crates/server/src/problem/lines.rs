//! How many lines are written about faults of plugins: a client may provoke those as often as it likes.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines a second, for all who write them.
pub(super) struct Lines {
    per_second: u32,
    window: Mutex<Window>,
}

struct Window {
    began: Option<Instant>,
    written: u32,
    dropped: u64,
}

impl Lines {
    pub(super) const fn new(per_second: u32) -> Self {
        Self {
            per_second,
            window: Mutex::new(Window {
                began: None,
                written: 0,
                dropped: 0,
            }),
        }
    }

    /// Admits a line, and gives how many were dropped since one was. None where this one is to be dropped.
    pub(super) fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let over = |began| now.saturating_duration_since(began) >= Duration::from_secs(1);
        if window.began.is_none_or(over) {
            window.began = Some(now);
            window.written = 0;
        }
        if window.written >= self.per_second {
            window.dropped += 1;
            return None;
        }
        window.written += 1;
        Some(std::mem::take(&mut window.dropped))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_rate_are_dropped_and_counted() {
        let lines = Lines::new(2);
        let now = Instant::now();
        let admitted = [(); 5].map(|()| lines.admit(now));
        assert_eq!(admitted, [Some(0), Some(0), None, None, None]);
        let later = now + Duration::from_secs(1);
        assert_eq!([lines.admit(later), lines.admit(later)], [Some(3), Some(0)]);
    }
}
