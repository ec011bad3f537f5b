//! The settings of serving: the table `[serving]` of `wharf.toml`.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use wharf_core::{LoadError, Name};

use crate::breaker::BreakerSettings;

/// How routes are served and how a site is watched. Every key is optional.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long a request may take on a route that says nothing else, in milliseconds.
    pub default_timeout_ms: u64,
    /// The most requests at once on a route that says nothing else. More are refused as `Unavailable`, at once.
    pub max_in_flight: u32,
    /// The most requests under way that plugins mirrored, all targets together. More are refused as `Unavailable`, at once.
    pub max_mirrored: u32,
    /// Whether the site is watched for changes. Without, only `/admin/reload` reloads. Takes effect at the next start.
    pub watch: bool,
    /// How long the site must be quiet before a change is read, in milliseconds.
    pub debounce_ms: u64,
    /// How often the site is compared although no change was noticed, in milliseconds: for network file systems, and for
    /// what the operating system failed to report.
    pub rescan_ms: u64,
    /// The most plugins and models that are loaded at the same time.
    pub max_parallel_loads: usize,
    /// The calls in a row that a new plugin fails at and the release before it does not, after which that release replaces it.
    /// 0 switches roll-back off.
    pub rollback_after_faults: u64,
    /// How long after a swap a plugin may be rolled back, in milliseconds. The release before it is kept loaded so long.
    pub rollback_probation_ms: u64,
    /// The faults among the last 32 calls of a plugin for a tenant after which it is not called for that tenant for a while. Requests
    /// without a tenant count together. 0 switches that off.
    pub breaker_faults: u32,
    /// How long it is not called at first, in milliseconds. Each time that the call after a pause fails too, twice as long.
    pub breaker_pause_ms: u64,
    /// How long it is not called at most, in milliseconds.
    pub breaker_longest_pause_ms: u64,
    /// How long a change that a client or an operator asks for waits for those before it, in milliseconds. Then it is refused as
    /// `Unavailable`, and is not made.
    pub change_wait_ms: u64,
    /// How long `shutdown` waits for a load that runs, and unloading a model for requests that use it, in milliseconds.
    pub drain_timeout_ms: u64,
    /// Which models are loaded, and when. Takes effect at the next start.
    pub model_control: ModelControl,
    /// The models that are loaded at the start where `model_control` is explicit. Takes effect at the next start.
    pub load_models: Vec<String>,
}

/// Which models are loaded, and when. Plugins and routes are watched in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelControl {
    /// All that the site has, and new content by itself.
    #[default]
    Watched,
    /// Those that `load_models` names and that clients ask for. New content takes effect at the next load.
    Explicit,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            default_timeout_ms: 10_000,
            max_in_flight: 1024,
            max_mirrored: 32,
            watch: true,
            debounce_ms: 200,
            rescan_ms: 30_000,
            max_parallel_loads: 2,
            rollback_after_faults: 5,
            rollback_probation_ms: 300_000,
            breaker_faults: 24,
            breaker_pause_ms: 1000,
            breaker_longest_pause_ms: 60_000,
            change_wait_ms: 30_000,
            drain_timeout_ms: 10_000,
            model_control: ModelControl::Watched,
            load_models: Vec::new(),
        }
    }
}

/// The longest time that a setting may name: an hour. Longer ones are mistakes of unit.
pub(crate) const MAX_MS: u64 = 3_600_000;

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub fn check(&self) -> Result<(), LoadError> {
        let ranges = [
            ("default_timeout_ms", self.default_timeout_ms, 1..=MAX_MS),
            (
                "max_in_flight",
                u64::from(self.max_in_flight),
                1..=1_000_000,
            ),
            ("max_mirrored", u64::from(self.max_mirrored), 0..=1_000_000),
            ("debounce_ms", self.debounce_ms, 1..=60_000),
            ("rescan_ms", self.rescan_ms, 100..=24 * MAX_MS),
            ("max_parallel_loads", self.max_parallel_loads as u64, 1..=64),
            (
                "rollback_probation_ms",
                self.rollback_probation_ms,
                0..=24 * MAX_MS,
            ),
            ("breaker_faults", u64::from(self.breaker_faults), 0..=32),
            ("breaker_pause_ms", self.breaker_pause_ms, 10..=MAX_MS),
            (
                "breaker_longest_pause_ms",
                self.breaker_longest_pause_ms,
                self.breaker_pause_ms..=MAX_MS,
            ),
            ("change_wait_ms", self.change_wait_ms, 1..=MAX_MS),
            ("drain_timeout_ms", self.drain_timeout_ms, 0..=MAX_MS),
        ];
        for (key, value, range) in ranges {
            if !range.contains(&value) {
                let (low, high) = range.into_inner();
                return Err(LoadError::new(
                    "wharf.toml",
                    format!("{value} is out of range: use {low} to {high}"),
                )
                .with_key(format!("serving.{key}")));
            }
        }
        let wrong = |message: String| {
            Err(LoadError::new("wharf.toml", message).with_key("serving.load_models"))
        };
        if self.model_control == ModelControl::Watched && !self.load_models.is_empty() {
            return wrong(
                "every model is loaded; set model_control = \"explicit\", or remove the list"
                    .to_owned(),
            );
        }
        for name in &self.load_models {
            if let Err(error) = Name::new(name) {
                return wrong(format!("{name:?}: {error}"));
            }
        }
        Ok(())
    }

    /// The models that are loaded at the start by their names.
    pub(crate) fn named_models(&self) -> BTreeSet<Name> {
        let names = self.load_models.iter();
        names.filter_map(|name| Name::new(name).ok()).collect()
    }

    pub(crate) fn default_timeout(&self) -> Duration {
        Duration::from_millis(self.default_timeout_ms)
    }

    pub(crate) fn debounce(&self) -> Duration {
        Duration::from_millis(self.debounce_ms)
    }

    pub(crate) fn rescan(&self) -> Duration {
        Duration::from_millis(self.rescan_ms)
    }

    pub(crate) fn probation(&self) -> Duration {
        Duration::from_millis(self.rollback_probation_ms)
    }

    pub(crate) fn breaker(&self) -> BreakerSettings {
        BreakerSettings {
            faults: self.breaker_faults,
            pause: Duration::from_millis(self.breaker_pause_ms),
            longest: Duration::from_millis(self.breaker_longest_pause_ms),
        }
    }

    pub(crate) fn change_wait(&self) -> Duration {
        Duration::from_millis(self.change_wait_ms)
    }

    pub(crate) fn drain_timeout(&self) -> Duration {
        Duration::from_millis(self.drain_timeout_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_in_range_and_an_unknown_key_is_refused() {
        assert!(Config::default().check().is_ok());
        assert!(toml::from_str::<Config>("debounce = 5").is_err());
        let config: Config = toml::from_str("max_in_flight = 0").unwrap();
        let error = config.check().unwrap_err();
        assert_eq!(error.key.as_deref(), Some("serving.max_in_flight"));
        for models in [
            "load_models = ['a']",
            "model_control = 'explicit'\nload_models = ['../a']",
        ] {
            let config: Config = toml::from_str(models).unwrap();
            let error = config.check().unwrap_err();
            assert_eq!(error.key.as_deref(), Some("serving.load_models"));
        }
        assert!(toml::from_str::<Config>("model_control = 'none'").is_err());
    }
}
