//! What becomes of a release on trial: a decision from counts alone.
//!
//! It is rolled back as soon as chance is ruled out, however few requests that takes. It goes on to its next step when the step's
//! time and requests are over and what was counted speaks for it. In between it waits: what looks bad and may be chance
//! is neither promoted nor rolled back.

use std::time::Duration;

use super::odds::{at_least, at_most, is_worse};
use super::policy::Policy;
use super::tally::Counts;

/// The part of the requests whose time is compared: 95 of 100 are faster.
const SLOWEST: f64 = 0.95;

/// Where the release in force had fewer requests, there is nothing to compare with.
const FEW: u64 = 20;

/// The rate of faults that is too much for any release, where there is nothing to compare with.
const TOO_MANY: f64 = 0.5;

/// The share above which a release finds no room sooner than the other one, however good it is.
const HALF: f64 = 0.5;

/// What is known of a release on trial. Both releases were counted at the same time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Evidence<'a> {
    pub(super) policy: &'a Policy,
    /// The share that the new release has, from 0 to 1.
    pub(super) share: f64,
    /// How long it has had it.
    pub(super) held: Duration,
    /// What came of its requests since.
    pub(super) new: &'a Counts,
    /// What came of those of the release in force; where the new one has all of them, of those before.
    pub(super) old: &'a Counts,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing yet, for this reason.
    Wait(String),
    /// The next share, or the promotion.
    Advance,
    /// The release before, for this reason.
    RollBack(String),
}

/// Decides.
pub(super) fn judge(evidence: Evidence<'_>) -> Verdict {
    // Each release has its models to itself, and which of them is full first is a matter of its share. Only where it has the
    // smaller one, the release itself is to blame.
    if evidence.share > HALF {
        let (new, old) = (evidence.new.with_room(), evidence.old.with_room());
        let (new, old) = (&new, &old);
        return decide(Evidence {
            new,
            old,
            ..evidence
        });
    }
    decide(evidence)
}

fn decide(evidence: Evidence<'_>) -> Verdict {
    let bad = evidence.fails().or_else(|| evidence.refuses());
    if let Some(reason) = bad.or_else(|| evidence.is_slow()) {
        return Verdict::RollBack(reason);
    }
    match evidence.lacks() {
        Some(reason) => Verdict::Wait(reason),
        None => Verdict::Advance,
    }
}

impl Evidence<'_> {
    /// Whether the new release surely has more faults than it may.
    fn fails(&self) -> Option<String> {
        let (new, old) = (self.new, self.old);
        let allowed = self.policy.max_error_increase;
        let lowest = at_least(new.faults, new.requests());
        let fails = if self.share < 1.0 {
            // Two questions: is it worse at all, which only the lot answers whatever the traffic does meanwhile; and is it
            // worse by more than it may be.
            is_worse(new.faults, old.faults, self.share) && lowest > old.fault_rate() + allowed
        } else if old.requests() < FEW {
            lowest > TOO_MANY
        } else {
            // No lot is drawn where it has everything: what came before it is what there is to compare with.
            lowest > at_most(old.faults, old.requests()) + allowed
        };
        fails.then(|| {
            format!(
                "{} of its {} requests failed, and {} of {} of the release in force",
                new.faults,
                new.requests(),
                old.faults,
                old.requests()
            )
        })
    }

    /// Whether the new release surely refuses more than it may. What one client sends is the client's doing; but the lot gives both
    /// releases the same clients.
    fn refuses(&self) -> Option<String> {
        let (new, old) = (self.new, self.old);
        let allowed = self.policy.max_error_increase;
        let lowest = at_least(new.refused, new.requests());
        let refuses = if self.share < 1.0 {
            is_worse(new.refused, old.refused, self.share) && lowest > old.refusal_rate() + allowed
        } else {
            // Without anything to compare with, clients may be all that is wrong.
            old.requests() >= FEW && lowest > at_most(old.refused, old.requests()) + allowed
        };
        refuses.then(|| {
            format!(
                "{} of its {} requests were refused, and {} of {} of the release in force",
                new.refused,
                new.requests(),
                old.refused,
                old.requests()
            )
        })
    }

    /// Whether the new release is surely slower than it may be.
    fn is_slow(&self) -> Option<String> {
        let ratio = self.policy.max_latency_ratio;
        // Before and after say nothing of each other: the load differs.
        if ratio == 0.0 || self.share >= 1.0 {
            return None;
        }
        let timed = self.old.timed();
        // A time within which surely 95 of 100 requests of the old one end.
        let usual = self
            .old
            .first(|within| at_least(within, timed) >= SLOWEST)?;
        let slow = self.new.slower_than(usual.mul_f64(ratio));
        let is_slow = at_least(slow, self.new.timed()) > 1.0 - SLOWEST;
        is_slow.then(|| {
            format!(
                "{slow} of its {} requests took more than {ratio} times the {} within which 95 of 100 of the release in force end",
                self.new.timed(),
                shown(usual),
            )
        })
    }

    /// What the step still lacks.
    fn lacks(&self) -> Option<String> {
        let (policy, new) = (self.policy, self.new);
        let left = policy.step().saturating_sub(self.held);
        if !left.is_zero() {
            return Some(format!(
                "the step goes on for {} s",
                left.as_secs_f64().ceil()
            ));
        }
        if new.requests() < policy.min_requests {
            return Some(format!(
                "{} of {} requests (min_requests)",
                new.requests(),
                policy.min_requests
            ));
        }
        if new.fault_rate() > self.old.fault_rate() + policy.max_error_increase {
            return Some("it has more faults, which may still be chance".to_owned());
        }
        if self.old.requests() >= FEW
            && new.refusal_rate() > self.old.refusal_rate() + policy.max_error_increase
        {
            return Some("it refuses more, which may still be chance".to_owned());
        }
        if policy.max_latency_ratio == 0.0 || self.share >= 1.0 || self.old.timed() < FEW {
            return None;
        }
        let (slow, usual) = (new.quantile(SLOWEST)?, self.old.quantile(SLOWEST)?);
        (slow > usual.mul_f64(policy.max_latency_ratio))
            .then(|| "it is slower, which may still be chance".to_owned())
    }
}

