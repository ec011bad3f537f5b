//! What quotas measure. No series has the name of a tenant: there is no end of those.

use std::sync::{Arc, Weak};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, Counter, Gauge, Histogram, Meter};
use wharf_core::ErrorKind;

use super::claim::Refusal;
use super::memory::Memory;

/// Bounds of round trips in seconds, from those to the same machine to the longest timeout.
const SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 10.0,
];

/// The instruments of quotas.
#[derive(Clone)]
pub(crate) struct Metrics {
    admission: Counter<u64>,
    reserve: Counter<u64>,
    round_trip: Histogram<f64>,
    up: Gauge<u64>,
    errand_dropped: Counter<u64>,
    meter: Meter,
}

/// What came of asking for something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Admitted,
    Rate,
    Concurrency,
    Unavailable,
}

impl Outcome {
    const ALL: [Self; 4] = [
        Self::Admitted,
        Self::Rate,
        Self::Concurrency,
        Self::Unavailable,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Admitted => "admitted",
            Self::Rate => "rate",
            Self::Concurrency => "concurrency",
            Self::Unavailable => ErrorKind::Unavailable.name(),
        }
    }
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Rate(..) => Self::Rate,
            Refusal::Places(_) => Self::Concurrency,
        }
    }
}

impl Metrics {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            admission: meter
                .u64_counter("quota_admission")
                .with_description("Requests of tenants, by what their quota said")
                .build(),
            reserve: meter
                .u64_counter("quota_token_reserve")
                .with_description("Requests for tokens of a budget, by what it said")
                .build(),
            round_trip: meter
                .f64_histogram("quota_redis_duration_seconds")
                .with_description("How long Redis took to answer for a quota")
                .with_boundaries(SECONDS.to_vec())
                .build(),
            up: meter
                .u64_gauge("quota_redis_up")
                .with_description("Whether Redis answers: 1, or 0 while when_down decides")
                .build(),
            errand_dropped: meter
                .u64_counter("quota_errand_dropped")
                .with_description("Places and tokens that could not be given back for want of room in the queue to Redis")
                .build(),
            meter: meter.clone(),
        }
    }

    /// The counters of a plan. Its name comes from the settings, never from a request.
    pub(crate) fn of_plan(&self, plan: &str) -> PlanMetrics {
        let bind = |counter: &Counter<u64>| {
            Outcome::ALL.map(|outcome| {
                counter.bind(&[
                    KeyValue::new("plan", plan.to_owned()),
                    KeyValue::new("outcome", outcome.name()),
                ])
            })
        };
        PlanMetrics {
            admissions: bind(&self.admission),
            reserves: bind(&self.reserve),
        }
    }

    /// Shows how many tenants are counted in memory.
    pub(crate) fn watch(&self, memory: &Arc<Memory>) {
        let memory: Weak<Memory> = Arc::downgrade(memory);
        // The meter keeps an observable instrument by its callback.
        let _tenants = self
            .meter
            .u64_observable_gauge("quota_tenants")
            .with_description("Tenants whose quotas are counted in memory")
            .with_callback(move |observer| {
                if let Some(memory) = memory.upgrade() {
                    observer.observe(memory.tenants() as u64, &[]);
                }
            })
            .build();
    }

    pub(crate) fn answered(&self, after: Duration) {
        self.round_trip.record(after.as_secs_f64(), &[]);
    }

    pub(crate) fn redis_is_up(&self) {
        self.up.record(1, &[]);
    }

    pub(crate) fn redis_is_down(&self) {
        self.up.record(0, &[]);
    }

    pub(crate) fn errand_dropped(&self) {
        self.errand_dropped.add(1, &[]);
    }
}

/// The counters of one plan.
pub(crate) struct PlanMetrics {
    admissions: [BoundCounter<u64>; Outcome::ALL.len()],
    reserves: [BoundCounter<u64>; Outcome::ALL.len()],
}

impl PlanMetrics {
    pub(crate) fn admission(&self, outcome: Outcome) {
        self.admissions[outcome as usize].add(1);
    }

    pub(crate) fn reserve(&self, outcome: Outcome) {
        self.reserves[outcome as usize].add(1);
    }
}
