//! The schema of `routes/NAME.toml`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};
use wharf_core::{InvalidName, LoadError, Name, Tenants};

use super::{CandidateSpec, OnFailure, RouteSpec, StageSpec};
use crate::config::MAX_MS;

/// The largest body that a route may name: 4 GiB, as the server has it.
const MAX_BODY_BYTES: u64 = 1 << 32;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RouteFile {
    router: Option<StageEntry>,
    model: Option<String>,
    upstream: Option<String>,
    version: Option<u64>,
    #[serde(default)]
    candidates: Vec<CandidateEntry>,
    #[serde(default)]
    pre: Vec<StageEntry>,
    #[serde(default)]
    post: Vec<StageEntry>,
    timeout_ms: Option<u64>,
    max_in_flight: Option<u32>,
    max_body_bytes: Option<u64>,
    body_timeout_ms: Option<u64>,
    input: Option<InputEntry>,
    tenants: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CandidateEntry {
    model: Option<String>,
    upstream: Option<String>,
    version: Option<u64>,
    #[serde(default)]
    labels: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum InputEntry {
    Body,
    Tensors,
}

/// `"name"`, or `{ plugin = "name", on_failure = "skip" }`.
struct StageEntry {
    plugin: String,
    on_failure: OnFailure,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StageTable {
    plugin: String,
    #[serde(default)]
    on_failure: OnFailureEntry,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OnFailureEntry {
    #[default]
    Closed,
    Skip,
    Previous,
}

// By hand, because an untagged enum would say no more than that no variant matched.
impl<'de> Deserialize<'de> for StageEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StageVisitor;

        impl<'de> Visitor<'de> for StageVisitor {
            type Value = StageEntry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "the name of a plugin, or { plugin = \"name\", on_failure = \"closed\" }",
                )
            }

            fn visit_str<E>(self, plugin: &str) -> Result<StageEntry, E> {
                Ok(StageEntry {
                    plugin: plugin.to_owned(),
                    on_failure: OnFailure::Closed,
                })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StageEntry, A::Error> {
                let table = StageTable::deserialize(MapAccessDeserializer::new(map))?;
                Ok(StageEntry {
                    plugin: table.plugin,
                    on_failure: match table.on_failure {
                        OnFailureEntry::Closed => OnFailure::Closed,
                        OnFailureEntry::Skip => OnFailure::Skip,
                        OnFailureEntry::Previous => OnFailure::Previous,
                    },
                })
            }
        }

        deserializer.deserialize_any(StageVisitor)
    }
}

/// Parses the text of `routes/NAME.toml`.
///
/// # Errors
/// Where it is no TOML of this schema, or a value is out of its range. Whether what it names is there is for `link`.
pub(crate) fn parse(name: Name, text: &str) -> Result<RouteSpec, LoadError> {
    let at = At(format!("routes/{name}.toml"));
    let document = toml::Deserializer::parse(text).map_err(|error| at.toml(text, &error, None))?;
    let file: RouteFile = serde_path_to_error::deserialize(document).map_err(|error| {
        let key = Some(error.path().to_string()).filter(|path| path != ".");
        at.toml(text, error.inner(), key)
    })?;
    let named = at.target("", file.model, file.upstream, file.version)?;
    if !file.candidates.is_empty() && (named.is_some() || file.version.is_some()) {
        return Err(at.error(
            "candidates",
            "a route has either `model` (and `version`) or `upstream` or [[candidates]]; remove what is too much",
        ));
    }
    let candidates = match named {
        Some(model) => vec![CandidateSpec {
            model,
            version: file.version,
            labels: Arc::new([]),
        }],
        None => at.candidates(file.candidates)?,
    };
    if candidates.len() > 1 && file.router.is_none() {
        return Err(at.error(
            "router",
            "more than one candidate needs `router = \"PLUGIN\"`, a plugin with a router stage",
        ));
    }
    Ok(RouteSpec {
        implicit: false,
        router: file
            .router
            .as_ref()
            .map(|entry| at.stage("router", entry))
            .transpose()?,
        candidates,
        pre: at.stages("pre", &file.pre)?,
        post: at.stages("post", &file.post)?,
        timeout: at
            .range("timeout_ms", file.timeout_ms, MAX_MS)?
            .map(Duration::from_millis),
        max_in_flight: at.range("max_in_flight", file.max_in_flight, 1_000_000)?,
        max_body_bytes: at.range("max_body_bytes", file.max_body_bytes, MAX_BODY_BYTES)?,
        body_timeout: at
            .range("body_timeout_ms", file.body_timeout_ms, MAX_MS)?
            .map(Duration::from_millis),
        takes_body: file.input.map(|input| input == InputEntry::Body),
        tenants: at.tenants(file.tenants.as_deref())?,
        name,
    })
}

/// Makes errors about one file.
struct At(String);

impl At {
    fn error(&self, key: impl Into<String>, message: impl Into<String>) -> LoadError {
        LoadError::new(&self.0, message).with_key(key)
    }

    fn toml(&self, text: &str, error: &toml::de::Error, key: Option<String>) -> LoadError {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| 1 + before.matches('\n').count());
        let message = match line {
            Some(line) => format!("line {line}: {}", error.message().trim()),
            None => error.message().trim().to_owned(),
        };
        let refused = LoadError::new(&self.0, message);
        match key {
            Some(key) => refused.with_key(key),
            None => refused,
        }
    }

    fn name(&self, key: &str, name: &str) -> Result<Name, LoadError> {
        Name::new(name).map_err(|error| self.error(key, error.to_string()))
    }

    fn tenants(&self, names: Option<&[String]>) -> Result<Tenants, LoadError> {
        Tenants::of_setting(names)
            .map_err(|index| self.error(format!("tenants[{index}]"), InvalidName.to_string()))
    }

    /// What is led to: a model, or an upstream, which is a model of one version that its own file names.
    fn target(
        &self,
        prefix: &str,
        model: Option<String>,
        upstream: Option<String>,
        version: Option<u64>,
    ) -> Result<Option<Name>, LoadError> {
        match (model, upstream) {
            (Some(_), Some(_)) => {
                let message = "there is a `model` already; remove one of them";
                Err(self.error(format!("{prefix}upstream"), message))
            }
            (None, Some(_)) if version.is_some() => {
                let message = "an upstream says its version in its own file; take it out here";
                Err(self.error(format!("{prefix}version"), message))
            }
            (Some(model), None) => self.name(&format!("{prefix}model"), &model).map(Some),
            (None, Some(name)) => self.name(&format!("{prefix}upstream"), &name).map(Some),
            (None, None) => Ok(None),
        }
    }

    fn stage(&self, key: &str, entry: &StageEntry) -> Result<StageSpec, LoadError> {
        Ok(StageSpec {
            plugin: self.name(key, &entry.plugin)?,
            on_failure: entry.on_failure,
        })
    }

    fn stages(&self, key: &str, entries: &[StageEntry]) -> Result<Vec<StageSpec>, LoadError> {
        entries
            .iter()
            .enumerate()
            .map(|(index, entry)| self.stage(&format!("{key}[{index}]"), entry))
            .collect()
    }

    fn candidates(&self, entries: Vec<CandidateEntry>) -> Result<Vec<CandidateSpec>, LoadError> {
        if entries.is_empty() {
            return Err(self.error(
                "model",
                "the route leads to no model; add `model = \"NAME\"` or `upstream = \"NAME\"`, or [[candidates]] with a router",
            ));
        }
        let mut candidates: Vec<CandidateSpec> = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let prefix = format!("candidates[{index}].");
            let named = self.target(&prefix, entry.model, entry.upstream, entry.version)?;
            let model = named.ok_or_else(|| {
                let message = "a candidate has a `model` or an `upstream`; add one of them";
                self.error(format!("candidates[{index}]"), message)
            })?;
            if candidates
                .iter()
                .any(|other| other.model == model && other.version == entry.version)
            {
                return Err(self.error(
                    format!("candidates[{index}]"),
                    "the same model and version is a candidate twice; join them and their labels",
                ));
            }
            candidates.push(CandidateSpec {
                model,
                version: entry.version,
                labels: entry.labels.into(),
            });
        }
        Ok(candidates)
    }

    fn range<T>(&self, key: &str, value: Option<T>, most: T) -> Result<Option<T>, LoadError>
    where
        T: Copy + PartialOrd + From<u8> + fmt::Display,
    {
        match value {
            Some(value) if value < T::from(1) || value > most => {
                Err(self.error(key, format!("{value} is out of range: use 1 to {most}")))
            }
            value => Ok(value),
        }
    }
}

#[cfg(test)]
mod tests;
