//! The algorithm that counts: GCRA, the generic cell rate algorithm of ITU-T I.371, as integers and without a clock.
//!
//! What was taken is a debt of time. A unit of a rate of five a second owes 200 ms, the debt shrinks as time goes by, and what is
//! asked for is given where the debt stays within that of the burst. So no more than the burst is given at once, and no more than
//! the rate after it, whatever the moments are at which somebody looks: there is no window at whose edge twice as much passes.
//!
//! This is the form with a continuous state. The other form keeps the moment at which the debt is paid: in nanoseconds that is a
//! number above 2^53, and the script in Redis, which decides by the same steps, counts in doubles.

use std::time::Duration;

/// The largest debt, some 52 days, in nanoseconds: two of them add up to what a double holds exactly.
pub(crate) const MOST_DEBT: u64 = 1 << 52;

/// How fast something may be used, and how much of it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rate {
    /// The nanoseconds in which a unit comes back.
    interval: u64,
    /// The most units at once.
    burst: u64,
}

/// How long until what was asked for may be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    /// So long, where nobody else takes it before.
    For(Duration),
    /// It is more than the burst.
    Never,
}

impl Rate {
    /// So many units in a time. Both are more than zero.
    pub(crate) fn new(units: f64, time: Duration, burst: u64) -> Self {
        let interval = time.as_secs_f64() * 1e9 / units;
        Self {
            // A cast of a float saturates.
            interval: (interval.round() as u64).max(1),
            burst: burst.max(1),
        }
    }

    /// What so many units owe, in nanoseconds.
    pub(crate) fn cost(self, units: u64) -> u64 {
        self.interval.saturating_mul(units).min(MOST_DEBT)
    }

    /// The largest debt with which something is still given.
    pub(crate) fn capacity(self) -> u64 {
        self.cost(self.burst)
    }

    /// The debt after so many units are taken.
    ///
    /// # Errors
    /// How long to wait, where they are not there.
    pub(crate) fn take(self, debt: u64, units: u64) -> Result<u64, Wait> {
        if units > self.burst {
            return Err(Wait::Never);
        }
        let after = debt.saturating_add(self.cost(units));
        match after.checked_sub(self.capacity()) {
            None | Some(0) => Ok(after),
            Some(excess) => Err(Wait::For(Duration::from_nanos(excess))),
        }
    }

    /// The debt after so many of the units that were set aside are known to be used. It may become larger than the burst's: then
    /// nothing is given until time has paid for it.
    pub(crate) fn settle(self, debt: u64, reserved: u64, used: u64) -> u64 {
        debt.saturating_add_signed(self.difference(reserved, used))
            .min(MOST_DEBT)
    }

    /// What the debt changes by when so many units were used in place of those that were set aside.
    pub(crate) fn difference(self, reserved: u64, used: u64) -> i64 {
        // Neither cost is more than the largest debt.
        self.cost(used).cast_signed() - self.cost(reserved).cast_signed()
    }

    /// The units that would be given now.
    pub(crate) fn remaining(self, debt: u64) -> u64 {
        self.capacity().saturating_sub(debt) / self.interval
    }

    /// The units that come back in a time.
    pub(crate) fn within(self, time: Duration) -> u64 {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A unit takes a whole number of nanoseconds, mostly rounded: the nearest number of units is what was asked for.
        nanos.saturating_add(self.interval / 2) / self.interval
    }

    /// One of so many equal parts of it. Nobody has less than one unit at once.
    pub(crate) fn part(self, of: u32) -> Self {
        Self {
            interval: self
                .interval
                .saturating_mul(u64::from(of.max(1)))
                .min(MOST_DEBT),
            burst: (self.burst / u64::from(of.max(1))).max(1),
        }
    }
}

/// What has been taken of something, at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meter {
    /// In nanoseconds.
    debt: u64,
    /// In microseconds of whatever clock.
    at: u64,
}

impl Meter {
    /// The debt at a moment. One before the last is taken for the last: a clock that is put back gives nothing away.
    pub(crate) fn debt(self, now: u64) -> u64 {
        let paid = now.saturating_sub(self.at).saturating_mul(1000);
        self.debt.saturating_sub(paid)
    }

