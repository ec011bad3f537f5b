//! Outlier ejection: an endpoint that keeps failing is asked nothing for a while, and then tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::settings::Ejection;

/// How an endpoint has done.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Failures since the last success.
    failures: u32,
    /// Ejections since the last success.
    ejections: u32,
    /// Until when it is out.
    out_until: Option<Instant>,
}

/// What a failure came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Stays,
    /// It failed often enough to be taken out, if as many as may be are not out already.
    Ejects,
}

impl Health {
    /// When it comes back, where it is out.
    pub(crate) fn out_until(&self, now: Instant) -> Option<Instant> {
        self.out_until.filter(|until| now < *until)
    }

    pub(crate) fn succeeded(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn failed(&mut self, policy: &Ejection, now: Instant) -> Verdict {
        self.failures = self.failures.saturating_add(1);
        // What was under way when it was taken out ends later, and says nothing new.
        let is_out = self.out_until(now).is_some();
        match policy.after {
            0 => Verdict::Stays,
            // One that came back is on trial: a single failure takes it out again.
            after if !is_out && (self.failures >= after || self.ejections > 0) => Verdict::Ejects,
            _ => Verdict::Stays,
        }
    }

    /// Takes it out, twice as long as the last time.
    pub(crate) fn eject(&mut self, policy: &Ejection, now: Instant) {
        self.out_until = Some(now + doubled(policy.first, self.ejections, policy.longest));
        self.ejections = self.ejections.saturating_add(1);
    }
}

/// A time that doubles with each time before, up to a longest.
pub(crate) fn doubled(first: Duration, times: u32, longest: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(times);
    first.saturating_mul(factor).min(longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Ejection = Ejection {
        after: 3,
        first: Duration::from_secs(1),
        longest: Duration::from_secs(3),
        max_fraction: 1.0,
        counts_unavailable: false,
    };

    #[test]
    fn failures_in_a_row_take_it_out_for_longer_each_time() {
        let mut health = Health::default();
        let start = Instant::now();
        assert_eq!(health.failed(&POLICY, start), Verdict::Stays);
        health.succeeded();
        for _ in 0..2 {
            assert_eq!(health.failed(&POLICY, start), Verdict::Stays);
        }
        assert_eq!(health.failed(&POLICY, start), Verdict::Ejects);
        health.eject(&POLICY, start);
        assert_eq!(health.failed(&POLICY, start), Verdict::Stays);
        let mut now = start;
        for seconds in [1, 2, 3, 3] {
            let back = health.out_until(now).unwrap();
            assert_eq!(back - now, Duration::from_secs(seconds));
            now = back;
            assert_eq!(health.out_until(now), None);
            assert_eq!(health.failed(&POLICY, now), Verdict::Ejects);
            health.eject(&POLICY, now);
        }
        health.succeeded();
        assert_eq!(health.out_until(now), None);
        assert_eq!(health.failed(&POLICY, now), Verdict::Stays);
    }

    #[test]
    fn zero_switches_it_off() {
        let policy = Ejection { after: 0, ..POLICY };
        let mut health = Health::default();
        for _ in 0..100 {
            assert_eq!(health.failed(&policy, Instant::now()), Verdict::Stays);
        }
    }
}
