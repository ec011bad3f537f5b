//! What one request takes from the limits that apply to it, and whether they have it.
//!
//! Up to two sets of limits apply: those of the plan as a whole, and those that the plan has for the model that is asked for. Both must
//! have what the request takes; where one has not, neither gives anything.

use super::gcra::{Rate, Wait};

/// The sets of limits that may apply to a request.
pub(crate) const PARTS: usize = 2;

/// Which limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Those of the plan as a whole.
    Whole,
    /// Those of the model.
    Model,
}

impl Part {
    pub(crate) const ALL: [Self; PARTS] = [Self::Whole, Self::Model];
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Good {
    Requests,
    Tokens,
}

/// What a request takes. Rates and places are those of each [`Part`]; one that is none gives without counting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Claim<'a> {
    pub(crate) tenant: &'a str,
    /// The model, where the plan has limits for it.
    pub(crate) model: Option<&'a str>,
    pub(crate) of: Good,
    pub(crate) units: u64,
    pub(crate) rates: [Option<Rate>; PARTS],
    /// How many requests may be worked on at one time.
    pub(crate) places: [Option<u32>; PARTS],
}

/// How things stood just before a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// In nanoseconds.
    pub(crate) debts: [u64; PARTS],
    /// The requests that are worked on.
    pub(crate) running: [u32; PARTS],
}

/// Why a request gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The rate does not have it, or not yet.
    Rate(Part, Wait),
    /// All places are taken.
    Places(Part),
}

/// What came of a claim.
pub(crate) struct Taken<T> {
    /// The debts after it; where it is refused, those that there are.
    pub(crate) debts: [u64; PARTS],
    pub(crate) outcome: Result<T, Refusal>,
}

impl<T> Taken<T> {
    /// The same with something made of what was taken.
    pub(crate) fn map<U>(self, make: impl FnOnce(T) -> U) -> Taken<U> {
        Taken {
            debts: self.debts,
            outcome: self.outcome.map(make),
        }
    }
}

impl Claim<'_> {
    /// Whether any limit applies.
    pub(crate) fn is_limited(&self) -> bool {
        self.rates.iter().any(Option::is_some) || self.places.iter().any(Option::is_some)
    }

    /// The debts after the claim.
    ///
    /// # Errors
    /// The limit that has not what the claim takes: of several the one that takes longest to have it.
    pub(crate) fn judge(&self, standing: &Standing) -> Result<[u64; PARTS], Refusal> {
        let mut after = standing.debts;
        let mut longest: Option<(Part, Wait)> = None;
        for part in Part::ALL {
            let Some(rate) = self.rates[part as usize] else {
                continue;
            };
            match rate.take(standing.debts[part as usize], self.units) {
                Ok(debt) => after[part as usize] = debt,
                Err(wait) if longest.is_none_or(|(_, longest)| wait > longest) => {
                    longest = Some((part, wait));
                }
                Err(_) => {}
            }
        }
        if let Some((part, wait)) = longest {
            return Err(Refusal::Rate(part, wait));
        }
        let full = |part: &Part| {
            self.places[*part as usize].is_some_and(|most| standing.running[*part as usize] >= most)
        };
        match Part::ALL.into_iter().find(full) {
            Some(part) => Err(Refusal::Places(part)),
            None => Ok(after),
        }
    }

    /// The same claim on one of so many equal parts of the limits.
    pub(crate) fn on_part(&self, of: u32) -> Self {
        let of = of.max(1);
        Self {
            rates: self.rates.map(|rate| rate.map(|rate| rate.part(of))),
            places: self.places.map(|most| most.map(|most| (most / of).max(1))),
            ..self.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn claim(units: u64) -> Claim<'static> {
        let rate = |per_second, burst| Some(Rate::new(per_second, Duration::from_secs(1), burst));
        Claim {
            tenant: "acme",
            model: Some("digits"),
            of: Good::Requests,
            units,
            rates: [rate(10.0, 10), rate(1.0, 2)],
            places: [Some(3), None],
        }
    }

    #[test]
    fn all_limits_must_have_it() {
        let standing = Standing {
            debts: [900_000_000, 1_000_000_000],
            running: [2, 9],
        };
        assert_eq!(
            claim(1).judge(&standing),
            Ok([1_000_000_000, 2_000_000_000])
        );
        let full = Standing {
            running: [3, 0],
            ..standing
        };
        assert_eq!(claim(1).judge(&full), Err(Refusal::Places(Part::Whole)));
    }

    #[test]
    fn the_longest_wait_is_the_one_that_counts() {
        let standing = Standing {
            debts: [1_000_000_000, 2_000_000_000],
            running: [9, 9],
        };
        let longest = Wait::For(Duration::from_secs(1));
        assert_eq!(
            claim(1).judge(&standing),
            Err(Refusal::Rate(Part::Model, longest))
        );
        assert_eq!(
            claim(3).judge(&Standing::default()),
            Err(Refusal::Rate(Part::Model, Wait::Never))
        );
    }

    #[test]
    fn a_part_of_the_limits_is_never_none_of_them() {
        let part = claim(1).on_part(4);
        assert_eq!(part.places, [Some(1), None]);
        assert_eq!(part.rates[0].map(|rate| rate.remaining(0)), Some(2));
        assert_eq!(part.rates[1].map(|rate| rate.remaining(0)), Some(1));
    }
}
