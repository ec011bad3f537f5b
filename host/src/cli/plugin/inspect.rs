//! `wharf plugin inspect`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use wharf_sandbox::Summary;

use super::report;
use super::subject::Choice;
use crate::cli::output;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin inspect
  wharf plugin inspect site/plugins/top-k.wasm --site site --json

Nothing of the component is compiled or run. It exits with 78 where the host would refuse it or its settings.

--json writes one line with the keys name, bytes, sha256, contract, stages, lifecycle, isolation, imports (a list of name, grant
and granted) and limits. More keys may come.";

/// Flags of `wharf plugin inspect`.
#[derive(Args)]
pub(super) struct Inspect {
    #[command(flatten)]
    choice: Choice,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

impl Inspect {
    pub(super) fn run(self) -> Result<ExitCode> {
        let subject = self.choice.open()?;
        let summary = Summary::of(
            &subject.name,
            &subject.component,
            &subject.settings,
            &subject.config,
        )?;
        if self.json {
            output::line(report::document(&subject.name, &summary))?;
        } else {
            output::line(&subject.name)?;
            output::text(report::text(&summary))?;
            output::text(report::limits_text(&summary))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
