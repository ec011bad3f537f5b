//! A site that is served, with everything that a test looks at.

use std::sync::Arc;

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use wharf_core::{Error, LoadError, Name, Payload};
use wharf_serving::{
    Config, EventKind, ModelChange, ModelFile, Outcome, Runtimes, Serving, SettingEdit,
    SettingValue, Snapshot,
};
use wharf_testkit::{
    FakeEngine, FakePluginHost, FakeUpstreams, Site, body, eventually, request, tensor, text,
};

pub(crate) struct Harness {
    pub(crate) site: Site,
    pub(crate) engine: FakeEngine,
    pub(crate) plugins: FakePluginHost,
    pub(crate) upstreams: FakeUpstreams,
    pub(crate) serving: Serving,
    registry: prometheus::Registry,
    _meters: SdkMeterProvider,
}

/// Settings for a test that reloads by order.
pub(crate) fn by_order() -> Config {
    Config {
        watch: false,
        ..Config::default()
    }
}

/// Settings for a test that relies on being noticed: so quick that it ends soon, and without a look from time to time.
pub(crate) fn watching() -> Config {
    Config {
        debounce_ms: 20,
        rescan_ms: 3_600_000,
        ..Config::default()
    }
}

impl Harness {
    pub(crate) async fn start(site: Site, config: Config) -> Self {
        let registry = prometheus::Registry::new();
        let reader = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .unwrap();
        let meters = SdkMeterProvider::builder().with_reader(reader).build();
        let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
        let upstreams = FakeUpstreams::default();
        let runtimes = Runtimes {
            engine: Arc::new(engine.clone()),
            plugins: Arc::new(plugins.clone()),
            upstreams: Some(Arc::new(upstreams.clone())),
        };
        let meter = meters.meter("test");
        let serving = Serving::open(config, site.path().to_owned(), runtimes, &meter).unwrap();
        serving.loaded().await;
        assert!(serving.is_loaded());
        Self {
            site,
            engine,
            plugins,
            upstreams,
            serving,
            registry,
            _meters: meters,
        }
    }

    /// Says why a site cannot be started at all.
    pub(crate) async fn start_refused(site: &Site) -> LoadError {
        let started = Serving::start(
            by_order(),
            site.path().to_owned(),
            Arc::new(FakeEngine::default()),
            Arc::new(FakePluginHost::default()),
            &SdkMeterProvider::builder().build().meter("test"),
        );
        started.err().expect("it is refused")
    }

    /// Sends a payload through a route.
    pub(crate) async fn run(&self, route: &str, input: Payload) -> Result<Outcome, Error> {
        let snapshot = self.serving.snapshot();
        let route = snapshot.route(route).expect("the route is in force");
        route.run(&request(route.name().as_str()), input).await
    }

    /// Sends a text through a route, and gives the text of the answer.
    pub(crate) async fn ask(&self, route: &str, input: &str) -> String {
        text(&self.run(route, body(input)).await.unwrap().payload)
    }

    /// Sends one number to a model's route.
    pub(crate) async fn number(&self, route: &str, input: f32) -> f32 {
        let input = Payload::Tensors(vec![tensor("input", &[input])]);
        wharf_testkit::values(&self.run(route, input).await.unwrap().payload)[0]
    }

    /// The present errors, each as `file [key]`.
    pub(crate) fn errors(&self) -> Vec<String> {
        let errors = self.serving.status().errors;
        errors
            .iter()
            .map(|error| match &error.key {
                Some(key) => format!("{} [{key}]", error.file),
                None => error.file.clone(),
            })
            .collect()
    }

    /// How often something happened to a file.
    pub(crate) fn happened(&self, kind: EventKind, file: &str) -> usize {
        let events = self.serving.status().events;
        events
            .iter()
            .filter(|event| event.kind == kind && event.file == file)
            .count()
    }

    /// The value of a series whose labels contain all of these.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let series = family.get_metric().iter().find(|metric| {
            labels.iter().all(|(name, value)| {
                metric
                    .get_label()
                    .iter()
                    .any(|label| label.name() == *name && label.value() == *value)
            })
        })?;
        Some(series.get_counter().get_value() + series.get_gauge().get_value())
    }

    /// Waits until nothing drains any more.
    pub(crate) async fn drained(&self) {
        eventually("all drained", || self.serving.status().draining.is_empty()).await;
    }
}

/// A site whose route `sum` has a plugin `tens` that does as its script says, with this failure policy.
pub(crate) fn failing_site(on_failure: &str, plugin: &str) -> Site {
    let site = Site::new();
    site.model("sum", 1, "add 1");
    site.plugin("numbers", "");
    site.plugin("tens", plugin);
    site.route(
        "sum",
        &format!(
            "model = 'sum'\npre = ['numbers', {{ plugin = 'tens', on_failure = '{on_failure}' }}]\npost = ['numbers']"
        ),
    );
    site
}

pub(crate) fn name(name: &str) -> Name {
    Name::new(name).unwrap()
}

/// A change that brings files: version, path and content of each.
pub(crate) fn files(files: &[(u64, &str, &str)]) -> ModelChange {
    let file = |(version, path, content): &(u64, &str, &str)| ModelFile {
        version: *version,
        path: (*path).to_owned(),
        data: content.as_bytes().to_vec().into(),
    };
    ModelChange {
        files: files.iter().map(file).collect(),
        ..ModelChange::default()
    }
}

/// A change of settings.
pub(crate) fn settings(settings: &[(&str, i64)]) -> ModelChange {
    let edit = |(key, value): &(&str, i64)| SettingEdit {
        key: (*key).to_owned(),
        value: SettingValue::Integer(*value),
    };
    ModelChange {
        settings: settings.iter().map(edit).collect(),
        ..ModelChange::default()
    }
}

/// `file [key]` of each error.
pub(crate) fn places(errors: &[LoadError]) -> Vec<String> {
    errors
        .iter()
        .map(|error| format!("{} [{}]", error.file, error.key.as_deref().unwrap_or("")))
        .collect()
}

/// What `wharf check` says of a site.
pub(crate) fn check(site: &Site) -> Vec<LoadError> {
    wharf_serving::check(&Config::default(), site.path(), &runtimes())
}

/// What would be in force of a site, and what would be refused.
pub(crate) fn inspect(site: &Site) -> (Snapshot, Vec<LoadError>) {
    wharf_serving::inspect(&Config::default(), site.path(), &runtimes())
}

fn runtimes() -> Runtimes {
    let (engine, plugins) = (FakeEngine::default(), FakePluginHost::default());
    Runtimes {
        engine: Arc::new(engine),
        plugins: Arc::new(plugins),
        upstreams: Some(Arc::new(FakeUpstreams::default())),
    }
}
