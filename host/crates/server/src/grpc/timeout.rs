//! `grpc-timeout`: how long the client waits.

use std::time::Duration;

use http::HeaderMap;
use wharf_core::{Error, Result};

/// Reads the time that the client gives its call; none where it gives none.
///
/// # Errors
/// `InvalidArgument` where it is not at most eight digits and a unit.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    parse(value.as_bytes()).map(Some).ok_or_else(|| {
        let message = "is one to eight digits and a unit of H, M, S, m, u or n, such as 500m";
        Error::invalid("grpc-timeout", message)
    })
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=8).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_told_apart() {
        assert_eq!(parse(b"2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parse(b"3M"), Some(Duration::from_secs(180)));
        assert_eq!(parse(b"99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(parse(b"500m"), Some(Duration::from_millis(500)));
        assert_eq!(parse(b"0u"), Some(Duration::ZERO));
        assert_eq!(parse(b"1n"), Some(Duration::from_nanos(1)));
    }

    #[test]
    fn anything_else_is_refused() {
        for value in [
            "",
            "S",
            "5",
            "5s",
            "-1S",
            "+1S",
            "1.5S",
            "123456789S",
            "5 S",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
        let mut headers = HeaderMap::new();
        assert_eq!(timeout(&headers).unwrap(), None);
        headers.insert("grpc-timeout", "soon".parse().unwrap());
        assert_eq!(timeout(&headers).unwrap_err().field(), Some("grpc-timeout"));
    }
}
