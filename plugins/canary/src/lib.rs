//! Sends a share of the requests to each candidate, by weights. `README.md` has the settings.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
use wharf_plugin_sdk::{
    Candidate, Error, HeaderName, Lifecycle, Plugin, Request, Result, Router, sticky,
};

struct Canary {
    settings: Settings,
}

/// `[settings]` of `plugins/canary.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The share of each label, or of each version as text.
    weights: BTreeMap<String, f64>,
    sticky_header: Option<HeaderName>,
}

impl Plugin for Canary {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        for (label, weight) in &settings.weights {
            if !weight.is_finite() || *weight < 0.0 {
                return Err(Error::invalid_field(
                    format!("weights.{label}"),
                    "give 0 or a positive number",
                ));
            }
        }
        if !settings.weights.values().any(|weight| *weight > 0.0) {
            return Err(Error::invalid_field(
                "weights",
                "give at least one label a weight above 0",
            ));
        }
        Ok(Self { settings })
    }
}

impl Router for Canary {
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        let key = self.key(request);
        let options = candidates
            .iter()
            .zip(self.weights(candidates))
            .map(|(candidate, weight)| {
                let (model, version) = (&candidate.model, candidate.version.to_le_bytes());
                let number = sticky::number(&[key.as_bytes(), model.as_bytes(), &version]);
                (number, weight)
            });
        sticky::choose(options)
            .ok_or_else(|| Error::unavailable("no candidate of this route has a weight above 0"))
    }
}

impl Lifecycle for Canary {}

wharf_plugin_sdk::export!(Canary: router, lifecycle);

impl Canary {
    /// What decides: the sticky header where the client sends one, and otherwise the request alone.
    fn key(&self, request: &Request) -> String {
        let sticky = self
            .settings
            .sticky_header
            .as_ref()
            .and_then(|name| request.header(name.as_str()));
        sticky
            .filter(|value| !value.is_empty())
            .unwrap_or_else(|| request.id())
    }

    /// The weight of each candidate. Those that share a label share its weight.
    fn weights(&self, candidates: &[Candidate]) -> Vec<f64> {
        let labels: Vec<Option<&str>> = candidates
            .iter()
            .map(|candidate| self.label_of(candidate))
            .collect();
        let weight = |label: &Option<&str>| {
            let sharing = labels.iter().filter(|other| *other == label).count();
            label.map_or(0.0, |label| self.settings.weights[label] / sharing as f64)
        };
        labels.iter().map(weight).collect()
    }

    /// The first of the candidate's labels that has a weight, or else its version.
    fn label_of(&self, candidate: &Candidate) -> Option<&str> {
        let known = |label: &String| {
            self.settings
                .weights
                .get_key_value(label)
                .map(|(label, _)| label.as_str())
        };
        candidate
            .labels
            .iter()
            .find_map(known)
            .or_else(|| known(&candidate.version.to_string()))
    }
}