    /// Notes the debt at a moment.
    pub(crate) fn owe(&mut self, debt: u64, now: u64) {
        self.debt = debt;
        self.at = self.at.max(now);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_given_at_once_and_then_the_rate() {
        let rate = Rate::new(5.0, SECOND, 10);
        let mut debt = 0;
        for left in (0..10).rev() {
            debt = rate.take(debt, 1).unwrap();
            assert_eq!(rate.remaining(debt), left);
        }
        assert_eq!(
            rate.take(debt, 1),
            Err(Wait::For(Duration::from_millis(200)))
        );
        assert_eq!(
            rate.take(debt - 199_999_999, 1),
            Err(Wait::For(Duration::from_nanos(1)))
        );
        assert!(rate.take(debt - 200_000_000, 1).is_ok());
        assert_eq!(rate.take(0, 11), Err(Wait::Never));
        assert_eq!(rate.within(Duration::from_secs(60)), 300);
    }

    #[test]
    fn what_is_settled_goes_back_or_is_taken_from_what_comes() {
        let rate = Rate::new(60.0, Duration::from_secs(60), 100);
        let debt = rate.take(0, 80).unwrap();
        let less = rate.settle(debt, 80, 30);
        assert_eq!(rate.remaining(less), 70);
        let more = rate.settle(debt, 80, 130);
        assert_eq!(rate.remaining(more), 0);
        assert_eq!(rate.take(more, 1), Err(Wait::For(SECOND * 31)));
        assert_eq!(rate.settle(debt, u64::MAX, 0), 0);
        assert_eq!(rate.settle(debt, 0, u64::MAX), MOST_DEBT);
    }

    #[test]
    fn a_part_is_the_whole_divided_but_never_nothing() {
        let rate = Rate::new(200.0, SECOND, 300);
        let part = rate.part(4);
        assert_eq!((part.within(SECOND), part.remaining(0)), (50, 75));
        assert_eq!(Rate::new(5.0, SECOND, 2).part(3).remaining(0), 1);
        assert_eq!(rate.part(0), rate);
    }

    #[test]
    fn a_clock_that_is_put_back_gives_nothing_away() {
        let mut meter = Meter::default();
        meter.owe(5_000, 100);
        assert_eq!(meter.debt(40), 5_000);
        meter.owe(6_000, 40);
        assert_eq!(meter.debt(100), 6_000);
        assert_eq!(meter.debt(103), 3_000);
        assert_eq!(meter.debt(u64::MAX), 0);
    }

    proptest! {
        #[test]
        fn no_time_sees_more_than_the_burst_and_the_rate(
            per_second in 1_u32..10_000,
            burst in 1_u64..200,
            steps in prop::collection::vec((0_u64..50_000, 1_u64..20), 1..400),
        ) {
            let rate = Rate::new(f64::from(per_second), SECOND, burst);
            let (mut meter, mut now) = (Meter::default(), 1_000_000);
            let mut given: Vec<(u64, u64)> = Vec::new();
            for (pause, units) in steps {
                now += pause;
                if let Ok(debt) = rate.take(meter.debt(now), units) {
                    meter.owe(debt, now);
                    given.push((now, units));
                }
            }
            // Every stretch of time, from each thing that was given to the last.
            for (index, (since, _)) in given.iter().enumerate() {
                let total: u64 = given[index..].iter().map(|(_, units)| units).sum();
                let time = u128::from(given[given.len() - 1].0 - since) * 1000;
                let earned = time / u128::from(rate.interval);
                prop_assert!(u128::from(total) <= u128::from(burst) + earned, "{total} since {since}");
            }
        }

        #[test]
        fn what_is_refused_is_given_after_the_wait_and_not_before(
            per_second in 1_u32..10_000,
            burst in 1_u64..200,
            debt in 0_u64..10_000_000_000,
            units in 1_u64..200,
        ) {
            let rate = Rate::new(f64::from(per_second), SECOND, burst);
            match rate.take(debt, units) {
                Ok(after) => prop_assert!(after <= rate.capacity()),
                Err(Wait::Never) => prop_assert!(units > burst),
                Err(Wait::For(wait)) => {
                    let wait = u64::try_from(wait.as_nanos()).unwrap();
                    prop_assert!(rate.take(debt - wait, units).is_ok());
                    prop_assert!(rate.take(debt - wait + 1, units).is_err());
                }
            }
        }
    }
}
