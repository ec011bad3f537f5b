//! A server on fakes, and a client that says exactly what it is told to say.

mod client;
mod fakes;
pub(crate) mod oip;

use std::net::SocketAddr;
use std::sync::Arc;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_server::{Config, Observability, Server};
use wharf_serving::Serving;
use wharf_testkit::{FakeEngine, Gate, Site, eventually};

pub(crate) use client::{Client, get, post, post_with, request};

const ECHO: &str = "input x FP32 * 2\noutput x_out FP32 * 2";
const PAIR: &str = "input a INT64 *\ninput b BOOL *\noutput a_out INT64 *\noutput b_out BOOL *";

/// A server that runs, with the site that it serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where requests to the model `slow` wait.
    pub(crate) gate: Gate,
    pub(crate) serving: Serving,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serve: JoinHandle<()>,
    pub(crate) site: Site,
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
    let site = Site::new();
    site.model("echo", 1, ECHO);
    site.model("slow", 1, &format!("{ECHO}\ngate slow"));
    site.model("pair", 1, PAIR);
    site.model("words", 1, "input w BYTES *\noutput w BYTES *");
    site.plugin("bytes", "");
    site.route(
        "picture",
        "model = \"echo\"\npre = [\"bytes\"]\npost = [\"bytes\"]\n",
    );
    site.route("narrow", "model = \"slow\"\nmax_in_flight = 1\n");
    start_with(config, site).await
}

/// Starts a server on a site.
pub(crate) async fn start_with(config: Config, site: Site) -> Running {
    let engine = FakeEngine::default();
    let gate = engine.gates.get("slow");
    let meter = SdkMeterProvider::default().meter("test");
    let serving = Serving::start(
        wharf_serving::Config::default(),
        site.path().to_owned(),
        Arc::new(engine),
        Arc::new(fakes::FakePlugins),
        &meter,
    )
    .unwrap();
    serving.loaded().await;
    let observability = Observability {
        meter,
        metrics_text: Arc::new(|| "a_metric 1\n".to_owned()),
        traces: false,
        logging: None,
    };
    let server = Server::bind(&config, &serving, &observability).unwrap();
    let (address, admin) = (server.address(), server.admin_address());
    let shutdown = CancellationToken::new();
    let kept = serving.clone();
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
        serving: kept,
        shutdown,
        serve,
        site,
    }
}

impl Running {
    /// Waits until no request is under way.
    pub(crate) async fn idle(&self) {
        let snapshot = self.serving.snapshot();
        let idle = || snapshot.routes().all(|route| route.in_flight() == 0);
        eventually("no request is under way", idle).await;
    }

    /// What must hold after every case: the server answers, and nothing is left of what was done to it.
    pub(crate) async fn is_well(&self) {
        self.idle().await;
        let answer = post(self.address, "echo", r#"{"input": [1, 2]}"#).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"output":[1.0,2.0]}"#)
        );
    }
}
