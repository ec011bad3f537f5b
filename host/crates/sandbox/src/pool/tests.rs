use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus::Registry;
use wasmtime::component::{Component, Linker};
use wharf_testkit::eventually;

use super::*;
use crate::abilities::Abilities;
use crate::cache::Tier;
use crate::engine::engine;
use crate::guest::GuestState;
use crate::logging::LogBudget;
use crate::metrics::SandboxMetrics;
use crate::{Config, Limits};

const SOUND: &str = "(component)";
const TRAPS: &str = "(component
    (core module $m (func $begin unreachable) (start $begin))
    (core instance (instantiate $m)))";

fn drafts(registry: &Registry, outcome: &str) -> f64 {
    let families = registry.gather();
    let of_drafts = families
        .iter()
        .filter(|family| family.name() == "plugin_draft_total");
    let series = of_drafts.flat_map(|family| family.get_metric());
    series
        .filter(|metric| {
            let mut labels = metric.get_label().iter();
            labels.any(|label| label.value() == outcome)
        })
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

#[tokio::test]
async fn a_pool_goes_over_only_to_what_works() {
    let registry = Registry::new();
    let exporter = opentelemetry_prometheus::exporter()
        .with_registry(registry.clone())
        .build()
        .unwrap();
    let provider = SdkMeterProvider::builder().with_reader(exporter).build();
    let metrics = SandboxMetrics::new(&provider.meter("test"));
    let config = Config {
        max_instances: 10,
        ..Config::default()
    };
    let name: wharf_core::Name = "plugin".parse().unwrap();
    let plugin = Arc::new(PluginFacts {
        name: name.clone(),
        digest: String::new(),
        limits: Limits::default(),
        settings: "{}".into(),
        metrics: metrics.guest(&name),
        log: LogBudget::new(1),
        faults: LogBudget::new(1),
        abilities: Abilities::default(),
        record: None,
    });
    let factory = |text: &str, tier| {
        let engine = engine(&config, tier).unwrap();
        let component = Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
        let linker = Linker::<GuestState>::new(&engine);
        let component = linker.instantiate_pre(&component).unwrap();
        InstanceFactory::new(component, tier, Arc::clone(&plugin))
    };
    let draft = factory(SOUND, Tier::Draft);
    let pool = Pool::open(draft, Isolation::Request, metrics.pool(&name), 1).unwrap();
    let instances = pool.instances();

    instances.offer(factory(TRAPS, Tier::Optimised));
    eventually("what traps to be refused", || {
        drafts(&registry, "kept") >= 1.0
    })
    .await;
    assert_eq!(instances.factory.load().tier, Tier::Draft);

    instances.offer(factory(SOUND, Tier::Optimised));
    eventually("what works to be put in force", || {
        drafts(&registry, "replaced") >= 1.0
    })
    .await;
    assert_eq!(instances.factory.load().tier, Tier::Optimised);
    let Shelf::Fresh(shelf) = &instances.shelf else {
        panic!("instances are made ahead of time")
    };
    while let Some(instance) = shelf.take() {
        assert_eq!(instance.tier(), Tier::Optimised, "it stood ready");
    }
}
