//! The releases of bundles: what their requests came to, and what became of them.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use wharf_core::Name;

use super::{Gauges, Metrics};
use crate::bundle::Reading;
use crate::events::EventKind;

impl Metrics {
    /// Counts what became of a release.
    pub(crate) fn verdict(&self, bundle: &Name, verdict: EventKind) {
        let key = (bundle.clone(), verdict.name());
        *self.verdicts.entry(key).or_default() += 1;
    }

    pub(super) fn register_bundles(self: &Arc<Self>, meter: &Meter, gauges: &Arc<impl Gauges>) {
        let live = Arc::downgrade(gauges);
        let readings = move || live.upgrade().map(|gauges| gauges.bundles());
        let counts = readings.clone();
        // The releases that are loaded alone: those that are gone would be series for ever.
        meter
            .u64_observable_counter("bundle_request")
            .with_description("Requests of a release of a bundle, by what its trial makes of them")
            .with_callback(move |observer| {
                for reading in counts().into_iter().flatten() {
                    let counts = &reading.counts;
                    let outcomes = [
                        ("ok", counts.ok),
                        ("refused", counts.refused),
                        ("fault", counts.faults),
                    ];
                    for (outcome, count) in outcomes.into_iter().filter(|(_, count)| *count > 0) {
                        let [bundle, release] = labels(&reading);
                        let outcome = KeyValue::new("outcome", outcome);
                        observer.observe(count, &[bundle, release, outcome]);
                    }
                }
            })
            .build();
        meter
            .f64_observable_gauge("bundle_share_ratio")
            .with_description("The share of a bundle's requests that a release gets")
            .with_callback(move |observer| {
                for reading in readings().into_iter().flatten() {
                    observer.observe(reading.share, &labels(&reading));
                }
            })
            .build();
        let metrics = Arc::clone(self);
        meter
            .u64_observable_counter("bundle_verdict")
            .with_description("Releases of a bundle that were promoted or rolled back")
            .with_callback(move |observer| {
                for count in &metrics.verdicts {
                    let (bundle, verdict) = count.key();
                    let attributes = [
                        KeyValue::new("bundle", bundle.shared()),
                        KeyValue::new("verdict", *verdict),
                    ];
                    observer.observe(*count, &attributes);
                }
            })
            .build();
    }
}

fn labels(reading: &Reading) -> [KeyValue; 2] {
    [
        KeyValue::new("bundle", reading.name.bundle.shared()),
        KeyValue::new("release", reading.name.release.to_string()),
    ]
}
