//! A server on fakes, and a client that says exactly what it is told to say.

mod client;
mod fakes;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_server::{Config, Observability, Server};
use wharf_serving::Serving;

pub(crate) use client::{Client, get, post, post_with, request};
pub(crate) use fakes::Gate;

/// A server that runs, with the site that it serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) gate: Arc<Gate>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serve: JoinHandle<()>,
    pub(crate) site: TempDir,
}

/// Settings with short times: a test waits for them.
pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        header_timeout_ms: 1000,
        body_timeout_ms: 500,
        idle_timeout_ms: 5000,
        write_timeout_ms: 5000,
        drain_timeout_ms: 10_000,
        ..Config::default()
    }
}

/// Starts a server with models `echo` (FP32 [*, 2] to the same), `pair` (two inputs, two outputs), `words` (BYTES [*]) and
/// `slow`, which waits at the gate; and with a route `picture` whose stages read and write bodies.
pub(crate) async fn start(config: Config) -> Running {
    let site = tempfile::tempdir().unwrap();
    for model in ["echo", "pair", "words", "slow"] {
        write(site.path(), &format!("models/{model}/1/model.onnx"), "");
    }
    write(site.path(), "plugins/bytes.wasm", "");
    write(
        site.path(),
        "routes/picture.toml",
        "model = \"echo\"\npre = [\"bytes\"]\npost = [\"bytes\"]\n",
    );
    write(
        site.path(),
        "routes/narrow.toml",
        "model = \"slow\"\nmax_in_flight = 1\n",
    );
    let gate = Arc::new(Gate::default());
    let engine = Arc::new(fakes::FakeEngine(Arc::clone(&gate)));
    let meter = SdkMeterProvider::default().meter("test");
    let serving = Serving::start(
        wharf_serving::Config::default(),
        site.path().to_owned(),
        engine,
        Arc::new(fakes::FakePlugins),
        &meter,
    )
    .unwrap();
    serving.loaded().await;
    let observability = Observability {
        meter,
        metrics_text: Arc::new(|| "a_metric 1\n".to_owned()),
        traces: false,
    };
    let server = Server::bind(&config, &serving, &observability).unwrap();
    let (address, admin) = (server.address(), server.admin_address());
    let shutdown = CancellationToken::new();
    let serve = tokio::spawn({
        let shutdown = shutdown.clone();
        async move {
            server.serve(shutdown).await;
            serving.shutdown().await;
        }
    });
    Running {
        address,
        admin,
        gate,
        shutdown,
        serve,
        site,
    }
}

fn write(site: &Path, file: &str, text: &str) {
    let path = site.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

impl Running {
    /// What must hold after every case: the server answers, and nothing is left of what was done to it.
    pub(crate) async fn is_well(&self) {
        self.gate.until_idle().await;
        let answer = post(self.address, "echo", r#"{"input": [1, 2]}"#).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"output":[1.0,2.0]}"#)
        );
    }
}
