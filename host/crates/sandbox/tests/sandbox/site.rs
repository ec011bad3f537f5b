//! A site folder with plugins, a sandbox over it, and requests.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use parking_lot::Mutex;
use prometheus::Registry;
use tempfile::TempDir;
use wharf_core::{
    Body, Headers, LoadError, Payload, Plugin, PluginFile, PluginHost, RequestContext, Tensor,
};
use wharf_sandbox::{Config, Sandbox};

/// A site in a folder of its own, and a sandbox with a cache of its own.
pub(crate) struct Site {
    // Before the folder: it may still write into it.
    pub(crate) sandbox: Sandbox,
    pub(crate) folder: TempDir,
    registry: Registry,
    _provider: SdkMeterProvider,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    /// A site whose plugins are optimised before they serve, so that a test need not wait for more than a load.
    pub(crate) fn with(config: Config) -> Self {
        Self::open(Config {
            compile_in_tiers: false,
            ..config
        })
    }

    /// A site whose plugins serve from a draft where the cache does not have them.
    pub(crate) fn in_tiers(config: Config) -> Self {
        Self::open(Config {
            compile_in_tiers: true,
            ..config
        })
    }

    fn open(config: Config) -> Self {
        let folder = TempDir::new().unwrap();
        std::fs::create_dir(folder.path().join("plugins")).unwrap();
        let registry = Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .unwrap();
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let config = Config {
            cache_folder: config
                .cache_folder
                .or_else(|| Some(folder.path().join("cache"))),
            // The tests of a run share one machine's address space.
            max_instances: config.max_instances.min(200),
            ..config
        };
        Self {
            sandbox: Sandbox::new(config, &provider.meter("test"))
                .unwrap()
                .with_recordings(),
            folder,
            registry,
            _provider: provider,
        }
    }

    /// Puts a plugin into the site.
    pub(crate) fn put(&self, name: &str, component: &[u8], settings: &str) -> PluginFile {
        let plugins = self.folder.path().join("plugins");
        std::fs::write(plugins.join(format!("{name}.wasm")), component).unwrap();
        std::fs::write(plugins.join(format!("{name}.toml")), settings).unwrap();
        PluginFile {
            site: self.folder.path().to_owned(),
            name: name.parse().unwrap(),
        }
    }

    pub(crate) fn load(
        &self,
        name: &str,
        component: &[u8],
        settings: &str,
    ) -> Result<Arc<dyn Plugin>, LoadError> {
        let release = self.sandbox.read(&self.put(name, component, settings))?;
        self.sandbox.load(&release)
    }

    /// Waits for what other threads bring about.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let latest = Instant::now() + Duration::from_secs(120);
        while !holds(self) {
            assert!(Instant::now() < latest, "{what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// The names of all metrics.
    pub(crate) fn metrics(&self) -> Vec<String> {
        let families = self.registry.gather();
        families
            .iter()
            .map(|family| family.name().to_owned())
            .collect()
    }

    /// The sum of a metric over the series that have all these labels: the value, or the count of a histogram.
    pub(crate) fn metric(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let series = families
            .iter()
            .filter(|family| family.name() == name)
            .flat_map(|family| family.get_metric());
        series
            .filter(|metric| {
                labels.iter().all(|(key, value)| {
                    let mut pairs = metric.get_label().iter();
                    pairs.any(|pair| pair.name() == *key && pair.value() == *value)
                })
            })
            .map(|metric| {
                metric.get_counter().get_value()
                    + metric.get_gauge().get_value()
                    + metric.get_histogram().get_sample_count() as f64
            })
            .sum()
    }
}

/// A guest that `cargo xtask guests` built.
pub(crate) fn guest(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("WHARF_TEST_GUESTS").map_or_else(guests, PathBuf::from);
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; build the guests with `cargo xtask guests`",
            path.display()
        )
    })
}

/// `guests` in the target folder, which is some folder above the test's own program.
fn guests() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let folder = program
        .ancestors()
        .map(|folder| folder.join("guests"))
        .find(|guests| guests.is_dir());
    folder.unwrap_or_else(|| Path::new("target/guests").to_owned())
}

pub(crate) fn request() -> Arc<RequestContext> {
    request_within(Duration::from_secs(60))
}

pub(crate) fn request_within(time: Duration) -> Arc<RequestContext> {
    Arc::new(RequestContext {
        id: "request-1".into(),
        route: "digits".into(),
        tenant: None,
        headers: Headers::default(),
        deadline: Instant::now() + time,
        timeout: time,
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    })
}

pub(crate) fn request_of(tenant: &str) -> Arc<RequestContext> {
    Arc::new(RequestContext {
        tenant: Some(tenant.into()),
        ..(*request()).clone()
    })
}

/// A request with header fields, which tell the guest `hostile` what to do.
pub(crate) fn request_with(fields: &[(&'static str, &str)]) -> Arc<RequestContext> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, value.parse().unwrap());
    }
    Arc::new(RequestContext {
        headers: Headers::new(headers),
        ..(*request()).clone()
    })
}

pub(crate) fn body(text: &str) -> Payload {
    Payload::Body(Body {
        media_type: "text/plain".into(),
        data: Bytes::copy_from_slice(text.as_bytes()),
    })
}

pub(crate) fn floats(values: &[f32]) -> Payload {
    let shape = [values.len() as u64];
    Payload::Tensors(vec![Tensor::from_vec("x", shape, values.to_vec()).unwrap()])
}

/// The text of a body.
pub(crate) fn text(payload: &Payload) -> String {
    match payload {
        Payload::Body(body) => String::from_utf8(body.data.to_vec()).unwrap(),
        Payload::Tensors(tensors) => panic!("{tensors:?} is no body"),
    }
}

/// What is logged on this thread while it lives.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Begins to keep what this thread logs.
    pub(crate) fn keep(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(move || log.clone())
            .finish();
        tracing::subscriber::set_default(subscriber)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
