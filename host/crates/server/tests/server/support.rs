//! A server on fakes, and clients that say exactly what they are told to say.

pub(crate) mod grpc;
pub(crate) mod http;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};

use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;
use wharf_core::{Gatekeeper, PluginHost};
use wharf_server::{Config, LogControl, Observability, Server};
use wharf_serving::{Runtimes, Serving};
use wharf_testkit::{
    FakeArtifacts, FakeEngine, FakePluginHost, FakeUpstreams, Gate, Gates, Site, eventually,
};

/// Two subscribers that want no span, so that `tracing` asks all subscribers whether they want one. It would else ask that of
/// the thread alone that comes to it first, and the test that waits for the span on another thread would never see it.
static NOBODY: LazyLock<[Dispatch; 2]> =
    LazyLock::new(|| [(); 2].map(|()| Dispatch::new(NoSubscriber::new())));

/// A server that is to start. A test changes what it wants to be otherwise.
pub(crate) struct Setup {
    pub(crate) config: Config,
    pub(crate) site: Site,
    pub(crate) plugins: Arc<dyn PluginHost>,
    /// The log that clients may change, where there is one.
    pub(crate) logging: Option<Arc<dyn LogControl>>,
    pub(crate) traces: bool,
    pub(crate) gatekeeper: Option<Arc<dyn Gatekeeper>>,
    pub(crate) meter: Meter,
    /// The store of artifacts, where there is one.
    pub(crate) artifacts: Option<FakeArtifacts>,
}

/// A server that runs, with the site that it serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// Where requests and loads wait.
    pub(crate) gates: Gates,
    pub(crate) serving: Serving,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serve: JoinHandle<()>,
    pub(crate) site: Site,
}

/// Settings whose listeners are of this machine alone, and of ports that are free.
pub(crate) fn local() -> Config {
    let any_port = SocketAddr::from(([127, 0, 0, 1], 0));
    Config {
        listen: any_port,
        admin_listen: any_port,
        ..Config::default()
    }
}

impl Setup {
    pub(crate) fn new(config: Config, site: Site) -> Self {
        Self {
            config,
            site,
            plugins: Arc::new(FakePluginHost::default()),
            logging: None,
            traces: false,
            gatekeeper: None,
            meter: SdkMeterProvider::default().meter("test"),
            artifacts: None,
        }
    }

    /// Starts the server, and waits until its site is loaded.
    pub(crate) async fn start(self) -> Running {
        let server = self.begin();
        server.serving.loaded().await;
        server
    }

    /// Starts the server, without waiting for what it loads.
    pub(crate) fn begin(self) -> Running {
        LazyLock::force(&NOBODY);
        let engine = FakeEngine::default();
        let gates = engine.gates.clone();
        let runtimes = Runtimes {
            engine: Arc::new(engine),
            plugins: self.plugins,
            upstreams: Some(Arc::new(FakeUpstreams::default())),
        };
        let site = self.site.path().to_owned();
        let config = wharf_serving::Config::default();
        let serving = Serving::open(config, site, runtimes, &self.meter).unwrap();
        if let Some(artifacts) = self.artifacts {
            serving.keep_artifacts_in(Arc::new(artifacts));
        }
        let observability = Observability {
            meter: self.meter,
            metrics_text: Arc::new(|| "a_metric 1\n".to_owned()),
            traces: self.traces,
            logging: self.logging,
        };
        let gatekeeper = self.gatekeeper.as_ref();
        let server = Server::bind(&self.config, &serving, gatekeeper, &observability).unwrap();
        let (address, admin) = (server.address(), server.admin_address());
        let shutdown = CancellationToken::new();
        let (kept, stop) = (serving.clone(), shutdown.clone());
        let serve = tokio::spawn(async move {
            server.serve(stop).await;
            serving.shutdown().await;
        });
        Running {
            address,
            admin,
            gates,
            serving: kept,
            shutdown,
            serve,
            site: self.site,
        }
    }
}

impl Running {
    /// Where requests to the model `slow` wait.
    pub(crate) fn gate(&self) -> Gate {
        self.gates.get("slow")
    }

    /// The requests that run.
    pub(crate) fn in_flight(&self) -> u32 {
        let snapshot = self.serving.snapshot();
        snapshot.routes().map(|route| route.in_flight()).sum()
    }

    /// Waits until no request is under way.
    pub(crate) async fn idle(&self) {
        eventually("no request is under way", || self.in_flight() == 0).await;
    }

    /// What must hold after every case: the server answers over both protocols, and nothing is left of what was done to it.
    /// The site has a model `echo`, FP32 [*, 2] to the same.
    pub(crate) async fn is_well(&self) {
        self.idle().await;
        let answer = http::post(self.address, "echo", r#"{"input": [1, 2]}"#).await;
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (200, r#"{"output":[1.0,2.0]}"#)
        );
        let asked = grpc::floats("echo", &[1.0, 2.0]);
        let answer = self.client().await.model_infer(asked).await.unwrap();
        let answer = answer.into_inner();
        assert_eq!(answer.raw_output_contents, [grpc::bytes_of(&[1.0, 2.0])]);
    }

    /// Ends the server, once it is well.
    pub(crate) async fn end(self) {
        self.is_well().await;
        self.shutdown.cancel();
        self.serve.await.unwrap();
    }
}
