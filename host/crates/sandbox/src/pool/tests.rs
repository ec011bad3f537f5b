use std::time::Duration;

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

/// What instances are made of, with its metrics.
struct Ground {
    registry: Registry,
    /// What it measures goes with it.
    _provider: SdkMeterProvider,
    metrics: SandboxMetrics,
    plugin: Arc<PluginFacts>,
}

impl Ground {
    fn new() -> Self {
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .unwrap();
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let metrics = SandboxMetrics::new(&provider.meter("test"));
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
        Self {
            registry,
            _provider: provider,
            metrics,
            plugin,
        }
    }

    fn factory(&self, text: &str, tier: Tier) -> InstanceFactory {
        let config = Config {
            max_instances: 10,
            ..Config::default()
        };
        let engine = engine(&config, tier).unwrap();
        let component = Component::from_binary(&engine, &wat::parse_str(text).unwrap()).unwrap();
        let linker = Linker::<GuestState>::new(&engine);
        let component = linker.instantiate_pre(&component).unwrap();
        InstanceFactory::new(component, tier, Arc::clone(&self.plugin))
    }
}

#[tokio::test]
async fn a_pool_goes_over_only_to_what_works() {
    let ground = Ground::new();
    let metrics = ground.metrics.pool(&ground.plugin.name);
    let draft = ground.factory(SOUND, Tier::Draft);
    let pool = Pool::open(draft, Isolation::Request, metrics, 1).unwrap();
    let instances = pool.instances();

    instances.offer(ground.factory(TRAPS, Tier::Optimised));
    eventually("what traps to be refused", || {
        drafts(&ground.registry, "kept") >= 1.0
    })
    .await;
    assert_eq!(instances.factory.load().tier, Tier::Draft);

    instances.offer(ground.factory(SOUND, Tier::Optimised));
    eventually("what works to be put in force", || {
        drafts(&ground.registry, "replaced") >= 1.0
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

fn narrow() -> Limits {
    Limits {
        tenants: 2,
        instances: 3,
        idle_s: 10,
        ..Limits::default()
    }
}

fn tenant(name: &str) -> Tenant {
    Some(name.into())
}

#[tokio::test]
async fn what_was_idle_longest_gives_way() {
    let ground = Ground::new();
    let factory = ground.factory(SOUND, Tier::Draft);
    let shelf = KeptShelf::by_tenant(&narrow(), Tier::Draft);
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    let put = async |tenant, seconds| {
        let instance = factory.start().await.unwrap();
        shelf.put(tenant, instance, at(seconds)).len()
    };
    assert_eq!(put(tenant("a"), 1).await, 0);
    assert_eq!(put(tenant("b"), 2).await, 0);
    assert_eq!(put(tenant("c"), 3).await, 1, "a third tenant");
    assert!(shelf.take(&tenant("a")).is_none());
    assert_eq!(put(tenant("b"), 4).await, 0);
    assert_eq!(shelf.len(), 3);
    assert_eq!(put(tenant("c"), 5).await, 1, "more than may work at once");
    assert_eq!(shelf.len(), 3);
    assert_eq!(put(None, 5).await, 1, "nobody to keep it for");

    shelf.expire(at(13));
    assert_eq!(shelf.len(), 3);
    shelf.expire(at(14));
    assert!(shelf.take(&tenant("b")).is_none(), "it was idle since 4");
    assert_eq!(shelf.len(), 2);
    assert!(shelf.take(&tenant("c")).is_some());
    assert_eq!(shelf.len(), 1);
    shelf.expire(at(15));
    assert_eq!(shelf.len(), 0);
}

#[tokio::test]
async fn a_shelf_goes_over_to_other_code() {
    let ground = Ground::new();
    let draft = ground.factory(SOUND, Tier::Draft);
    let optimised = ground.factory(SOUND, Tier::Optimised);
    for (shelf, tenant) in [
        (KeptShelf::by_tenant(&narrow(), Tier::Draft), tenant("a")),
        (KeptShelf::shared(&narrow(), Tier::Draft), None),
    ] {
        let now = Instant::now();
        let put = async |factory: &InstanceFactory| {
            let instance = factory.start().await.unwrap();
            shelf.put(tenant.clone(), instance, now).is_empty()
        };
        assert!(put(&draft).await && put(&draft).await);
        assert!(!put(&optimised).await, "the shelf has not gone over");
        assert_eq!(shelf.outdated(), None);

        shelf.go_over(Tier::Optimised);
        assert!(!put(&draft).await, "it worked meanwhile");
        assert_eq!(shelf.outdated(), Some(tenant.clone()));
        shelf.exchange(&tenant, Some(optimised.start().await.unwrap()));
        assert_eq!((shelf.len(), shelf.outdated()), (2, Some(tenant.clone())));
        shelf.exchange(&tenant, None);
        assert_eq!((shelf.len(), shelf.outdated()), (1, None));
        assert!(put(&optimised).await);
        while let Some(instance) = shelf.take(&tenant) {
            assert_eq!(instance.tier(), Tier::Optimised);
        }
        assert_eq!(shelf.len(), 0);
    }
}
