//! `wharf plugin replay`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use wharf_core::Plugin;

use super::captured::Line;
use super::case::{Case, Outcome};
use super::harness::{Harness, Ran};
use super::recording::Recording;
use super::subject::Choice;
use super::test::indented;
use crate::cli::output;
use crate::cli::progress::Busy;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin replay cases/example
  wharf plugin replay site/recordings/shout/1795971600123-4f1c site/plugins/shout.wasm --site site

It shows what came out, what the plugin logged, and after a fault its output and a backtrace with the names of functions.

A recorded request is what a host writes where [record] of the plugin's settings asks for it. Beside what comes out now it shows
what was seen then, and in what they differ. Models answer as they did; state begins empty, requests to other servers are sent anew,
secrets are the site's, and clocks and random numbers are others: it says which of these the request used.

--json writes one line with the keys case, ms, outcome (as in expected.json), log, and recorded: null, or what was seen, with
same_release and differences. It exits with 1 where the plugin refused or failed.";

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
        let recording = Recording::read(&self.case)?;
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
        if self.json {
            report_document(&case, &ran, recording.as_ref(), plugin.as_ref())?;
        } else {
            report(&case, &ran, recording.as_ref(), plugin.as_ref())?;
        }
        Ok(match ran.outcome {
            Outcome::Refused(_) => ExitCode::FAILURE,
            _ => ExitCode::SUCCESS,
        })
    }
}

fn report(
    case: &Case,
    ran: &Ran,
    recording: Option<&Recording>,
    plugin: &dyn Plugin,
) -> Result<()> {
    for doubt in recording.iter().flat_map(|it| it.doubts(plugin.info())) {
        output::notice(format_args!("wharf: {doubt}"));
    }
    let ms = ran.took.as_secs_f64() * 1e3;
    output::line(format_args!("{} ran {ms:.3} ms:", case.name))?;
    output::line(indented(&format!("{:#}", document(&ran.outcome))))?;
    for line in &ran.log {
        output::line(line)?;
    }
    let Some(recording) = recording else {
        return Ok(());
    };
    for line in recording.lines() {
        output::line(line)?;
    }
    let differences = case.compare(&recording.outcome, &ran.outcome)?;
    if differences.is_empty() {
        return output::line("it came out as recorded");
    }
    output::line("it did not come out as recorded:")?;
    differences
        .iter()
        .try_for_each(|line| output::line(indented(line)))
}

fn report_document(
    case: &Case,
    ran: &Ran,
    recording: Option<&Recording>,
    plugin: &dyn Plugin,
) -> Result<()> {
    let recorded = match recording {
        Some(recording) => {
            let differences = case.compare(&recording.outcome, &ran.outcome)?;
            recording.document(plugin.info(), &differences)
        }
        None => Value::Null,
    };
    let log: Vec<Value> = ran.log.iter().map(Line::document).collect();
    let ms = ran.took.as_secs_f64() * 1e3;
    output::line(json!({
        "case": case.name, "ms": ms, "outcome": document(&ran.outcome), "log": log, "recorded": recorded,
    }))
}

/// Files are named, and not written: a replay changes nothing.
fn document(outcome: &Outcome) -> Value {
    outcome.document("output", &mut Vec::new())
}
