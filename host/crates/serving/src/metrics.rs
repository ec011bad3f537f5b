//! The metrics of serving. Requests count in plain atomics that are made when a route is linked; the meter reads them when
//! it is asked. So counting costs one addition, and a name that a client made up can never become a series.

mod breakers;
mod bundles;
mod mirrors;
mod refusals;
mod requests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dashmap::DashMap;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use wharf_core::Name;

use crate::bundle::Reading;
use crate::events::EventKind;

pub(crate) use breakers::BreakerCounters;
pub(crate) use mirrors::MirrorCounters;
pub(crate) use refusals::{Choosing, Refused, RefusedCounters};
pub(crate) use requests::{Accounting, ModelCounters};

/// The pairs of route and model version that are counted before those without a route in force are forgotten: a version
/// that was replaced keeps its count, but not for thousands of versions.
const MOST_MODELS: usize = 4096;

/// Every counter of serving. The maps are concurrent: a scrape walks them while a reload adds to them, and neither waits
/// until the other is through.
#[derive(Default)]
pub(crate) struct Metrics {
    /// By route, model and version.
    models: DashMap<(Name, Name, u64), Arc<ModelCounters>>,
    /// By route.
    refused: DashMap<Name, Arc<RefusedCounters>>,
    /// By plugin.
    breakers: DashMap<Name, Arc<BreakerCounters>>,
    /// By target.
    mirrors: DashMap<Name, Arc<MirrorCounters>>,
    /// By kind and outcome.
    reloads: DashMap<(&'static str, &'static str), u64>,
    /// By bundle and verdict.
    verdicts: DashMap<(Name, &'static str), u64>,
}

impl Metrics {
    /// The counters of a route and a model version: the same ones in every generation.
    pub(crate) fn model(&self, route: &Name, model: &Name, version: u64) -> Arc<ModelCounters> {
        if self.models.len() >= MOST_MODELS {
            self.models
                .retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        let key = (route.clone(), model.clone(), version);
        let counters = self
            .models
            .entry(key)
            .or_insert_with(|| Arc::new(ModelCounters::new(route, model, version)));
        Arc::clone(&counters)
    }

    /// The counters of a route: the same ones in every generation.
    pub(crate) fn refused(&self, route: &Name) -> Arc<RefusedCounters> {
        if self.refused.len() >= MOST_MODELS {
            self.refused
                .retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        let counters = self
            .refused
            .entry(route.clone())
            .or_insert_with(|| Arc::new(RefusedCounters::new(route)));
        Arc::clone(&counters)
    }

    /// The counters of a plugin's breakers: the same ones for every release.
    pub(crate) fn breaker(&self, plugin: &Name) -> Arc<BreakerCounters> {
        if self.breakers.len() >= MOST_MODELS {
            self.breakers
                .retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        let counters = self
            .breakers
            .entry(plugin.clone())
            .or_insert_with(|| Arc::new(BreakerCounters::new(plugin)));
        Arc::clone(&counters)
    }

    /// The counters of the requests that are mirrored to a route: the same ones in every generation.
    pub(crate) fn mirrored(&self, route: &Name) -> Arc<MirrorCounters> {
        if let Some(counters) = self.mirrors.get(route) {
            return Arc::clone(&counters);
        }
        if self.mirrors.len() >= MOST_MODELS {
            self.mirrors
                .retain(|_, counters| Arc::strong_count(counters) > 1);
        }
        let counters = self
            .mirrors
            .entry(route.clone())
            .or_insert_with(|| Arc::new(MirrorCounters::new(route)));
        Arc::clone(&counters)
    }

    /// Counts what became of a change. The kind is that of the thing: `plugin`, `model`, `route`, `bundle`, `upstream`, `site`.
    pub(crate) fn reload(&self, kind: &'static str, outcome: EventKind) {
        *self.reloads.entry((kind, outcome.name())).or_default() += 1;
    }

    /// Makes the meter read the counters, and what `gauges` shows.
    pub(crate) fn register(self: &Arc<Self>, meter: &Meter, gauges: &Arc<impl Gauges>) {
        self.counter(
            meter,
            "model_request",
            "Requests by route (endpoint), model version and outcome",
            |metrics, observer| {
                for counters in &metrics.models {
                    observe(observer, counters.counts());
                }
            },
        );
        self.counter(
            meter,
            "route_refused",
            "Requests by route (endpoint) that were refused before they reached a model, by reason",
            |metrics, observer| {
                for counters in &metrics.refused {
                    observe(observer, counters.counts());
                }
            },
        );
        self.counter(
            meter,
            "mirrored_request",
            "Requests that plugins mirrored, by target (endpoint) and outcome",
            |metrics, observer| {
                for counters in &metrics.mirrors {
                    observe(observer, counters.counts());
                }
            },
        );
        self.register_breakers(meter);
        self.register_bundles(meter, gauges);
        self.counter(
            meter,
            "reload",
            "Changes of the site by kind and outcome",
            |metrics, observer| {
                for count in &metrics.reloads {
                    let (kind, outcome) = *count.key();
                    let attributes = [
                        KeyValue::new("kind", kind),
                        KeyValue::new("outcome", outcome),
                    ];
                    observer.observe(*count, &attributes);
                }
            },
        );
        // A meter outlives what it measures: it must not keep a site loaded.
        let live = Arc::downgrade(gauges);
        meter
            .u64_observable_gauge("serving_live_generations")
            .with_description("Snapshots, models and plugins that are in force or still drain")
            .with_callback(move |observer| {
                let live = live.upgrade().map(|gauges| gauges.live());
                for (kind, count) in live.into_iter().flatten() {
                    observer.observe(count, &[KeyValue::new("kind", kind)]);
                }
            })
            .build();
        let in_flight = Arc::downgrade(gauges);
        meter
            .u64_observable_gauge("serving_in_flight")
            .with_description("Requests that run now, by route")
            .with_callback(move |observer| {
                let in_flight = in_flight.upgrade().map(|gauges| gauges.in_flight());
                for (route, count) in in_flight.into_iter().flatten() {
                    observer.observe(count, &[KeyValue::new("endpoint", route.shared())]);
                }
            })
            .build();
    }

    /// Makes a counter whose values `show` reads when the meter is asked. The exporter adds `_total` to its name.
    fn counter(
        self: &Arc<Self>,
        meter: &Meter,
        name: &'static str,
        description: &'static str,
        show: impl Fn(&Self, &dyn AsyncInstrument<u64>) + Send + Sync + 'static,
    ) {
        let metrics = Arc::clone(self);
        // The meter keeps the callback; the instrument itself is only a name for it.
        let _ = meter
            .u64_observable_counter(name)
            .with_description(description)
            .with_callback(move |observer| show(&metrics, observer))
            .build();
    }
}

/// Shows the counts that are not zero: a series begins with its first event.
fn observe<'a>(
    observer: &dyn AsyncInstrument<u64>,
    counts: impl Iterator<Item = (&'a AtomicU64, &'a [KeyValue])>,
) {
    for (count, attributes) in counts {
        let count = count.load(Ordering::Relaxed);
        if count > 0 {
            observer.observe(count, attributes);
        }
    }
}

/// What is counted where it lives, and read when the meter is asked.
pub(crate) trait Gauges: Send + Sync + 'static {
    /// What is in force or drains, by kind.
    fn live(&self) -> [(&'static str, u64); 3];

    /// The requests of each route in force.
    fn in_flight(&self) -> Vec<(Name, u64)>;

    /// What the releases of bundles did.
    fn bundles(&self) -> Vec<Reading>;
}
