//! The time that quotas in memory go by.

use std::time::Instant;

/// Microseconds since whenever.
pub(crate) trait Clock: Send + Sync + 'static {
    /// The moment that it is.
    fn now(&self) -> u64;
}

/// The time since this was made. It does not jump when the machine's clock is set.
pub(crate) struct Uptime(Instant);

impl Uptime {
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Uptime {
    fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// A time that a test says.
#[cfg(test)]
#[derive(Default)]
pub(crate) struct Said(std::sync::atomic::AtomicU64);

#[cfg(test)]
impl Said {
    pub(crate) fn pass(&self, time: std::time::Duration) {
        let micros = u64::try_from(time.as_micros()).expect("tests are short");
        self.0
            .fetch_add(micros, std::sync::atomic::Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Clock for Said {
    fn now(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}
