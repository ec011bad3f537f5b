//! What a recorded request tells beside its case: the release that was called, and what came of it.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use wharf_core::{Isolation, PluginInfo};

use super::case::read_json;

/// A recording, read beside its case.
pub(super) struct Recording {
    facts: Facts,
    /// What came of the call, in the form of `expected.json`.
    pub(super) outcome: Value,
    stderr: String,
    backtrace: String,
    log: Vec<Value>,
}

/// `recording.json`. Later hosts may write more into it.
#[derive(Deserialize)]
struct Facts {
    plugin: String,
    digest: String,
    recorded_ms: u64,
    outcome: String,
    fault: Option<Value>,
    #[serde(default)]
    headers_left_out: Vec<String>,
    #[serde(default)]
    not_recorded: Map<String, Value>,
    #[serde(default)]
    lines_left_out: u64,
}

impl Recording {
    /// Reads what a folder has of one. None where it is a case that somebody wrote.
    ///
    /// # Errors
    /// Where a file of it cannot be read; the text names the file.
    pub(super) fn read(folder: &Path) -> Result<Option<Self>> {
        let Some(facts) = read_json(&folder.join("recording.json"))? else {
            return Ok(None);
        };
        let log = read_json(&folder.join("log.json"))?;
        Ok(Some(Self {
            facts: serde_json::from_value(facts).context("recording.json")?,
            outcome: read_json(&folder.join("outcome.json"))?
                .context("outcome.json is missing from the recording")?,
            stderr: text(&folder.join("stderr.txt"))?,
            backtrace: text(&folder.join("backtrace.txt"))?,
            log: log
                .and_then(|log| log.as_array().cloned())
                .unwrap_or_default(),
        }))
    }

    /// Why a replay may come out otherwise, a line each.
    pub(super) fn doubts(&self, plugin: &PluginInfo) -> Vec<String> {
        let facts = &self.facts;
        let mut doubts = Vec::new();
        let digest = plugin.digest.to_string();
        if facts.digest != digest {
            doubts.push(format!(
                "the recording is of another release: {} with the digest {:.12}, and this is {} with {digest:.12}; component, settings and the files that these name all count",
                facts.plugin, facts.digest, plugin.name
            ));
        }
        if !facts.headers_left_out.is_empty() {
            doubts.push(format!(
                "header fields were left out as credentials: {}; add them to request.json where the plugin reads them",
                facts.headers_left_out.join(", ")
            ));
        }
        for (ability, calls) in &facts.not_recorded {
            let now = match ability.as_str() {
                "state" => "here the state begins empty",
                "http" => "here the servers are asked again",
                _ => "here the site's own are read",
            };
            doubts.push(format!(
                "what {calls} calls of `{ability}` gave was not recorded: {now}"
            ));
        }
        if plugin.isolation != Isolation::Request {
            doubts.push(
                "instances of this plugin are kept: what earlier requests left in them was not recorded"
                    .to_owned(),
            );
        }
        doubts
    }

    /// For people: what was seen of the call when it was recorded.
    pub(super) fn lines(&self) -> Vec<String> {
        let facts = &self.facts;
        let reason = facts
            .fault
            .as_ref()
            .and_then(|fault| fault["reason"].as_str());
        let mut lines = vec![format!(
            "recorded of {}: {}{}",
            facts.plugin,
            facts.outcome,
            reason
                .map(|reason| format!(", {reason}"))
                .unwrap_or_default()
        )];
        for line in &self.log {
            let word = |key: &str| line[key].as_str().unwrap_or_default().to_owned();
            let fields = line["fields"].as_object().into_iter().flatten();
            let fields: String = fields
                .map(|(name, value)| format!(" {name}={}", value.as_str().unwrap_or_default()))
                .collect();
            lines.push(format!("  {}: {}{fields}", word("level"), word("message")));
        }
        if facts.lines_left_out > 0 {
            lines.push(format!("  and {} lines more", facts.lines_left_out));
        }
        for (name, text) in [("output", &self.stderr), ("backtrace", &self.backtrace)] {
            if !text.is_empty() {
                lines.push(format!("  {name}:"));
                lines.extend(text.trim_end().lines().map(|line| format!("    {line}")));
            }
        }
        lines
    }

    /// The same for programs.
    pub(super) fn document(&self, plugin: &PluginInfo, differences: &[String]) -> Value {
        let facts = &self.facts;
        json!({
            "plugin": facts.plugin,
            "digest": facts.digest,
            "same_release": facts.digest == plugin.digest.to_string(),
            "recorded_ms": facts.recorded_ms,
            "kind": facts.outcome,
            "fault": facts.fault,
            "outcome": self.outcome,
            "stderr": self.stderr,
            "backtrace": self.backtrace,
            "log": self.log,
            "headers_left_out": facts.headers_left_out,
            "not_recorded": facts.not_recorded,
            "differences": differences,
        })
    }
}

/// The text of a file; empty where there is none.
fn text(file: &Path) -> Result<String> {
    match fs::read(file) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}
