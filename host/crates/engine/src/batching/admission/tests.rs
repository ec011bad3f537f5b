use std::sync::Arc;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use wharf_core::Name;

use super::*;
use crate::batching::pace::Ran;
use crate::metrics::Metrics;
use crate::{Device, DeviceMemory, DeviceProbe};

const RUN: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(60);

struct NoDevices;

impl DeviceProbe for NoDevices {
    fn cuda_devices(&self) -> Vec<u32> {
        Vec::new()
    }

    fn memory(&self, _: Device) -> Option<DeviceMemory> {
        None
    }
}

/// A model of two instances, all busy, whose runs take so long.
struct Model {
    backlog: Backlog,
    limits: Limits,
    pace: Pace,
    metrics: ModelMetrics,
}

impl Model {
    fn new(max_rows: u64, wait: Option<Duration>, run: Duration) -> Self {
        let meter = SdkMeterProvider::default().meter("test");
        let metrics = Metrics::new(&meter, Arc::new(NoDevices));
        let pace = Pace::new(Duration::ZERO);
        pace.ran(Ran {
            time: run,
            requests: 1,
            rows: 1,
            bytes: 0,
        });
        Self {
            backlog: Backlog::new(3, 0),
            limits: Limits {
                max_rows,
                unasked: false,
                preferred_rows: Vec::new(),
                delay: Duration::ZERO,
                capacity: 256,
                wait,
                timeout: None,
                priority_levels: 3,
                default_priority: 2,
                max_in_flight: None,
                inline_below: Duration::ZERO,
            },
            pace,
            metrics: metrics.of(&Name::new("m").unwrap(), 1, 2),
        }
    }

    fn admission(&self) -> Admission<'_> {
        Admission {
            backlog: &self.backlog,
            limits: &self.limits,
            pace: &self.pace,
            metrics: &self.metrics,
            instances: 2,
        }
    }

    /// How many of a thousand requests that come at once are let in, and why the next one is not.
    fn fill(&self, level: usize) -> (usize, Error) {
        for admitted in 0..1000 {
            if let Err(shortage) = self.admission().judge(level, LONG) {
                return (admitted, self.admission().refuse(shortage));
            }
            self.backlog.entered(level, 1);
        }
        panic!("the queue has no bound");
    }
}

#[test]
fn a_crowd_waits_as_long_as_is_allowed() {
    let (admitted, error) = Model::new(1, None, RUN).fill(0);
    // More than 500 ms for 20 ms a run on two instances.
    assert_eq!(admitted, 51);
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.retry_after(), Some(RETRY));
    let (admitted, _) = Model::new(1, Some(Duration::from_millis(200)), RUN).fill(0);
    assert_eq!(admitted, 21);
    let (admitted, error) = Model::new(1, None, Duration::from_secs(3)).fill(0);
    assert_eq!(admitted, 8, "four an instance may always wait");
    assert_eq!(error.retry_after(), Some(Duration::from_secs(12)));
    let (admitted, _) = Model::new(32, None, Duration::from_millis(1)).fill(0);
    assert_eq!(admitted, 256, "the capacity");
}

#[test]
fn in_an_overload_one_run_waits() {
    let overloaded = |rows, run| {
        let model = Model::new(rows, None, run);
        model.backlog.set_overloaded(true);
        let (admitted, error) = model.fill(0);
        assert!(error.message().contains("more requests come"), "{error}");
        assert_eq!(admitted as u64, model.admission().short_backlog());
        admitted
    };
    assert_eq!(overloaded(1, RUN), 2);
    assert_eq!(overloaded(32, RUN), 64);
    assert_eq!(
        overloaded(1, Duration::from_micros(100)),
        20,
        "a millisecond"
    );
    let model = Model::new(1, Some(RUN * 10), RUN);
    model.backlog.set_overloaded(true);
    assert_eq!(model.fill(0).0, 21, "what was asked for is kept");
}

#[test]
fn lower_levels_do_not_take_the_room_of_higher_ones() {
    let model = Model::new(1, None, RUN);
    assert_eq!(model.fill(2).0, 51);
    assert!(model.admission().judge(1, LONG).is_ok());
    assert!(model.admission().check_room().is_ok());
    assert_eq!(model.fill(0).0, 51);
    assert!(model.admission().check_room().is_err());
    assert_eq!(model.backlog.take_turned_away(), 1);
    assert!(model.admission().judge(1, LONG).is_err());
}

#[test]
fn what_would_miss_its_deadline_is_refused_at_once() {
    let model = Model::new(1, Some(LONG), RUN);
    for _ in 0..20 {
        model.backlog.entered(0, 1);
    }
    assert!(
        model
            .admission()
            .judge(0, Duration::from_millis(250))
            .is_ok()
    );
    assert!(
        model
            .admission()
            .judge(0, Duration::from_millis(150))
            .is_err()
    );
}

#[test]
fn places_are_given_back() {
    let mut model = Model::new(1, None, RUN);
    model.limits.max_in_flight = Some(2);
    let admission = model.admission();
    let one = admission.enter().unwrap();
    let two = admission.enter().unwrap();
    for refused in [admission.enter().err(), admission.check_room().err()] {
        let refused = refused.expect("a third finds no place");
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.retry_after().is_some());
    }
    drop(one);
    assert!(admission.check_room().is_ok());
    drop((two, admission.enter().unwrap()));
    assert_eq!(model.backlog.present.load(Relaxed), 0);
}
