//! `wharf plugin bench`.

mod measure;
mod sizes;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};
use wharf_core::Plugin;

use super::case::Case;
use super::harness::{Harness, Work};
use super::subject::Choice;
use crate::cli::output::{self, size};
use crate::cli::progress::Busy;
use crate::cli::usage_error;
use measure::{Pace, copy, median};
use sizes::{Size, byte_length, scaled};

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin bench
  wharf plugin bench --case photo --time-ms 2000
  wharf plugin bench --size 4k --size 600k --json

Each case is measured as it is. Tensors are also measured at other sizes: repeated along their last dimension until they have
that many bytes. `kept` is a call of an instance that serves many requests (isolation shared), `isolated` one of an instance
made ahead for this request alone (isolation request), `memcpy` what the machine needs to copy the payload once. Figures are
medians. Build for release, on a machine that does nothing else; a debug build of wharf measures itself.

--json writes one line with the keys plugin and rows (a list of case, bytes, kept_us, isolated_us, memcpy_us, refused).";

/// Flags of `wharf plugin bench`.
#[derive(Args)]
pub(super) struct Bench {
    #[command(flatten)]
    choice: Choice,
    /// Measures only this case. May be given again.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// A payload size, such as 4k or 1m, in place of 4k, 64k, 600k, 4m. May be given again.
    #[arg(long = "size", value_name = "BYTES")]
    sizes: Vec<Size>,
    /// How long each figure is measured.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    time_ms: u64,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

/// The figures of one payload.
struct Row {
    case: String,
    bytes: usize,
    /// The figures, or why the plugin refuses the payload.
    figures: Result<Figures, String>,
}

struct Figures {
    kept: Duration,
    isolated: Duration,
    memcpy: Duration,
}

impl Bench {
    pub(super) fn run(self) -> Result<ExitCode> {
        let harness = Harness::open(self.choice.open()?)?;
        let cases = Case::all(&harness.subject.folder.join("cases"))?;
        let cases = match Case::chosen(cases, &self.cases) {
            Ok(cases) => cases,
            Err(message) => return usage_error(&message),
        };
        let busy = Busy::new(format!("compiling {}", harness.subject.name));
        let mut rows = Vec::new();
        for case in &cases {
            let settings = harness.settings(case)?;
            let kept = harness.load(&isolated_by(&settings, "shared")?)?;
            let isolated = harness.load(&isolated_by(&settings, "request")?)?;
            harness.answer_as(case);
            let work = Work::of(case, case.stage(&kept.info().stages)?)?;
            for work in self.sizes_of(&work) {
                busy.say(format!(
                    "{}, {}",
                    case.name,
                    size(byte_length(&work) as u64)
                ));
                let plugins = [&kept, &isolated];
                rows.push(Row {
                    case: case.name.clone(),
                    bytes: byte_length(&work),
                    figures: self.figures(&harness, plugins, (case, &work))?,
                });
            }
        }
        drop(busy);
        self.report(&harness, &rows)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The payload as it is, and at the sizes wanted where it has any.
    fn sizes_of(&self, work: &Work) -> Vec<Work> {
        let sizes = if self.sizes.is_empty() {
            Size::DEFAULTS.to_vec()
        } else {
            self.sizes.clone()
        };
        let others = sizes.into_iter().filter_map(|size| scaled(work, size));
        std::iter::once(work.clone()).chain(others).collect()
    }

    fn figures(
        &self,
        harness: &Harness,
        [kept, isolated]: [&Arc<dyn Plugin>; 2],
        (case, work): (&Case, &Work),
    ) -> Result<Result<Figures, String>> {
        let request = case.context()?;
        let refused = harness.block_on(work.clone().call(kept, &request)).err();
        if let Some(error) = refused {
            return Ok(Err(error.to_string()));
        }
        let time = Duration::from_millis(self.time_ms);
        let measured = |plugin, pace| harness.block_on(median(plugin, case, work, (time, pace)));
        Ok(Ok(Figures {
            kept: measured(kept, Pace::BackToBack)?,
            isolated: measured(isolated, Pace::Ready)?,
            memcpy: copy(work),
        }))
    }

    fn report(&self, harness: &Harness, rows: &[Row]) -> Result<()> {
        if self.json {
            let rows: Vec<Value> = rows.iter().map(Row::document).collect();
            let document = json!({ "plugin": harness.subject.name.as_str(), "rows": rows });
            return output::line(document);
        }
        output::line(format_args!(
            "{:<28} {:>10} {:>12} {:>12} {:>12}",
            "case", "payload", "kept us", "isolated us", "memcpy us"
        ))?;
        for row in rows {
            let bytes = size(row.bytes as u64);
            match &row.figures {
                Ok(figures) => {
                    let [kept, isolated, memcpy] = figures.microseconds();
                    output::line(format_args!(
                        "{:<28} {bytes:>10} {kept:>12.2} {isolated:>12.2} {memcpy:>12.2}",
                        row.case
                    ))?;
                }
                Err(reason) => output::line(format_args!(
                    "{:<28} {bytes:>10} refused: {reason}",
                    row.case
                ))?,
            }
        }
        Ok(())
    }
}

impl Row {
    fn document(&self) -> Value {
        let mut document = json!({ "case": self.case, "bytes": self.bytes });
        match &self.figures {
            Ok(figures) => {
                let [kept, isolated, memcpy] = figures.microseconds();
                document["kept_us"] = kept.into();
                document["isolated_us"] = isolated.into();
                document["memcpy_us"] = memcpy.into();
            }
            Err(reason) => document["refused"] = reason.as_str().into(),
        }
        document
    }
}

impl Figures {
    fn microseconds(&self) -> [f64; 3] {
        [self.kept, self.isolated, self.memcpy].map(|time| time.as_secs_f64() * 1e6)
    }
}

/// The settings with another isolation.
fn isolated_by(settings: &str, isolation: &str) -> Result<String> {
    let mut table: toml::Table = settings
        .parse()
        .context("the plugin's settings are no TOML")?;
    table.insert("isolation".to_owned(), isolation.into());
    Ok(toml::to_string(&table)?)
}
