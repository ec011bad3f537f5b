//! Sends a share of the requests to each candidate, by weights. `README.md` has the settings.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Deserialize;
use wharf_plugin_sdk::{Candidate, Error, Lifecycle, Plugin, Request, Result, Router};

struct Canary {
    settings: Settings,
}

/// `[settings]` of `plugins/canary.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The share of each label, or of each version as text.
    weights: BTreeMap<String, f64>,
    sticky_header: Option<String>,
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
        if let Some(name) = &settings.sticky_header
            && !is_field_name(name)
        {
            return Err(Error::invalid_field(
                "sticky_header",
                "give the name of a header field, such as `x-user`",
            ));
        }
        Ok(Self { settings })
    }
}

impl Router for Canary {
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize> {
        let key = self.key(request);
        let scored = self
            .weights(candidates)
            .into_iter()
            .enumerate()
            .filter(|(_, weight)| *weight > 0.0);
        let best = scored
            .map(|(index, weight)| (index, score(&key, &candidates[index], weight)))
            .max_by(|(_, a), (_, b)| a.total_cmp(b));
        match best {
            Some((index, _)) => Ok(index),
            None => Err(Error::unavailable(
                "no candidate of this route has a weight above 0",
            )),
        }
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
            .as_deref()
            .and_then(|name| request.header(name));
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

/// The score of a candidate for a key, by weighted rendezvous hashing: the best wins a share of the keys in proportion to
/// its weight, and when weights change, only the keys that must move do.
fn score(key: &str, candidate: &Candidate, weight: f64) -> f64 {
    let mut hash = Hash::new();
    hash.write(key.as_bytes());
    hash.write(candidate.model.as_bytes());
    hash.write(&candidate.version.to_le_bytes());
    // Above 0 and below 1, from the 53 bits that a binary64 holds.
    let uniform = ((hash.finish() >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    weight / -uniform.ln()
}

/// FNV-1a, with the finaliser of SplitMix64 to spread short keys over all bits. It must stay as it is: clients keep
/// their versions by it.
struct Hash(u64);

impl Hash {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn write(&mut self, bytes: &[u8]) {
        // A byte that UTF-8 never has ends each part.
        for byte in bytes.iter().chain(&[0xff]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// Whether a text is a `field-name` of RFC 9110.
fn is_field_name(name: &str) -> bool {
    let symbol = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || symbol(byte))
}
