//! Values of flags that no type of the standard library reads.

use std::time::Duration;

/// The longest time that makes sense.
const LONGEST: Duration = Duration::from_hours(24 * 7);

/// The highest rate that makes sense.
const HIGHEST_RATE: f64 = 1e7;

/// Reads `10s`, `500ms`, `2m`, `1h`, or seconds.
///
/// # Errors
/// Where it is something else, or more than a week.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let digits = text
        .find(|letter: char| letter != '.' && !letter.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(format!("{unit:?} is no unit of time: use ms, s, m or h")),
    };
    number
        .parse()
        .ok()
        .and_then(|number: f64| Duration::try_from_secs_f64(number * seconds).ok())
        .filter(|time| *time <= LONGEST)
        .ok_or_else(|| "give a time such as 10s, at most a week".to_owned())
}

/// Reads a time above zero.
///
/// # Errors
/// As [`time`].
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        Duration::ZERO => Err("give a time above zero".to_owned()),
        time => Ok(time),
    }
}

/// Reads requests a second.
///
/// # Errors
/// Where it is no number above zero.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|rate: &f64| *rate > 0.0 && *rate <= HIGHEST_RATE)
        .ok_or_else(|| "give requests a second, above zero and at most 10000000".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, millis) in [
            ("10s", 10_000),
            ("500ms", 500),
            ("1.5", 1500),
            ("2m", 120_000),
            ("1h", 3_600_000),
            ("0", 0),
        ] {
            assert_eq!(time(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for text in [
            "",
            "s",
            "10d",
            "-1s",
            "1e3",
            "1.2.3s",
            "169h",
            "99999999999999999999h",
            "10 s",
        ] {
            assert!(time(text).is_err(), "{text}");
        }
        assert!(some_time("0ms").is_err());
    }

    #[test]
    fn a_rate_is_above_zero() {
        assert_eq!(rate("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "x", "10000001"] {
            assert!(rate(text).is_err(), "{text}");
        }
    }
}
