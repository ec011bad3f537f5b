//! `wharf plugin replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};

use super::captured::Line;
use super::case::{Case, Outcome};
use super::harness::Harness;
use super::progress::Busy;
use super::subject::Choice;
use super::test::indented;
use crate::cli::output;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin replay cases/example
  wharf plugin replay recordings/4f1c site/plugins/shout.wasm --site site

It shows what came out, what the plugin logged, and after a fault its output and a backtrace with the names of functions.
--json writes one line with the keys case, ms, outcome (as in expected.json) and log. It exits with 1 where the plugin
refused or failed.";

/// Flags of `wharf plugin replay`.
#[derive(Args)]
pub(super) struct Replay {
    /// The folder of a case or of a recorded request.
    #[arg(value_name = "CASE")]
    case: PathBuf,
    #[command(flatten)]
    choice: Choice,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

impl Replay {
    pub(super) fn run(self) -> Result<ExitCode> {
        let case = Case::read(&self.case)?;
        let harness = Harness::open(self.choice.open()?)?;
        let busy = Busy::new(format!("compiling {}", harness.subject.name));
        let loaded = harness
            .settings(&case)
            .and_then(|settings| harness.load(&settings));
        drop(busy);
        let plugin = loaded.inspect_err(|_| {
            for line in harness.log() {
                output::notice(line);
            }
        })?;
        let ran = harness.run(&plugin, &case)?;
        // Files are named, and not written: a replay changes nothing.
        let outcome = ran.outcome.document("output", &mut Vec::new());
        let ms = ran.took.as_secs_f64() * 1e3;
        if self.json {
            let log: Vec<Value> = ran.log.iter().map(Line::document).collect();
            let document = json!({ "case": case.name, "ms": ms, "outcome": outcome, "log": log });
            output::line(document)?;
        } else {
            output::line(format_args!("{} ran {ms:.3} ms:", case.name))?;
            output::line(indented(&format!("{outcome:#}")))?;
            for line in &ran.log {
                output::line(line)?;
            }
        }
        Ok(match ran.outcome {
            Outcome::Refused(_) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }
}
