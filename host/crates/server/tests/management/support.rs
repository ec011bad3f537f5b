//! A server on fakes, and a client for it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_core::Result;
use wharf_server::{Config, LogControl, LogLevels, Observability, Server};
use wharf_serving::Serving;
use wharf_testkit::{FakeEngine, FakePluginHost, Site};

/// Longer than anything takes that comes.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server that runs, with the site that it serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) site: Site,
    pub(crate) log: Arc<FakeLog>,
    shutdown: CancellationToken,
    serve: JoinHandle<()>,
}

/// What a test wants to be otherwise.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Setup {
    pub(crate) management: Option<bool>,
    pub(crate) traces: bool,
}

/// A log that only knows its levels.
pub(crate) struct FakeLog(Mutex<LogLevels>);

impl LogControl for FakeLog {
    fn levels(&self) -> LogLevels {
        *self.0.lock().unwrap()
    }

    fn set_levels(&self, levels: LogLevels) -> Result<()> {
        *self.0.lock().unwrap() = levels;
        Ok(())
    }

    fn format(&self) -> &'static str {
        "text"
    }
}

/// Starts a server with a model `echo` (FP32 [*, 2] to the same), a model `labelled` with joined rows and classes, and a
/// route `picture` whose stages read and write bodies.
pub(crate) async fn start(setup: Setup) -> Running {
    let site = Site::new();
    site.model("echo", 1, "input x FP32 * 2\noutput x_out FP32 * 2");
    site.model(
        "labelled",
        1,
        "input x FP32 * 3\ninput mask BOOL * 3 optional\noutput y FP32 * 3\noutput m BOOL * 3\n\
         max-rows 8\nclasses cat dog bird",
    );
    site.plugin("bytes", "");
    site.route(
        "picture",
        "model = \"echo\"\npre = [\"bytes\"]\npost = [\"bytes\"]\n",
    );
    let meter = SdkMeterProvider::default().meter("test");
    let serving = Serving::start(
        wharf_serving::Config::default(),
        site.path().to_owned(),
        Arc::new(FakeEngine::default()),
        Arc::new(FakePluginHost::default()),
        &meter,
    )
    .unwrap();
    serving.loaded().await;
    let log = Arc::new(FakeLog(Mutex::new(LogLevels {
        info: true,
        warning: true,
        error: true,
        verbose: 0,
    })));
    let observability = Observability {
        meter,
        metrics_text: Arc::new(String::new),
        traces: setup.traces,
        logging: Some(Arc::<FakeLog>::clone(&log)),
    };
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = Config {
        listen: local,
        admin_listen: local,
        management: setup.management,
        max_body_bytes: 1 << 20,
        max_bodies_bytes: 4 << 20,
        ..Config::default()
    };
    let server = Server::bind(&config, &serving, &observability).unwrap();
    let address = server.address();
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
        site,
        log,
        shutdown,
        serve,
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The field that a refusal names.
    pub(crate) fn field(&self) -> String {
        assert!(self.head.contains("application/problem+json"), "{self:?}");
        assert!(!self.body.contains("/dev/shm"), "{self:?}");
        self.json()["field"].as_str().unwrap_or_default().to_owned()
    }
}

impl Running {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, "", b"").await
    }

    pub(crate) async fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.send("POST", path, "", body.as_ref()).await
    }

    pub(crate) async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Sends a request with header lines of the caller's.
    pub(crate) async fn send(&self, method: &str, path: &str, fields: &str, body: &[u8]) -> Answer {
        let exchange = async {
            let mut socket = TcpStream::connect(self.address).await.unwrap();
            let head = format!(
                "{method} {path} HTTP/1.1\r\nHost: wharf\r\nConnection: close\r\n{fields}Content-Length: {}\r\n\r\n",
                body.len()
            );
            socket.write_all(head.as_bytes()).await.unwrap();
            // A server that refuses early need not read it all.
            let _ = socket.write_all(body).await;
            let mut answer = Vec::new();
            socket.read_to_end(&mut answer).await.unwrap();
            String::from_utf8(answer).unwrap()
        };
        let text = tokio::time::timeout(PATIENCE, exchange)
            .await
            .expect("the server answers");
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    /// Runs the model `echo`, or another that takes the same.
    pub(crate) async fn infer(&self, model: &str) -> Answer {
        self.post(&format!("/v1/infer/{model}"), r#"{"input": [1, 2]}"#)
            .await
    }

    /// What must hold after every case; then the server ends.
    pub(crate) async fn end(self) {
        let answer = self.infer("echo").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        self.shutdown.cancel();
        self.serve.await.unwrap();
    }
}
