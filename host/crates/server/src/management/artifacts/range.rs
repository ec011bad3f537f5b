//! Ranges (RFC 9110, 14): one of bytes. Several at once, or what is none, is answered with the whole, as the standard allows.

use std::ops::Range;

use http::HeaderMap;
use http::header::{IF_RANGE, RANGE};

/// What is asked for of a content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Whole,
    Part(Range<u64>),
    /// A range of which nothing is there.
    Nothing,
}

/// What a request asks for of a content of a size, whose entity tag this is.
pub(super) fn wanted(headers: &HeaderMap, size: u64, tag: &str) -> Wanted {
    let changed = headers
        .get(IF_RANGE)
        .is_some_and(|field| field.as_bytes() != tag.as_bytes());
    let range = headers.get(RANGE).filter(|_| !changed);
    let range = range.and_then(|range| range.to_str().ok()?.strip_prefix("bytes="));
    let Some((first, last)) = range.and_then(|range| range.trim().split_once('-')) else {
        return Wanted::Whole;
    };
    let number = |text: &str| {
        let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // One that is too large lies behind the end as well.
        plain.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let range = match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => first..size.min(last.saturating_add(1)),
        (Some(first), None) if last.is_empty() => first..size,
        (None, Some(length)) if first.is_empty() => size.saturating_sub(length)..size,
        _ => return Wanted::Whole,
    };
    match range.start < range.end {
        true => Wanted::Part(range),
        false => Wanted::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_answered_and_what_is_none_is_the_whole() {
        let of = |range: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RANGE, range.parse().unwrap());
            wanted(&headers, 10, "\"tag\"")
        };
        for (range, part) in [
            ("bytes=0-3", 0..4),
            ("bytes=3-", 3..10),
            ("bytes=-3", 7..10),
            ("bytes=-30", 0..10),
            ("bytes=9-99999999999999999999999", 9..10),
            ("bytes=0-0", 0..1),
        ] {
            assert_eq!(of(range), Wanted::Part(part), "{range}");
        }
        for range in [
            "bytes=10-",
            "bytes=10-12",
            "bytes=-0",
            "bytes=99999999999999999999-",
        ] {
            assert_eq!(of(range), Wanted::Nothing, "{range}");
        }
        for range in [
            "bytes=",
            "bytes=-",
            "bytes=3-2",
            "bytes=0-1,3-4",
            "lines=1-2",
            "bytes=+1-2",
            "bytes=a-b",
        ] {
            assert_eq!(of(range), Wanted::Whole, "{range}");
        }
        assert_eq!(wanted(&HeaderMap::new(), 10, "\"tag\""), Wanted::Whole);
    }

    #[test]
    fn a_range_of_another_content_is_the_whole_of_this_one() {
        let mut headers = HeaderMap::new();
        headers.insert(RANGE, "bytes=1-2".parse().unwrap());
        headers.insert(IF_RANGE, "\"tag\"".parse().unwrap());
        assert_eq!(wanted(&headers, 10, "\"tag\""), Wanted::Part(1..3));
        assert_eq!(wanted(&headers, 10, "\"other\""), Wanted::Whole);
    }
}
