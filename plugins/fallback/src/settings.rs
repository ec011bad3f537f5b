//! The settings.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Result};

use crate::choices::word;

/// The most labels: each has a metric, and a plugin may have 64.
const MOST_LABELS: usize = 32;
/// The most bytes of a label, which is a part of its metric's name.
const MOST_LABEL_BYTES: usize = 32;

/// `[settings]` of `plugins/fallback.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// Labels of candidates, the preferred one first.
    pub(crate) order: Vec<String>,
    #[serde(default)]
    limits: Limits,
    /// What differs for candidates of one label.
    #[serde(default)]
    limits_of: BTreeMap<String, Limits>,
    #[serde(default)]
    pub(crate) otherwise: Otherwise,
    #[serde(default = "default_recover_percent")]
    pub(crate) recover_percent: u32,
    #[serde(default = "default_probe_percent")]
    pub(crate) probe_percent: f64,
}

/// A candidate beyond one of these is passed over.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_queue_depth: Option<u32>,
    pub(crate) max_in_flight: Option<u32>,
    pub(crate) max_latency_ms: Option<f64>,
    pub(crate) min_free_memory_mb: Option<u32>,
}

/// What is chosen where no candidate is well.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Otherwise {
    First,
    #[default]
    Last,
    Refuse,
}

impl Settings {
    pub(crate) fn check(&self) -> Result<()> {
        self.check_order()?;
        if let Some(label) = self
            .limits_of
            .keys()
            .find(|label| !self.order.contains(label))
        {
            return Err(Error::invalid_field(
                format!("limits_of.{label}"),
                "is no label that `order` names",
            ));
        }
        let all = self
            .limits_of
            .iter()
            .map(|(label, limits)| (format!("limits_of.{label}"), limits));
        for (setting, limits) in all.chain([("limits".to_owned(), &self.limits)]) {
            let latency = limits.max_latency_ms;
            if latency.is_some_and(|most| !most.is_finite() || most <= 0.0) {
                return Err(Error::invalid_field(
                    format!("{setting}.max_latency_ms"),
                    "give a number above 0",
                ));
            }
        }
        let limited = |limits: &Limits| {
            limits.max_queue_depth.is_some()
                || limits.max_in_flight.is_some()
                || limits.max_latency_ms.is_some()
                || limits.min_free_memory_mb.is_some()
        };
        if !limited(&self.limits) && !self.limits_of.values().any(limited) {
            return Err(Error::invalid_field(
                "limits",
                "give at least one limit: without any, the first of `order` is always chosen",
            ));
        }
        if !(1..=100).contains(&self.recover_percent) {
            return Err(Error::invalid_field(
                "recover_percent",
                "give a whole number from 1 to 100",
            ));
        }
        if !(0.0..=100.0).contains(&self.probe_percent) {
            return Err(Error::invalid_field(
                "probe_percent",
                "give a number from 0 to 100",
            ));
        }
        Ok(())
    }

    fn check_order(&self) -> Result<()> {
        if !(1..=MOST_LABELS).contains(&self.order.len()) {
            return Err(Error::invalid_field(
                "order",
                format!("give 1 to {MOST_LABELS} labels"),
            ));
        }
        let mut words = BTreeSet::new();
        for (place, label) in self.order.iter().enumerate() {
            let setting = format!("order[{place}]");
            if label.is_empty() || label.len() > MOST_LABEL_BYTES {
                let message = format!("give a label of 1 to {MOST_LABEL_BYTES} bytes");
                return Err(Error::invalid_field(setting, message));
            }
            if !words.insert(word(label)) {
                return Err(Error::invalid_field(
                    setting,
                    "has the same metric as a label before it: they differ in letters or digits, in one case",
                ));
            }
        }
        Ok(())
    }

    /// The limits of candidates with the label at this place of the order: its own, and those of all where it has none.
    pub(crate) fn limits_of(&self, place: usize) -> Limits {
        let all = self.limits;
        let Some(own) = self.limits_of.get(&self.order[place]) else {
            return all;
        };
        Limits {
            max_queue_depth: own.max_queue_depth.or(all.max_queue_depth),
            max_in_flight: own.max_in_flight.or(all.max_in_flight),
            max_latency_ms: own.max_latency_ms.or(all.max_latency_ms),
            min_free_memory_mb: own.min_free_memory_mb.or(all.min_free_memory_mb),
        }
    }
}

fn default_recover_percent() -> u32 {
    80
}

fn default_probe_percent() -> f64 {
    1.0
}
