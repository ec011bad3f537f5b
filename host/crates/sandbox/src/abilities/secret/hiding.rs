//! Takes secrets out of texts.

use std::borrow::Cow;

/// What stands where a secret stood.
const HIDDEN: &str = "[secret]";

/// A line of a secret of several lines is hidden by itself, as where a key is written line by line. Shorter ones tell little, and
/// would be found everywhere.
const LINE_BYTES: usize = 8;

/// What is hidden for a secret.
pub(super) fn patterns(secret: &str) -> impl Iterator<Item = &str> {
    let lines = secret.lines().filter(|line| line.len() >= LINE_BYTES);
    let lines = lines.filter(|line| line.len() < secret.len());
    std::iter::once(secret).chain(lines)
}

/// The first bytes of a text, up to the edge of a character, with what is hidden replaced.
///
/// A pattern that begins within these bytes and ends beyond is found too; none is left in part.
pub(super) fn hide<'t>(patterns: &[&str], text: &'t str, bytes: usize) -> Cow<'t, str> {
    let end = text.floor_char_boundary(bytes);
    let longest = patterns.iter().map(|pattern| pattern.len()).max();
    let Some(longest) = longest.filter(|longest| *longest > 0) else {
        return Cow::Borrowed(&text[..end]);
    };
    let window = &text[..text.floor_char_boundary(end.saturating_add(longest))];
    let mut found: Vec<(usize, usize)> = patterns
        .iter()
        .flat_map(|pattern| window.match_indices(pattern))
        .map(|(at, hit)| (at, at + hit.len()))
        .filter(|(at, _)| *at < end)
        .collect();
    if found.is_empty() {
        return Cow::Borrowed(&text[..end]);
    }
    found.sort_unstable();
    let mut shown = String::with_capacity(end);
    let mut from = 0;
    for (at, to) in found {
        if at >= from {
            shown.push_str(&text[from..at]);
            shown.push_str(HIDDEN);
        }
        from = from.max(to);
    }
    shown.push_str(text.get(from..end).unwrap_or_default());
    shown.truncate(shown.floor_char_boundary(bytes));
    Cow::Owned(shown)
}

/// A text without the end of a pattern that it begins with: the rest of one whose beginning was cut off.
pub(super) fn without_rest<'t>(patterns: &[&str], text: &'t str) -> &'t str {
    // What is left of a character that was cut.
    let text = text.trim_start_matches(char::REPLACEMENT_CHARACTER);
    let rest = |pattern: &&str| {
        (1..pattern.len())
            .filter(|from| pattern.is_char_boundary(*from))
            .find(|from| text.starts_with(&pattern[*from..]))
            .map_or(0, |from| pattern.len() - from)
    };
    &text[patterns.iter().map(rest).max().unwrap_or(0)..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_replaced_and_the_rest_stays() {
        let patterns = ["s3cret", "token-1"];
        for (text, expected) in [
            ("nothing here", "nothing here"),
            ("key=s3cret!", "key=[secret]!"),
            ("s3crets3cret token-1", "[secret][secret] [secret]"),
            ("s3cre", "s3cre"),
            ("", ""),
        ] {
            assert_eq!(hide(&patterns, text, usize::MAX), expected);
        }
        assert_eq!(hide(&[], "s3cret", 3), "s3c");
    }

    #[test]
    fn secrets_that_overlap_are_hidden_whole() {
        assert_eq!(
            hide(&["abcd", "cdef"], "-abcdef-", usize::MAX),
            "-[secret]-"
        );
        assert_eq!(
            hide(&["abcdef", "cd"], "-abcdef-", usize::MAX),
            "-[secret]-"
        );
    }

    #[test]
    fn a_secret_at_the_cut_does_not_show_its_beginning() {
        let long = "k".repeat(1000);
        for before in 0..40 {
            let text = format!("{}{long}{long}", "-".repeat(before));
            for bytes in 0..60 {
                let shown = hide(&[&long], &text, bytes);
                assert!(!shown.contains('k'), "{before} {bytes}: {shown}");
                assert!(shown.len() <= bytes);
            }
        }
        // What stands behind a long secret would move up.
        let text = format!("{long}{}", "ab".repeat(100));
        assert_eq!(hide(&[&long, "abab"], &text, 1003), "[secret][secret]");
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(hide(&["x"], "aä", 2), "a");
        assert_eq!(hide(&["ä"], "aä-ä", 3), "a[s");
        assert_eq!(hide(&["ää"], "aää", 2), "a");
    }

    #[test]
    fn lines_of_a_secret_are_hidden_alone() {
        let secret = "-----BEGIN KEY-----\nMC4CAQAwBQYD\nab\n-----END KEY-----";
        let patterns: Vec<_> = patterns(secret).collect();
        let shown = hide(&patterns, "MC4CAQAwBQYD and ab", usize::MAX);
        assert_eq!(shown, "[secret] and ab");
        assert_eq!(super::patterns("one line").count(), 1);
    }

    #[test]
    fn the_rest_of_a_secret_at_the_beginning_goes() {
        let patterns = ["hunter22", "sesame"];
        assert_eq!(without_rest(&patterns, "unter22 then"), " then");
        assert_eq!(without_rest(&patterns, "2 then"), " then");
        assert_eq!(without_rest(&patterns, "then"), "then");
        assert_eq!(without_rest(&["aää"], "\u{fffd}ä then"), " then");
    }
}
