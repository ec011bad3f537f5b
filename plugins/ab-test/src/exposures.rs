//! The metrics: a counter each variant, whose name is the operator's choice, and those that every experiment has.

use wharf_plugin_sdk::Metric;

use crate::settings::Settings;

/// Requests that asked for their variant, which are no part of the experiment.
pub(crate) const FORCED: Metric = Metric::counter(
    "ab_test_forced_total",
    "Requests that asked for a variant by name, which are no exposures.",
);
/// Requests that could not stick.
pub(crate) const UNKEYED: Metric = Metric::counter(
    "ab_test_unkeyed_total",
    "Exposures without what users are known by, drawn by the request alone.",
);
pub(crate) const METRICS: &[Metric] = &[FORCED, UNKEYED];

/// The counters of the variants, in the order of the settings.
pub(crate) struct Exposures(Vec<Metric>);

impl Exposures {
    pub(crate) fn of(settings: &Settings) -> Self {
        let counter = |name: &String| {
            let metric = format!("ab_test_{name}_exposures_total");
            let help = format!("Requests that were drawn to the variant {name} of the experiment.");
            // Made once an instance, and used as long as it lives.
            Metric::counter(metric.leak(), help.leak())
        };
        Self(settings.variants.keys().map(counter).collect())
    }

    pub(crate) fn metrics(self) -> impl Iterator<Item = Metric> {
        self.0.into_iter()
    }

    pub(crate) fn add(&self, variant: usize) {
        self.0[variant].add(1);
    }
}
