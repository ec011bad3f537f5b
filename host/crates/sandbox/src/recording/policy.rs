//! `[record]` of `plugins/NAME.toml`: which calls are recorded, and how many recordings are kept.

use serde::Deserialize;
use toml::{Table, Value};

/// Which calls are recorded, and how much is kept of them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Policy {
    on: On,
    /// Of the calls that end well, one of so many.
    every: u32,
    /// The most recordings.
    keep: u32,
    /// The most that they take together, in KiB.
    max_kb: u32,
}

/// Which calls are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum On {
    /// Those that trap, break a limit, fail or take too long.
    Fault,
    /// The others, too.
    All,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            on: On::Fault,
            every: 1,
            keep: 16,
            max_kb: 65_536,
        }
    }
}

impl Policy {
    /// Reads the table; `true` is one with the defaults, `false` none.
    ///
    /// # Errors
    /// The dotted key and what is wrong with it.
    pub(crate) fn parse(value: &Value) -> Result<Option<Self>, (String, String)> {
        let table = match value {
            Value::Boolean(false) => return Ok(None),
            Value::Boolean(true) => Table::new(),
            Value::Table(table) => table.clone(),
            _ => {
                let message = "must be a table, or `true` for its defaults".to_owned();
                return Err(("record".to_owned(), message));
            }
        };
        let policy: Self = Value::Table(table)
            .try_into()
            .map_err(|error: toml::de::Error| {
                ("record".to_owned(), error.message().trim().to_owned())
            })?;
        for (key, value, most) in [
            ("every", policy.every, 1_000_000_000),
            ("keep", policy.keep, 10_000),
            ("max_kb", policy.max_kb, 1 << 24),
        ] {
            if !(1..=most).contains(&value) {
                let message = format!("must be a whole number from 1 to {most}");
                return Err((format!("record.{key}"), message));
            }
        }
        Ok(Some(policy))
    }

    /// The most recordings.
    pub(super) fn keep(&self) -> usize {
        self.keep as usize
    }

    /// The most bytes of all together.
    pub(super) fn bytes(&self) -> u64 {
        u64::from(self.max_kb) << 10
    }

    /// Whether calls that end well are recorded at all.
    pub(super) fn wants_sound(&self) -> bool {
        self.on == On::All
    }

    /// Whether this call that ended well is recorded; `before` counts it, and gives how many there were before.
    pub(super) fn takes_sound(&self, before: impl FnOnce() -> u64) -> bool {
        self.wants_sound() && before().is_multiple_of(u64::from(self.every))
    }
}

#[cfg(test)]
mod tests {
    use wharf_testkit::{Reference, known_keys};

    use super::*;

    fn parse(text: &str) -> Result<Option<Policy>, (String, String)> {
        let table: Table = text.parse().unwrap();
        Policy::parse(&table["record"])
    }

    #[test]
    fn a_table_switches_it_on() {
        let default = Policy::default();
        assert_eq!(parse("record = true").unwrap().as_ref(), Some(&default));
        assert_eq!(parse("[record]").unwrap().as_ref(), Some(&default));
        assert_eq!(parse("record = false").unwrap(), None);
        let all = parse("[record]\non = 'all'\nevery = 3").unwrap().unwrap();
        let taken: Vec<_> = (0..7).filter(|n| all.takes_sound(|| *n)).collect();
        assert_eq!(taken, [0, 3, 6]);
        assert!(!default.takes_sound(|| 0));
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (text, key, words) in [
            ("record = 3", "record", "must be a table"),
            ("[record]\non = 'never'", "record", "`fault` or `all`"),
            ("[record]\nkeep = 0", "record.keep", "from 1 to 10000"),
            ("[record]\nmax_kb = 0", "record.max_kb", "from 1 to"),
            ("[record]\nevery = 0", "record.every", "from 1 to"),
        ] {
            let (at, message) = parse(text).unwrap_err();
            assert_eq!(at, key, "{text}");
            assert!(message.contains(words), "{text}: {message}");
        }
    }

    #[test]
    fn the_reference_has_every_key_with_its_default() {
        let reference = Reference::new(include_str!("../../../../reference/plugin.toml"));
        let (_, message) = parse("[record]\nno-such-key = 1").unwrap_err();
        for key in known_keys(&message) {
            assert!(reference.has("record", key), "{key} is missing");
        }
        let table: Table = reference.text().parse().unwrap();
        let of_reference = Policy::parse(&table["record"]).unwrap();
        assert_eq!(of_reference, Some(Policy::default()));
    }
}
