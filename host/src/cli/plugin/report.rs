//! What a component is, for people and for programs.

use std::fmt::Write;

use serde_json::{Value, json};
use wharf_core::{Name, Stage};
use wharf_sandbox::Summary;

use crate::cli::output::size;

/// A few lines for people.
pub(super) fn text(summary: &Summary) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &str| {
        // Writing to a text does not fail.
        let _ = writeln!(text, "  {name:<10}{value}");
    };
    line("size", &size(summary.bytes));
    line("sha256", &summary.sha256.to_string());
    line("contract", summary.contract.as_deref().unwrap_or("none"));
    line("stages", &list(&stages(summary)));
    line("isolation", summary.isolation.name());
    let imports: Vec<&str> = summary
        .imports
        .iter()
        .map(|import| import.name.as_str())
        .collect();
    line("imports", imports.first().unwrap_or(&"none"));
    for import in imports.iter().skip(1) {
        line("", import);
    }
    let grants: Vec<String> = summary
        .imports
        .iter()
        .filter_map(|import| {
            let grant = import.grant?;
            Some(if import.granted {
                grant.to_owned()
            } else {
                format!("{grant} (missing: add it to [grants] of the settings)")
            })
        })
        .collect();
    line("grants", &list(&grants));
    text
}

/// The limits, a line each.
pub(super) fn limits_text(summary: &Summary) -> String {
    let mut text = String::from("  limits\n");
    for (name, value) in summary.limits.list() {
        let _ = writeln!(text, "    {name:<22}{value}");
    }
    text
}

/// The same for programs.
pub(super) fn document(name: &Name, summary: &Summary) -> Value {
    let imports: Vec<Value> = summary
        .imports
        .iter()
        .map(|import| json!({ "name": import.name, "grant": import.grant, "granted": import.granted }))
        .collect();
    let limits: serde_json::Map<String, Value> = summary
        .limits
        .list()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    json!({
        "name": name.as_str(),
        "bytes": summary.bytes,
        "sha256": summary.sha256.to_string(),
        "contract": summary.contract,
        "stages": stages(summary),
        "lifecycle": summary.lifecycle,
        "isolation": summary.isolation.name(),
        "imports": imports,
        "limits": limits,
    })
}

fn stages(summary: &Summary) -> Vec<String> {
    summary
        .stages
        .iter()
        .copied()
        .map(Stage::name)
        .map(str::to_owned)
        .collect()
}

fn list(items: &[String]) -> String {
    if items.is_empty() {
        "none".to_owned()
    } else {
        items.join(", ")
    }
}
