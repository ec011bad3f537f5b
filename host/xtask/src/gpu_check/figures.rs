//! What the programs that measure print: `key=value`, a line each.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// The figures of a run.
#[derive(Debug, Default)]
pub(super) struct Figures(BTreeMap<String, String>);

impl Figures {
    /// Reads what a program printed. Lines of another form are none of its figures.
    pub(super) fn parse(text: &str) -> Self {
        let lines = text.lines().filter_map(|line| line.split_once('='));
        Self(
            lines
                .map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// A figure.
    ///
    /// # Errors
    /// Where it was not printed, or is no number.
    pub(super) fn number(&self, key: &str) -> Result<f64> {
        self.0
            .get(key)
            .and_then(|value| value.parse().ok())
            .with_context(|| format!("a measurement did not print {key}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_by_name() {
        let figures = Figures::parse("noise\nruns_per_second=52.5\np50_us= 12\ndevice=cuda:0\n");
        assert_eq!(figures.number("runs_per_second").unwrap(), 52.5);
        assert_eq!(figures.number("p50_us").unwrap(), 12.0);
        assert!(figures.number("device").is_err());
        assert!(
            figures
                .number("p99_us")
                .unwrap_err()
                .to_string()
                .contains("p99_us")
        );
    }
}
