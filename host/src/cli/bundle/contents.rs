//! What is in a release, for people and for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context, Result};
use bytes::Bytes;
use serde_json::{Value, json};
use wharf_core::Name;
use wharf_sandbox::{Config, Summary};

use super::path::ReleasePath;
use crate::cli::output::size;

/// The sizes of a release's files, by their paths.
pub(super) type Sizes = BTreeMap<ReleasePath, u64>;

/// What is in a release.
pub(super) struct Contents {
    routes: Vec<Route>,
    models: BTreeMap<String, Model>,
    plugins: Vec<(Name, Summary)>,
    files: usize,
    bytes: u64,
}

struct Route {
    name: Name,
    /// The model that it names; none where it names several, or its own.
    model: Option<String>,
}

#[derive(Default)]
struct Model {
    versions: BTreeSet<u64>,
    bytes: u64,
}

/// Whether the content of a file is looked at, and not only its name.
pub(super) fn is_read(path: &ReleasePath) -> bool {
    let of_plugin = [".wasm", ".toml"].map(|ending| path.name_in("plugins", ending));
    path.name_in("routes", ".toml").is_some() || of_plugin.iter().any(Option::is_some)
}

/// The size of files together.
///
/// # Errors
/// Where it is more than there can be: a manifest may claim any.
pub(super) fn sum(mut sizes: impl Iterator<Item = u64>) -> Result<u64> {
    sizes
        .try_fold(0_u64, u64::checked_add)
        .context("its files claim more bytes together than there can be")
}

impl Contents {
    /// Looks at a release. `read` has the content of the files that [`is_read`] names.
    ///
    /// # Errors
    /// A [`wharf_core::LoadError`] where a host would not load a plugin of it; where a route is no TOML, or the sizes cannot be.
    pub(super) fn of(sizes: &Sizes, read: &BTreeMap<ReleasePath, Bytes>) -> Result<Self> {
        let bytes = sum(sizes.values().copied())?;
        let mut contents = Self {
            routes: Vec::new(),
            models: BTreeMap::new(),
            plugins: Vec::new(),
            files: sizes.len(),
            bytes,
        };
        for (path, bytes) in sizes {
            if let Some(name) = path.name_in("routes", ".toml") {
                let table: toml::Table = text(read, path)?
                    .parse()
                    .with_context(|| format!("{path} is no TOML"))?;
                let model = table.get("model").and_then(|model| model.as_str());
                contents.routes.push(Route {
                    name,
                    model: model.map(str::to_owned),
                });
            } else if let Some((model, version)) = path.model() {
                let model = contents.models.entry(model.to_owned()).or_default();
                model.versions.extend(version);
                // A part of the sum of all.
                model.bytes += bytes;
            } else if let Some(name) = path.name_in("plugins", ".wasm") {
                let settings = ReleasePath::new(&format!("plugins/{name}.toml"))?;
                let settings = if sizes.contains_key(&settings) {
                    text(read, &settings)?
                } else {
                    ""
                };
                let component = read.get(path).map_or(&[][..], |bytes| &bytes[..]);
                let summary = Summary::of(&name, component, settings, &Config::default())?;
                contents.plugins.push((name, summary));
            }
        }
        Ok(contents)
    }

    /// A few lines for people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a text does not fail.
        let _ = writeln!(text, "  {} files, {}", self.files, size(self.bytes));
        for Route { name, model } in &self.routes {
            // A stranger's text, which may have what a terminal obeys.
            let model = model
                .as_deref()
                .map(|model| format!(" to {}", model.escape_debug()));
            let _ = writeln!(text, "  route  {name}{}", model.unwrap_or_default());
        }
        for (name, model) in &self.models {
            let versions: Vec<String> = model.versions.iter().map(u64::to_string).collect();
            let _ = writeln!(
                text,
                "  model  {name}: version {}, {}",
                if versions.is_empty() {
                    "none".to_owned()
                } else {
                    versions.join(", ")
                },
                size(model.bytes)
            );
        }
        for (name, summary) in &self.plugins {
            let stages = stages(summary).join(", ");
            let grants: Vec<String> = grants(summary)
                .map(|(grant, granted)| match granted {
                    true => grant.to_owned(),
                    false => format!("{grant} (missing in its settings)"),
                })
                .collect();
            let grants = match grants.is_empty() {
                true => "none".to_owned(),
                false => grants.join(", "),
            };
            let _ = writeln!(
                text,
                "  plugin {name}: {stages}; grants: {grants}; {}",
                size(summary.bytes)
            );
        }
        text
    }

    /// The same for programs.
    pub(super) fn document(&self) -> Value {
        let routes: Vec<Value> = self
            .routes
            .iter()
            .map(|route| json!({ "name": route.name.as_str(), "model": route.model }))
            .collect();
        let models: Vec<Value> = self
            .models
            .iter()
            .map(|(name, model)| {
                json!({ "name": name, "versions": model.versions, "bytes": model.bytes })
            })
            .collect();
        let plugins: Vec<Value> = self
            .plugins
            .iter()
            .map(|(name, summary)| {
                let grants: Vec<Value> = grants(summary)
                    .map(|(grant, granted)| json!({ "name": grant, "granted": granted }))
                    .collect();
                json!({
                    "name": name.as_str(), "stages": stages(summary), "grants": grants,
                    "bytes": summary.bytes, "sha256": summary.sha256.to_string(),
                })
            })
            .collect();
        json!({
            "files": self.files, "bytes": self.bytes,
            "routes": routes, "models": models, "plugins": plugins,
        })
    }
}

fn stages(summary: &Summary) -> Vec<&'static str> {
    summary.stages.iter().map(|stage| stage.name()).collect()
}

/// The grants that a component needs, and whether its settings have them.
fn grants(summary: &Summary) -> impl Iterator<Item = (&'static str, bool)> {
    summary
        .imports
        .iter()
        .filter_map(|import| Some((import.grant?, import.granted)))
}

fn text<'a>(read: &'a BTreeMap<ReleasePath, Bytes>, path: &ReleasePath) -> Result<&'a str> {
    let bytes = read.get(path).map_or(&[][..], |bytes| &bytes[..]);
    std::str::from_utf8(bytes).with_context(|| format!("{path} is not UTF-8"))
}
