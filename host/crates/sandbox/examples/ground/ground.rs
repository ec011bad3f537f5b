//! What the measurements of this folder stand on: a runtime, guests in a site, a request, medians and lines.
//! `cargo xtask bench` prints the lines: `what|figure|unit|at most`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use tokio::runtime::Runtime;
use wharf_core::{Headers, Name, Plugin, PluginFile, PluginHost, RequestContext, Scheduling};
use wharf_sandbox::{Config, Sandbox};

/// The program's allocator, for the buffers of both sides.
#[global_allocator]
static ALLOCATOR: wharf_memory::Allocator = wharf_memory::Allocator;

/// A runtime of one worker.
pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime")
}

/// A sandbox in which nothing serves from a draft: what is measured is optimised.
pub(crate) fn sandbox(config: Config) -> Sandbox {
    let config = Config {
        compile_in_tiers: false,
        ..config
    };
    Sandbox::new(config, &opentelemetry::global::meter("bench")).expect("a sandbox")
}

/// A site of guests, in a temporary folder.
pub(crate) struct Guests {
    site: tempfile::TempDir,
}

impl Guests {
    pub(crate) fn new() -> Self {
        let site = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(site.path().join("plugins")).expect("a folder");
        Self { site }
    }

    /// The folder of the plugins.
    pub(crate) fn folder(&self) -> PathBuf {
        self.site.path().join("plugins")
    }

    /// Adds a guest under a name. Gives the size of its component.
    pub(crate) fn add(&self, name: &str, guest: &str, settings: &str) -> u64 {
        let guests = PathBuf::from(
            std::env::var_os("WHARF_TEST_GUESTS").expect("WHARF_TEST_GUESTS: cargo xtask guests"),
        );
        let folder = self.folder();
        std::fs::write(folder.join(format!("{name}.toml")), settings).expect("settings");
        std::fs::copy(
            guests.join(format!("{guest}.wasm")),
            folder.join(format!("{name}.wasm")),
        )
        .expect("the guest")
    }

    pub(crate) fn load(&self, sandbox: &Sandbox, name: &str) -> Arc<dyn Plugin> {
        let file = PluginFile {
            site: self.site.path().to_owned(),
            name: Name::new(name).expect("a name"),
        };
        let release = sandbox.read(&file).expect("the plugin is read");
        sandbox.load(&release).expect("the plugin is loaded")
    }
}

pub(crate) fn request(fields: HeaderMap) -> Arc<RequestContext> {
    Arc::new(RequestContext {
        id: "bench".into(),
        route: "bench".into(),
        tenant: None,
        headers: Headers::new(fields),
        deadline: Instant::now() + Duration::from_secs(600),
        timeout: Duration::from_secs(600),
        scheduling: Scheduling::default(),
        depth: 0,
    })
}

/// The median of times that were measured one by one, less what reading the clock adds to each: a thirtieth of the shortest.
pub(crate) fn median(times: Vec<Duration>) -> Duration {
    let clock = (0..1000).map(|_| Instant::now().elapsed()).collect();
    middle(times).saturating_sub(middle(clock))
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

pub(crate) fn line(what: &str, time: Duration, at_most_us: Option<f64>) {
    let bound = at_most_us
        .map(|bound| bound.to_string())
        .unwrap_or_default();
    println!("{what}|{:.3}|us|{bound}", time.as_secs_f64() * 1e6);
}
