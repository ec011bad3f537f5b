//! The metrics of upstreams. The labels are names of the site and addresses of its settings, and nothing that a client or a
//! peer made up.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{
    AsyncInstrument, BoundCounter, BoundHistogram, Counter, Histogram, Meter,
};
use parking_lot::Mutex;
use wharf_core::Name;

use crate::fault::Outcome;
use crate::settings::Address;

/// From half a millisecond, on the same machine, to half a minute.
const DURATION_BOUNDARIES: [f64; 13] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// How an upstream does at a moment.
pub(crate) trait Gauges: Send + Sync {
    fn name(&self) -> &Name;
    fn in_flight(&self) -> u64;
    fn endpoints_out(&self) -> u64;
    fn breaker_open(&self) -> u64;
}

type Watched = Arc<Mutex<Vec<Weak<dyn Gauges>>>>;

/// The instruments of all upstreams.
pub(crate) struct Instruments {
    requests: Counter<u64>,
    duration: Histogram<f64>,
    retries: Counter<u64>,
    ejections: Counter<u64>,
    breaker: Counter<u64>,
    watched: Watched,
}

impl Instruments {
    pub(crate) fn new(meter: &Meter) -> Self {
        let watched = Watched::default();
        let gauge = |name, description, value: fn(&dyn Gauges) -> u64| {
            let watched = Arc::clone(&watched);
            let observe = move |observer: &dyn AsyncInstrument<u64>| {
                let mut watched = watched.lock();
                watched.retain(|upstream| upstream.strong_count() > 0);
                for upstream in watched.iter().filter_map(Weak::upgrade) {
                    let label = KeyValue::new("upstream", upstream.name().shared());
                    observer.observe(value(&*upstream), &[label]);
                }
            };
            // The meter keeps the callback; the instrument itself is only a name for it.
            let _ = meter
                .u64_observable_gauge(name)
                .with_description(description)
                .with_callback(observe)
                .build();
        };
        gauge(
            "upstream_in_flight",
            "Requests under way to an upstream",
            |it| it.in_flight(),
        );
        gauge(
            "upstream_endpoints_ejected",
            "Endpoints of an upstream that are asked nothing because they failed",
            |it| it.endpoints_out(),
        );
        gauge(
            "upstream_breaker_open",
            "Whether an upstream is asked nothing because its requests failed",
            |it| it.breaker_open(),
        );
        Self {
            requests: meter
                .u64_counter("upstream_request")
                .with_description("Attempts by upstream, endpoint and outcome")
                .build(),
            duration: meter
                .f64_histogram("upstream_request_duration_seconds")
                .with_description("The time of an attempt, by upstream and endpoint")
                .with_boundaries(DURATION_BOUNDARIES.to_vec())
                .build(),
            retries: meter
                .u64_counter("upstream_retry")
                .with_description("Retries by upstream and outcome: made, or refused by the budget")
                .build(),
            ejections: meter
                .u64_counter("upstream_ejection")
                .with_description("Endpoints that were taken out, by upstream and endpoint")
                .build(),
            breaker: meter
                .u64_counter("upstream_breaker")
                .with_description("What became of breakers, by upstream and event")
                .build(),
            watched,
        }
    }

    /// Shows an upstream for as long as it is there.
    pub(crate) fn watch(&self, upstream: Weak<dyn Gauges>) {
        self.watched.lock().push(upstream);
    }

    pub(crate) fn of_upstream(&self, name: &Name) -> UpstreamMetrics {
        let upstream = KeyValue::new("upstream", name.shared());
        let with = |counter: &Counter<u64>, key, value: &'static str| {
            counter.bind(&[upstream.clone(), KeyValue::new(key, value)])
        };
        UpstreamMetrics {
            retries: with(&self.retries, "outcome", "made"),
            retries_refused: with(&self.retries, "outcome", "budget"),
            opened: with(&self.breaker, "event", "opened"),
            closed: with(&self.breaker, "event", "closed"),
            refused: with(&self.breaker, "event", "refused"),
        }
    }

    pub(crate) fn of_endpoint(&self, name: &Name, address: &Address) -> EndpointMetrics {
        let labels = [
            KeyValue::new("upstream", name.shared()),
            KeyValue::new("endpoint", Arc::clone(address.authority())),
        ];
        let [upstream, endpoint] = labels.clone();
        EndpointMetrics {
            requests: Outcome::ALL.map(|outcome| {
                let outcome = KeyValue::new("outcome", outcome.name());
                self.requests
                    .bind(&[upstream.clone(), endpoint.clone(), outcome])
            }),
            duration: self.duration.bind(&labels),
            ejections: self.ejections.bind(&labels),
        }
    }
}

/// The instruments of one upstream.
pub(crate) struct UpstreamMetrics {
    pub(crate) retries: BoundCounter<u64>,
    /// Retries that the budget had nothing left for.
    pub(crate) retries_refused: BoundCounter<u64>,
    pub(crate) opened: BoundCounter<u64>,
    pub(crate) closed: BoundCounter<u64>,
    /// Requests that were refused because the breaker was open.
    pub(crate) refused: BoundCounter<u64>,
}

/// The instruments of one endpoint.
pub(crate) struct EndpointMetrics {
    requests: [BoundCounter<u64>; Outcome::ALL.len()],
    duration: BoundHistogram<f64>,
    pub(crate) ejections: BoundCounter<u64>,
}

impl EndpointMetrics {
    pub(crate) fn ended(&self, outcome: Outcome, time: Duration) {
        // The outcomes are declared in the order of `Outcome::ALL`.
        self.requests[outcome as usize].add(1);
        self.duration.record(time.as_secs_f64());
    }
}

impl fmt::Debug for EndpointMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointMetrics").finish_non_exhaustive()
    }
}

#[cfg(test)]
impl Default for EndpointMetrics {
    fn default() -> Self {
        use crate::settings::Protocol;
        let address = Address::parse("http://peer", Protocol::Http).expect("an address");
        let name = Name::new("test").expect("a name");
        Instruments::new(&opentelemetry::global::meter("test")).of_endpoint(&name, &address)
    }
}
