//! The metrics: how often each label was chosen, and why the preferred candidate was not.

use wharf_plugin_sdk::Metric;

use crate::health::{Cause, PassedOver};
use crate::settings::Settings;

const QUEUE_DEPTH: Metric = Metric::counter(
    "fallback_passed_over_queue_depth_total",
    "Requests whose preferred candidate had too many waiting.",
);
const IN_FLIGHT: Metric = Metric::counter(
    "fallback_passed_over_in_flight_total",
    "Requests whose preferred candidate ran too many.",
);
const FREE_MEMORY: Metric = Metric::counter(
    "fallback_passed_over_free_memory_total",
    "Requests whose preferred candidate had too little free memory.",
);
const LATENCY: Metric = Metric::counter(
    "fallback_passed_over_latency_total",
    "Requests whose preferred candidate was too slow.",
);
const RECOVERING: Metric = Metric::counter(
    "fallback_passed_over_recovering_total",
    "Requests whose preferred candidate was below its limits again, but not far enough.",
);
/// Requests that went to a candidate although it is slow.
pub(crate) const PROBES: Metric = Metric::counter(
    "fallback_probes_total",
    "Requests that went to a slow candidate, to learn whether it is slow still.",
);
/// Requests for which `otherwise` counted.
pub(crate) const NONE_WELL: Metric = Metric::counter(
    "fallback_none_well_total",
    "Requests for which every candidate was beyond a limit.",
);
pub(crate) const METRICS: &[Metric] = &[
    QUEUE_DEPTH,
    IN_FLIGHT,
    FREE_MEMORY,
    LATENCY,
    RECOVERING,
    PROBES,
    NONE_WELL,
];

/// Counts why the preferred candidate was passed over.
pub(crate) fn passed_over(why: &PassedOver) {
    let metric = match (why.recovering, why.cause) {
        (true, _) => RECOVERING,
        (false, Cause::QueueDepth) => QUEUE_DEPTH,
        (false, Cause::InFlight) => IN_FLIGHT,
        (false, Cause::FreeMemory) => FREE_MEMORY,
        (false, Cause::Latency) => LATENCY,
    };
    metric.add(1);
}

/// A counter each label, in the order of the settings.
pub(crate) struct Choices(Vec<Metric>);

impl Choices {
    pub(crate) fn of(settings: &Settings) -> Self {
        let counter = |label: &String| {
            let name = format!("fallback_{}_chosen_total", word(label));
            let help = format!("Requests that went to a candidate with the label {label}.");
            // Made once an instance, and used as long as it lives.
            Metric::counter(name.leak(), help.leak())
        };
        Self(settings.order.iter().map(counter).collect())
    }

    pub(crate) fn metrics(self) -> impl Iterator<Item = Metric> {
        self.0.into_iter()
    }

    pub(crate) fn chosen(&self, label: usize) {
        self.0[label].add(1);
    }
}

/// A label as a part of a metric's name, which has lower-case letters, digits and underscores alone.
pub(crate) fn word(label: &str) -> String {
    let known = |letter: char| {
        if letter.is_ascii_alphanumeric() {
            letter.to_ascii_lowercase()
        } else {
            '_'
        }
    };
    label.chars().map(known).collect()
}
