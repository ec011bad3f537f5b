//! The table of figures, targets and verdicts.

use std::time::Duration;

use anyhow::{Context, Result};

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(super) enum Target {
    AtLeast(f64),
    AtMost(f64),
    Exactly(f64),
}

impl Target {
    fn met(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
            Self::Exactly(bound) => figure == bound,
        }
    }

    /// The sign, and the bound as `show` writes it.
    fn text(self, show: impl Fn(f64) -> String) -> String {
        match self {
            Self::AtLeast(bound) => format!(">= {}", show(bound)),
            Self::AtMost(bound) => format!("<= {}", show(bound)),
            Self::Exactly(bound) => format!("= {}", show(bound)),
        }
    }
}

/// The rows so far, each in columns: what, figure, target, verdict.
#[derive(Default)]
pub(super) struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// A ratio.
    pub(super) fn ratio(&mut self, what: &str, figure: f64, target: Target) {
        self.held(what, format!("{figure:.2}"), figure, target, |bound| {
            format!("{bound:.2}")
        });
    }

    /// A ratio, for information.
    pub(super) fn ratio_alone(&mut self, what: &str, figure: f64) {
        self.plain(what, format!("{figure:.2}"));
    }

    /// A count.
    pub(super) fn count(&mut self, what: &str, figure: u64, target: Target) {
        self.held(what, figure.to_string(), figure as f64, target, |bound| {
            format!("{bound:.0}")
        });
    }

    /// Requests a second, for information.
    pub(super) fn rate(&mut self, what: &str, figure: f64) {
        self.plain(what, format!("{figure:.0}/s"));
    }

    /// A time, for information.
    pub(super) fn time(&mut self, what: &str, figure: Duration) {
        self.plain(what, format!("{figure:.1?}"));
    }

    /// A time in seconds, for information; it may be none.
    pub(super) fn seconds(&mut self, what: &str, figure: f64) {
        match Duration::try_from_secs_f64(figure) {
            Ok(time) => self.time(what, time),
            Err(_) => self.plain(what, "none".to_owned()),
        }
    }

    /// A size, for information.
    pub(super) fn bytes(&mut self, what: &str, figure: u64) {
        self.plain(what, mebibytes(figure as f64));
    }

    /// What was not measured, and why. It counts as no pass.
    pub(super) fn not_measured(&mut self, what: &str, target: Target, why: &str) {
        eprintln!("bench: NOT MEASURED: {what}: {why}");
        let target = target.text(|bound| format!("{bound:.2}"));
        self.rows
            .push([what.into(), "-".into(), target, "NOT MEASURED".into()]);
    }

    /// A time that must stay below another.
    pub(super) fn time_within(&mut self, what: &str, figure: Duration, limit: Duration) {
        let target = Target::AtMost(limit.as_secs_f64());
        self.held(
            what,
            format!("{figure:.1?}"),
            figure.as_secs_f64(),
            target,
            |_| format!("{limit:?}"),
        );
    }

    /// A size that must stay below another.
    pub(super) fn bytes_within(&mut self, what: &str, figure: u64, limit: u64) {
        self.held(
            what,
            mebibytes(figure as f64),
            figure as f64,
            Target::AtMost(limit as f64),
            mebibytes,
        );
    }

    /// A line of another program: `what|figure|unit|at most`; the last may be empty.
    pub(super) fn add_measured(&mut self, line: &str) -> Result<()> {
        let (what, figure, unit, bound) =
            columns(line).with_context(|| format!("no measurement: {line:?}"))?;
        match bound {
            None => self.plain(what, format!("{figure:.2} {unit}")),
            Some(bound) => {
                let with_unit = |value: f64| format!("{value:.2} {unit}");
                self.held(
                    what,
                    with_unit(figure),
                    figure,
                    Target::AtMost(bound),
                    with_unit,
                );
            }
        }
        Ok(())
    }

    /// Writes the table as Markdown to standard output.
    pub(super) fn print(&self) {
        println!("| what | figure | target | |\n|---|---:|---:|---|");
        for [what, figure, target, verdict] in &self.rows {
            println!("| {what} | {figure} | {target} | {verdict} |");
        }
    }

    fn plain(&mut self, what: &str, figure: String) {
        self.rows
            .push([what.into(), figure, String::new(), String::new()]);
    }

    fn held(
        &mut self,
        what: &str,
        text: String,
        figure: f64,
        target: Target,
        show: impl Fn(f64) -> String,
    ) {
        let verdict = if target.met(figure) { "met" } else { "missed" };
        self.rows
            .push([what.into(), text, target.text(show), verdict.into()]);
    }
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / f64::from(1 << 20))
}

fn columns(line: &str) -> Option<(&str, f64, &str, Option<f64>)> {
    let mut parts = line.split('|');
    let (what, figure, unit, bound) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let bound = if bound.is_empty() {
        None
    } else {
        Some(bound.parse().ok()?)
    };
    Some((what, figure.parse().ok()?, unit, bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_held_against_its_target() {
        let mut report = Report::default();
        report.add_measured("call, kept|0.90|us|1").unwrap();
        report.ratio("ratio", 0.5, Target::AtLeast(0.6));
        assert_eq!(
            report.rows[0],
            ["call, kept", "0.90 us", "<= 1.00 us", "met"]
        );
        assert_eq!(report.rows[1], ["ratio", "0.50", ">= 0.60", "missed"]);
        assert!(report.add_measured("nonsense").is_err());
        report.ratio("no figure", f64::NAN, Target::AtLeast(0.6));
        report.not_measured("a peer", Target::AtLeast(3.0), "it does not install");
        assert_eq!(report.rows[2][3], "missed");
        assert_eq!(report.rows[3], ["a peer", "-", ">= 3.00", "NOT MEASURED"]);
    }
}