/// A time for people.
fn shown(time: Duration) -> String {
    match time.as_micros() {
        micros @ 0..10_000 => format!("{micros} us"),
        micros => format!("{} ms", micros / 1000),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn policy() -> Policy {
        super::super::parse_policy(&"b".parse().unwrap(), "step_s = 10").unwrap()
    }

    fn verdict(share: f64, held: u64, new: &Counts, old: &Counts) -> Verdict {
        judge(Evidence {
            policy: &policy(),
            share,
            held: Duration::from_secs(held),
            new,
            old,
        })
    }

    fn rolls_back(verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::RollBack(_))
    }

    #[test]
    fn a_step_takes_its_time_and_its_requests() {
        let (new, old) = (Counts::of(100, 0, MS), Counts::of(1900, 0, MS));
        assert_eq!(verdict(0.05, 10, &new, &old), Verdict::Advance);
        assert!(matches!(verdict(0.05, 9, &new, &old), Verdict::Wait(_)));
        let few = Counts::of(99, 0, MS);
        assert!(matches!(verdict(0.05, 10, &few, &old), Verdict::Wait(_)));
        // Nobody asks the release in force: there is nothing to hold against the new one.
        assert_eq!(verdict(0.5, 10, &new, &Counts::default()), Verdict::Advance);
    }

    #[test]
    fn what_fails_always_is_rolled_back_at_once() {
        let new = Counts::of(0, 3, MS);
        assert!(rolls_back(&verdict(0.05, 0, &new, &Counts::of(57, 0, MS))));
        let new = Counts::of(0, 14, MS);
        assert!(rolls_back(&verdict(0.5, 0, &new, &Counts::of(14, 0, MS))));
        let Verdict::RollBack(reason) = verdict(0.5, 0, &new, &Counts::of(14, 0, MS)) else {
            panic!("it is rolled back");
        };
        assert!(
            reason.starts_with("14 of its 14 requests failed, and 0 of 14"),
            "{reason}"
        );
    }

    #[test]
    fn what_fails_as_often_as_the_one_in_force_is_not_its_fault() {
        let (new, old) = (Counts::of(50, 50, MS), Counts::of(950, 950, MS));
        assert_eq!(verdict(0.05, 10, &new, &old), Verdict::Advance);
        // Worse, but within what it may be.
        let (new, old) = (Counts::of(9950, 50, MS), Counts::of(10_000, 0, MS));
        assert_eq!(verdict(0.5, 10, &new, &old), Verdict::Advance);
        // By more than that.
        let (new, old) = (Counts::of(9700, 300, MS), Counts::of(10_000, 0, MS));
        assert!(rolls_back(&verdict(0.5, 10, &new, &old)));
        // Perhaps by more: neither.
        let (new, old) = (Counts::of(97, 3, MS), Counts::of(1900, 0, MS));
        assert!(matches!(verdict(0.05, 10, &new, &old), Verdict::Wait(_)));
    }

    #[test]
    fn what_refuses_more_than_the_one_in_force_is_rolled_back() {
        let old = Counts::of(1900, 0, MS);
        let new = Counts::default().refusing(3, MS);
        let Verdict::RollBack(reason) = verdict(0.05, 0, &new, &old) else {
            panic!("it is rolled back");
        };
        assert!(
            reason.starts_with("3 of its 3 requests were refused, and 0 of 1900"),
            "{reason}"
        );
        // Clients that both of them refuse are nobody's fault.
        let (new, both) = (
            Counts::of(50, 0, MS).refusing(50, MS),
            Counts::of(950, 0, MS).refusing(950, MS),
        );
        assert_eq!(verdict(0.05, 10, &new, &both), Verdict::Advance);
        // Perhaps more: neither.
        let new = Counts::of(97, 0, MS).refusing(3, MS);
        assert!(matches!(verdict(0.05, 10, &new, &old), Verdict::Wait(_)));
        // With everything, it is compared with what came before; and where nothing did, with nothing.
        let new = Counts::of(50, 0, MS).refusing(50, MS);
        assert!(rolls_back(&verdict(1.0, 0, &new, &old)));
        assert_eq!(verdict(1.0, 10, &new, &Counts::default()), Verdict::Advance);
    }

    #[test]
    fn a_larger_share_that_finds_no_room_says_nothing() {
        let (new, old) = (Counts::of(1000, 0, MS).full(500), Counts::of(1000, 0, MS));
        assert!(rolls_back(&verdict(0.5, 0, &new, &old)));
        assert_eq!(verdict(0.9, 10, &new, &old), Verdict::Advance);
        assert_eq!(verdict(1.0, 10, &new, &old), Verdict::Advance);
    }

    #[test]
    fn what_hangs_is_rolled_back_though_every_client_leaves() {
        let new = Counts::default().left(20, 2000 * MS);
        assert!(rolls_back(&verdict(
            0.25,
            0,
            &new,
            &Counts::of(2000, 0, MS)
        )));
    }

    #[test]
    fn with_all_of_the_traffic_it_is_compared_with_what_came_before() {
        let before = Counts::of(10_000, 0, MS);
        assert!(rolls_back(&verdict(1.0, 0, &Counts::of(0, 5, MS), &before)));
        assert_eq!(
            verdict(1.0, 10, &Counts::of(100, 0, MS), &before),
            Verdict::Advance
        );
        // Nothing came before.
        assert!(rolls_back(&verdict(
            1.0,
            0,
            &Counts::of(0, 20, MS),
            &Counts::default()
        )));
        let bad = Counts::of(5_000, 5_000, MS);
        assert_eq!(
            verdict(1.0, 10, &Counts::of(50, 50, MS), &bad),
            Verdict::Advance
        );
    }

    #[test]
    fn what_is_slower_is_rolled_back_and_what_may_be_is_not_promoted() {
        let old = Counts::of(2000, 0, MS);
        let Verdict::RollBack(reason) = verdict(0.25, 0, &Counts::of(20, 0, 5 * MS), &old) else {
            panic!("it is rolled back");
        };
        assert!(
            reason.starts_with("20 of its 20 requests took more than 1.5 times"),
            "{reason}"
        );
        // A few slow ones are what a p95 leaves out.
        let new = Counts::of(96, 0, MS).and(4, 50 * MS);
        assert_eq!(verdict(0.05, 10, &new, &old), Verdict::Advance);
        let new = Counts::of(93, 0, MS).and(7, 50 * MS);
        assert!(matches!(verdict(0.05, 10, &new, &old), Verdict::Wait(_)));
        let new = Counts::of(800, 0, MS).and(200, 50 * MS);
        assert!(rolls_back(&verdict(0.05, 10, &new, &old)));
        // Slower within what it may be, and slower than a release of which nothing is known.
        let a_bit = Counts::of(1000, 0, MS.mul_f64(1.2));
        assert_eq!(verdict(0.25, 10, &a_bit, &old), Verdict::Advance);
        assert_eq!(
            verdict(0.25, 10, &a_bit, &Counts::of(5, 0, MS / 9)),
            Verdict::Advance
        );
        let mut faults_alone = policy();
        faults_alone.max_latency_ratio = 0.0;
        let slow = judge(Evidence {
            policy: &faults_alone,
            share: 0.25,
            held: Duration::from_secs(10),
            new: &Counts::of(1000, 0, 50 * MS),
            old: &old,
        });
        assert_eq!(slow, Verdict::Advance);
    }

    proptest! {
        #[test]
        fn what_fails_no_more_than_its_share_is_never_rolled_back(
            ok in 0_u64..10_000, faults in 0_u64..500, share in 0.01..0.99_f64,
        ) {
            let times = (1.0 - share) / share;
            let old = Counts::of((ok as f64 * times) as u64, (faults as f64 * times).ceil() as u64, MS);
            let new = Counts::of(ok, faults, MS);
            prop_assert!(!rolls_back(&verdict(share, 0, &new, &old)));
        }

        #[test]
        fn more_faults_never_promote(ok in 100_u64..5000, faults in 0_u64..200, more in 1_u64..200) {
            let old = Counts::of(5000, 10, MS);
            let fewer = verdict(0.5, 10, &Counts::of(ok + more, faults, MS), &old);
            let with_more = verdict(0.5, 10, &Counts::of(ok, faults + more, MS), &old);
            prop_assert!(with_more != Verdict::Advance || fewer == Verdict::Advance);
        }
    }
}
