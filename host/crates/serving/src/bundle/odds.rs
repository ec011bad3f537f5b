//! Whether what was counted can be chance. Every answer here holds however often one looks, and whenever one stops.
//!
//! Both tests are bets against a hypothesis that win on average nothing where it is true. By Ville's inequality such a bet
//! ever multiplies its stake by [`ODDS`] with a probability of at most one in so many. A test for a fixed number of requests,
//! looked at after every request, would find a difference between equals sooner or later.

/// How much a bet must have won: a verdict by chance alone comes in at most one of so many trials.
const ODDS: f64 = 1000.0;

/// The lowest probability that can be believed of something that happened `hits` times of `tries`.
///
/// The bet against a probability `p` is spread evenly over all others; it has won `B(hits + 1, misses + 1) / (p^hits (1 - p)^misses)`.
/// What it has not won against enough is still possible.
pub(super) fn at_least(hits: u64, tries: u64) -> f64 {
    let misses = tries.saturating_sub(hits);
    if hits == 0 {
        return 0.0;
    }
    let won = |p: f64| ln_beta(hits, misses) - weight(hits, p) - weight(misses, 1.0 - p);
    // It falls from infinity at 0 to below 0 at the rate itself.
    let (mut low, mut high) = (0.0, hits as f64 / tries as f64);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if won(middle) > ODDS.ln() {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// The highest such probability.
pub(super) fn at_most(hits: u64, tries: u64) -> f64 {
    1.0 - at_least(tries.saturating_sub(hits), tries)
}

/// Whether faults fall on the new release more often than its share of the requests explains.
///
/// The lot decides which release a request goes to. So where the new one is no worse, a request that fails was the new one's with
/// the probability of its share: whatever the requests were, how many came, and what else went wrong at the time.
pub(super) fn is_worse(on_new: u64, on_old: u64, share: f64) -> bool {
    let faults = on_new + on_old;
    let more = on_new as f64 > share * faults as f64;
    let won = ln_beta(on_new, on_old) - weight(on_new, share) - weight(on_old, 1.0 - share);
    more && won > ODDS.ln()
}

fn weight(count: u64, p: f64) -> f64 {
    match count {
        0 => 0.0,
        count => count as f64 * p.ln(),
    }
}

/// The logarithm of `B(a + 1, b + 1)`.
fn ln_beta(a: u64, b: u64) -> f64 {
    ln_factorial(a) + ln_factorial(b) - ln_factorial(a + b + 1)
}

/// The logarithm of `n!`: by Stirling's series, whose next term is below 1e-9 from ten on.
fn ln_factorial(n: u64) -> f64 {
    if n < 10 {
        return (2..=n).map(|factor| (factor as f64).ln()).sum();
    }
    let n = n as f64;
    let turn = 2.0 * std::f64::consts::PI * n;
    n * n.ln() - n + 0.5 * turn.ln() + 1.0 / (12.0 * n) - 1.0 / (360.0 * n.powi(3))
        + 1.0 / (1260.0 * n.powi(5))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn factorials_are_exact_enough() {
        let mut exact = 0.0;
        for n in 1..=200_u64 {
            exact += (n as f64).ln();
            assert!((ln_factorial(n) - exact).abs() < 1e-8, "{n}");
        }
    }

    #[test]
    fn a_release_that_fails_always_is_seen_after_a_few_faults() {
        for (share, faults) in [(0.05, 3), (0.25, 7), (0.5, 14)] {
            assert!(!is_worse(faults - 1, 0, share), "{share}");
            assert!(is_worse(faults, 0, share), "{share}");
        }
        // Equal rates are the share, and faults of the old one speak for the new one.
        assert!(!is_worse(50, 950, 0.05));
        assert!(!is_worse(0, 1000, 0.5));
        assert!(is_worse(100, 900, 0.05));
    }

    #[test]
    fn bounds_close_in_on_the_rate() {
        assert_eq!(at_least(0, 100), 0.0);
        assert_eq!(at_most(100, 100), 1.0);
        assert!(at_least(5, 5) > 0.15);
        assert!((at_least(50_000, 100_000) - 0.5).abs() < 0.01);
        assert!((at_most(50_000, 100_000) - 0.5).abs() < 0.01);
    }

    /// Numbers that are the same in every run of the test.
    struct Lots(u64);

    impl Lots {
        fn draw(&mut self) -> f64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
        }
    }

    /// A release that is as good as the other one, in traffic whose rate of faults changes, and a look after every request.
    #[test]
    fn equals_are_told_apart_in_less_than_one_of_a_thousand_trials() {
        let mut lots = Lots(7);
        let trials = 2000;
        let mut found = 0;
        for trial in 0..trials {
            let share = [0.05, 0.25, 0.5][trial % 3];
            let (mut new, mut old) = (0, 0);
            for request in 0..2000 {
                // An outage in the middle.
                let rate = if (500..700).contains(&request) {
                    0.5
                } else {
                    0.02
                };
                let is_new = lots.draw() < share;
                if lots.draw() < rate {
                    *(if is_new { &mut new } else { &mut old }) += 1;
                    if is_worse(new, old, share) {
                        found += 1;
                        break;
                    }
                }
            }
        }
        assert!(found <= 2, "{found} of {trials}");
    }

    proptest! {
        #[test]
        fn the_rate_is_always_between_its_bounds(tries in 1_u64..100_000, part in 0.0..=1.0_f64) {
            let hits = ((tries as f64) * part) as u64;
            let rate = hits as f64 / tries as f64;
            let (low, high) = (at_least(hits, tries), at_most(hits, tries));
            prop_assert!(0.0 <= low && low <= rate + 1e-9 && rate <= high + 1e-9 && high <= 1.0);
        }

        #[test]
        fn one_more_fault_never_speaks_for_the_new_release(new in 0_u64..500, old in 0_u64..500, share in 0.01..0.99_f64) {
            prop_assert!(!is_worse(new, old, share) || is_worse(new + 1, old, share));
        }
    }
}
