//! The committed references of configuration files, which the tests of their schemas keep true.

use toml::{Table, Value};

/// A reference: a file that has every key, those without a default as comments: `# key = value`, and tables that switch
/// something on by being there: `# [table]`.
pub struct Reference {
    text: String,
    keys: Table,
}

impl Reference {
    /// Reads a reference with its commented keys put in.
    ///
    /// # Panics
    /// Where that is no TOML.
    #[must_use]
    pub fn new(reference: &str) -> Self {
        let text: String = reference
            .lines()
            .map(|line| format!("{}\n", uncommented(line)))
            .collect();
        let keys = text.parse().expect("the reference is TOML");
        Self { text, keys }
    }

    /// The text with every key, also those that exclude each other.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether a table of the reference has a key. `table` is dotted, empty for the root; of an array of tables it is the
    /// first one.
    #[must_use]
    pub fn has(&self, table: &str, key: &str) -> bool {
        let mut at = &self.keys;
        for name in table.split('.').filter(|name| !name.is_empty()) {
            let next = match at.get(name) {
                Some(Value::Array(tables)) => tables.iter().find_map(Value::as_table),
                next => next.and_then(Value::as_table),
            };
            let Some(next) = next else { return false };
            at = next;
        }
        at.contains_key(key)
    }
}

/// The keys that an error about an unknown one names in backticks: ``unknown field `x`, expected one of `a`, `b` ``.
///
/// # Panics
/// Where it names none.
#[must_use]
pub fn known_keys(error: &str) -> Vec<&str> {
    let known = error.split_once("expected").map_or("", |(_, known)| known);
    // What is between the keys has a space in it.
    let keys: Vec<_> = known.split('`').filter(|part| is_key(part)).collect();
    assert!(!keys.is_empty(), "no known keys in: {error}");
    keys
}

/// The line without its `# `, where it holds a key or the header of a table and no prose.
fn uncommented(line: &str) -> &str {
    let sets_key = |text: &str| text.split_once(" = ").is_some_and(|(key, _)| is_key(key));
    line.strip_prefix("# ")
        .filter(|text| sets_key(text) || is_header(text))
        .unwrap_or(line)
}

/// Whether a line is `[table]` or `[[table]]`, before a comment.
fn is_header(line: &str) -> bool {
    let header = line.split_once('#').map_or(line, |(before, _)| before);
    header
        .trim_end()
        .strip_prefix('[')
        .and_then(|header| header.strip_suffix(']'))
        .is_some_and(|name| {
            let list = name
                .strip_prefix('[')
                .and_then(|name| name.strip_suffix(']'));
            is_key(list.unwrap_or(name))
        })
}

fn is_key(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    !text.is_empty() && text.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commented_keys_count_and_prose_does_not() {
        let reference = Reference::new(
            "# Prose: a = 1 is no key.\n# key = 1   # what it is\n[table]\n# deep.er = [2]\n[[list]]\nitem = 3\n\
             # [off]   # switched on by being there\n# on = 1\n# [[many]]\n# one = 1\n# [see the text] for it\n",
        );
        assert!(reference.has("off", "on"));
        assert!(reference.has("many", "one"));
        assert!(!reference.has("list", "on"));
        assert!(reference.has("", "key"));
        assert!(reference.has("table", "deep"));
        assert!(reference.has("table.deep", "er"));
        assert!(reference.has("list", "item"));
        assert!(!reference.has("", "a"));
        assert!(!reference.has("nowhere", "key"));
        assert!(reference.text().starts_with("# Prose"));
    }

    #[test]
    fn known_keys_are_those_of_the_error() {
        for error in [
            "unknown field `x`, expected one of `a`, `b`",
            "unknown field `x`, expected `a` or `b`",
        ] {
            assert_eq!(known_keys(error), ["a", "b"]);
        }
    }
}
