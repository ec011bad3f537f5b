//! `wharf plugin test`.

use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use wharf_core::{LoadError, Plugin};

use super::build::build;
use super::captured::Line;
use super::case::Case;
use super::harness::{Harness, Ran};
use super::subject::Choice;
use crate::cli::progress::Busy;
use crate::cli::{output, usage_error};

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin test
  wharf plugin test --build
  wharf plugin test --case wrong-shape --case no-header
  wharf plugin test --update
  wharf plugin test site/plugins/shout.wasm --site site --json

A plugin has its abilities here as when it serves, but for `model`: no model is loaded, and `models.json` says what they answer.
State begins empty.

Each folder in cases/ beside the component is a case:
  request.json   every key is optional: headers, tenant, route, id, timeout_ms, settings (in place of [settings]), stage (where the
                 plugin has several), media_type and input (of a body), candidates (of a router), tokens (of a token filter), chunks (of a chunk filter)
  input.json     tensors: {\"inputs\": [{\"name\", \"datatype\", \"shape\", \"data\"}]}; \"file\" in place of \"data\" names a binary file
  input.bin      a body
  models.json    what models answer: [{\"target\", \"version\", and one of \"outputs\", \"body\", \"error\"}]; without it such a call is
                 `unavailable`; a mirrored one is dropped, and the log says so
  expected.json  one of outputs, body (with media_type, and json, text or file), chosen, verdicts, error (with kind, and
                 where wanted message and field); beside them tolerance, for floats

--json writes one line with the keys plugin, digest, passed, failed, and cases (a list of name, passed, ms, differences, log).
It exits with 1 where a case fails, and with 78 where the host would not load the plugin.";

/// Flags of `wharf plugin test`.
#[derive(Args)]
pub(super) struct Test {
    #[command(flatten)]
    choice: Choice,
    /// Builds the plugin first.
    #[arg(long)]
    build: bool,
    /// Runs only this case. May be given again.
    #[arg(long = "case", value_name = "NAME")]
    cases: Vec<String>,
    /// Writes what comes out as what is expected.
    #[arg(long)]
    update: bool,
    /// Shows the log of cases that pass, too.
    #[arg(long)]
    verbose: bool,
    /// Writes the results as JSON.
    #[arg(long)]
    json: bool,
}

/// The result of one case.
struct Tested {
    name: String,
    took: Duration,
    /// Why it failed; nothing where it passed.
    differences: Vec<String>,
    log: Vec<Line>,
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode> {
        if self.build {
            build(&self.choice.project()?)?;
        }
        let harness = Harness::open(self.choice.open()?)?;
        let cases = Case::all(&harness.subject.folder.join("cases"))?;
        let cases = match Case::chosen(cases, &self.cases) {
            Ok(cases) => cases,
            Err(message) => return usage_error(&message),
        };
        let busy = Busy::new(format!("compiling {}", harness.subject.name));
        let mut loaded = Loaded::default();
        let mut results = Vec::new();
        for case in &cases {
            let tested = self.test(&harness, &mut loaded, case)?;
            busy.say(format!("{} of {} cases", results.len() + 1, cases.len()));
            results.push(tested);
        }
        drop(busy);
        let digest = loaded.digest.unwrap_or_default();
        self.report(&harness, &digest, &results)?;
        let failed = results.iter().any(|tested| !tested.differences.is_empty());
        Ok(if failed {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }

    fn test(&self, harness: &Harness, loaded: &mut Loaded, case: &Case) -> Result<Tested> {
        let plugin = match loaded.get(harness, case) {
            Ok(plugin) => plugin,
            // The settings of the case are what it is about: that they are refused is for the case to say.
            Err(error) if case.request.settings.is_some() && error.is::<LoadError>() => {
                return Ok(Tested {
                    name: case.name.clone(),
                    took: Duration::ZERO,
                    differences: vec![format!("the plugin does not load: {error:#}")],
                    log: harness.log(),
                });
            }
            Err(error) => {
                for line in harness.log() {
                    output::notice(line);
                }
                return Err(error);
            }
        };
        let Ran { outcome, took, log } = harness.run(&plugin, case)?;
        let differences = if self.update {
            case.expect(&outcome)?;
            Vec::new()
        } else {
            case.differences(&outcome)?
        };
        Ok(Tested {
            name: case.name.clone(),
            took,
            differences,
            log,
        })
    }

    fn report(&self, harness: &Harness, digest: &str, results: &[Tested]) -> Result<()> {
        let failed = results
            .iter()
            .filter(|tested| !tested.differences.is_empty())
            .count();
        let passed = results.len() - failed;
        if self.json {
            let cases: Vec<Value> = results.iter().map(Tested::document).collect();
            let document = json!({
                "plugin": harness.subject.name.as_str(), "digest": digest,
                "passed": passed, "failed": failed, "cases": cases,
            });
            return output::line(document);
        }
        for tested in results {
            let passed = tested.differences.is_empty();
            let word = match (passed, self.update) {
                (false, _) => "FAILED",
                (true, true) => "written",
                (true, false) => "ok",
            };
            output::line(format_args!(
                "{word:<8} {:<32} {:.3} ms",
                tested.name,
                tested.took.as_secs_f64() * 1e3
            ))?;
            for line in &tested.differences {
                output::line(format_args!("         {line}"))?;
            }
            if !passed || self.verbose {
                for line in &tested.log {
                    output::line(indented(&line.to_string()))?;
                }
            }
        }
        output::line(format_args!("{passed} passed, {failed} failed"))
    }
}

impl Tested {
    fn document(&self) -> Value {
        let log: Vec<Value> = self.log.iter().map(Line::document).collect();
        json!({
            "name": self.name,
            "passed": self.differences.is_empty(),
            "ms": self.took.as_secs_f64() * 1e3,
            "differences": self.differences,
            "log": log,
        })
    }
}

pub(super) fn indented(text: &str) -> String {
    let lines: Vec<String> = text
        .lines()
        .map(|line| format!("         {line}"))
        .collect();
    lines.join("\n")
}

/// The plugin, loaded once for each text of settings.
#[derive(Default)]
struct Loaded {
    plugins: HashMap<String, Arc<dyn Plugin>>,
    digest: Option<String>,
}

impl Loaded {
    fn get(&mut self, harness: &Harness, case: &Case) -> Result<Arc<dyn Plugin>> {
        let settings = harness.settings(case)?;
        if let Some(plugin) = self.plugins.get(&settings) {
            return Ok(Arc::clone(plugin));
        }
        let plugin = harness.load(&settings)?;
        self.digest
            .get_or_insert_with(|| plugin.info().digest.to_string());
        self.plugins.insert(settings, Arc::clone(&plugin));
        Ok(plugin)
    }
}
