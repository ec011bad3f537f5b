//! A time in milliseconds that may have decimals: exact to the microsecond, so that it can be told in microseconds as well.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// The longest, in milliseconds. Longer ones are mistakes, such as microseconds.
const MOST: u64 = 10_000;

/// A time as `model.toml` has it: `2`, `0.1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Millis(Duration);

impl Millis {
    /// The time.
    #[must_use]
    pub const fn duration(self) -> Duration {
        self.0
    }

    /// Whether it is none.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Number)
    }
}

/// Reads whole numbers and those with decimals: TOML tells them apart, and people do not.
struct Number;

impl Visitor<'_> for Number {
    type Value = Millis;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "milliseconds from 0 to {MOST}, such as 2 or 0.1")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Millis, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(out_of_range(number)),
        }
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Millis, E> {
        match number {
            0..=MOST => Ok(Millis(Duration::from_millis(number))),
            _ => Err(out_of_range(number)),
        }
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Millis, E> {
        // What is not a number is in no range either.
        if !(0.0..=MOST as f64).contains(&number) {
            return Err(out_of_range(number));
        }
        let micros = (number * 1000.0).round();
        // The double nearest to a number with three decimals is as near as this, and to one with four it is not.
        if (number * 1000.0 - micros).abs() > number * 1e-9 {
            return Err(E::custom(format!(
                "{number} is finer than a microsecond; use at most three decimals"
            )));
        }
        Ok(Millis(Duration::from_micros(micros as u64)))
    }
}

fn out_of_range<E: Error>(number: impl fmt::Display) -> E {
    E::custom(format!(
        "{number} is out of range; use milliseconds from 0 to {MOST}, such as 2 or 0.1"
    ))
}
