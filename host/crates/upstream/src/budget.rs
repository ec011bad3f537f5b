//! The budget of retries: a part of the requests, so that an upstream that fails is not asked several times as much.

use std::sync::atomic::{AtomicI64, Ordering};

/// A retry in the unit of the balance.
const ONE: i64 = 1_000;
/// The retries that are free to begin with: a quiet upstream has no requests to earn them.
const FREE: i64 = 10 * ONE;
/// The most that is saved up. A long quiet time must not pay for a storm.
const MOST: i64 = 100 * ONE;

/// The retries that an upstream may still have.
#[derive(Debug)]
pub(crate) struct RetryBudget {
    /// What a request earns.
    share: i64,
    balance: AtomicI64,
}

impl RetryBudget {
    /// A budget of a part of the requests. With a part of 0 there are none.
    pub(crate) fn new(part: f64) -> Self {
        let share = (part * ONE as f64).round() as i64;
        Self {
            share,
            balance: AtomicI64::new(if share == 0 { 0 } else { FREE }),
        }
    }

    /// Notes a request.
    pub(crate) fn earn(&self) {
        let add = |balance: i64| Some((balance + self.share).min(MOST));
        // It never refuses.
        let _ = self
            .balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes a retry, where there is one.
    pub(crate) fn take(&self) -> bool {
        let take = |balance: i64| (balance >= ONE).then_some(balance - ONE);
        self.balance
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_part_of_the_requests() {
        let budget = RetryBudget::new(0.2);
        for _ in 0..10 {
            assert!(budget.take());
        }
        assert!(!budget.take());
        for _ in 0..5 {
            assert!(!budget.take());
            budget.earn();
        }
        assert!(budget.take() && !budget.take());
        for _ in 0..10_000 {
            budget.earn();
        }
        let saved = std::iter::from_fn(|| budget.take().then_some(())).count();
        assert_eq!(saved, 100);
    }

    #[test]
    fn a_part_of_nothing_is_nothing() {
        let budget = RetryBudget::new(0.0);
        budget.earn();
        assert!(!budget.take());
    }
}
