//! The upstreams of a mock: their files are read as they are, and nobody is asked for anything.
//!
//! A plain service answers with a body that says that it is made up. What a model of another server takes and gives is that server's
//! to say, so its routes are there and refuse every request.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body_util::{BodyExt as _, Full};
use opentelemetry::metrics::Meter;
use serde::Deserialize;
use wharf_core::{
    BoxFuture, Changed, Error, ErrorKind, Inference, LoadError, Model, ModelInfo, ModelLoad,
    Queueing, RequestContext, Result, Service, Streamed, Tensor, Upstream, UpstreamFile,
    UpstreamRelease, Upstreams, VersionPolicy,
};
use wharf_upstream::Peers;

/// The field of an answer that no service gave.
const MOCK: &str = "x-wharf-mock";

/// Answers in the place of other servers.
pub(crate) struct MockPeers(Peers);

/// What is needed of `upstreams/NAME.toml`, which was checked when it was read.
#[derive(Deserialize)]
struct Settings {
    protocol: String,
    version: Option<u64>,
}

struct MockUpstream(Arc<MockPeer>);

/// A model or a service that nobody asks.
struct MockPeer {
    info: ModelInfo,
    is_service: bool,
}

impl MockPeers {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self(Peers::new(meter))
    }
}

impl Upstreams for MockPeers {
    fn read(&self, file: &UpstreamFile) -> Result<UpstreamRelease, LoadError> {
        self.0.read(file)
    }

    fn open(
        &self,
        release: &UpstreamRelease,
        _changed: Changed,
    ) -> Result<Arc<dyn Upstream>, LoadError> {
        let settings: Settings = toml::from_str(&release.settings).map_err(|error| {
            LoadError::new(format!("upstreams/{}.toml", release.name), error.message())
        })?;
        let info = ModelInfo {
            name: release.name.clone(),
            version: settings.version.unwrap_or(1),
            digest: release.digest,
            platform: "wharf_upstream",
            device: "upstream".to_owned(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            max_batch_rows: 1,
            instances: 1,
            policy: VersionPolicy::Latest(1),
            queueing: Queueing::default(),
        };
        Ok(Arc::new(MockUpstream(Arc::new(MockPeer {
            info,
            is_service: settings.protocol == "http",
        }))))
    }
}

impl Upstream for MockUpstream {
    fn model(&self) -> Option<Arc<dyn Model>> {
        let model = Arc::clone(&self.0);
        Some(model)
    }

    fn problem(&self) -> Option<Arc<LoadError>> {
        None
    }
}

impl MockPeer {
    fn refusal(&self) -> Error {
        let message = format!(
            "a mock asks no other server, and what {} takes and gives is known to its own server alone",
            self.info.name
        );
        Error::new(ErrorKind::Unavailable, message)
    }
}

impl Model for MockPeer {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn is_described(&self) -> bool {
        self.is_service
    }

    fn check_room(&self) -> Result<()> {
        match self.is_service {
            true => Ok(()),
            false => Err(self.refusal()),
        }
    }

    fn infer<'a>(
        &'a self,
        _request: &'a RequestContext,
        _inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        Box::pin(async { Err(self.refusal()) })
    }

    fn load(&self) -> ModelLoad {
        ModelLoad::default()
    }

    fn service(&self) -> Option<&dyn Service> {
        self.is_service.then_some(self as &dyn Service)
    }
}

impl Service for MockPeer {
    fn exchange<'a>(
        &'a self,
        _request: &'a RequestContext,
        mut sent: Streamed,
    ) -> BoxFuture<'a, Result<Streamed>> {
        Box::pin(async move {
            // What a client sends is taken, and goes nowhere.
            while let Some(frame) = sent.body.frame().await {
                frame?;
            }
            let made_up = serde_json::json!({
                "mock": format!("made up: a mock asks no other server, so this is no answer of {}", self.info.name),
            });
            let body = Full::new(Bytes::from(made_up.to_string()));
            let headers = HeaderMap::from_iter([(
                http::HeaderName::from_static(MOCK),
                HeaderValue::from_static("true"),
            )]);
            Ok(Streamed {
                status: http::StatusCode::OK,
                media_type: "application/json".into(),
                headers,
                body: Box::pin(body.map_err(|never| match never {})),
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use wharf_core::Name;
    use wharf_testkit::request;

    use super::*;

    /// An upstream whose server would notice a connection.
    fn open(protocol: &str, listener: &TcpListener) -> Arc<dyn Model> {
        let peers = MockPeers::new(&opentelemetry::global::meter("test"));
        let address = listener.local_addr().unwrap();
        let text = format!("protocol = {protocol:?}\nendpoints = [\"http://{address}\"]\n");
        let release = peers.read(&UpstreamFile {
            site: std::path::PathBuf::from("."),
            name: Name::new("far").unwrap(),
            text: text.into(),
        });
        let opened = peers.open(&release.unwrap(), Arc::new(|| {})).unwrap();
        assert!(opened.problem().is_none());
        opened.model().unwrap()
    }

    fn listener() -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        listener
    }

    #[tokio::test]
    async fn a_service_is_made_up_and_no_body_leaves_the_process() {
        let listener = listener();
        let model = open("http", &listener);
        let sent = Streamed {
            status: http::StatusCode::OK,
            media_type: "text/plain".into(),
            headers: HeaderMap::new(),
            body: Box::pin(Full::new(Bytes::from("mine")).map_err(|never| match never {})),
        };
        let request = request("far");
        let service = model.service().unwrap();
        let answer = service.exchange(&request, sent).await.unwrap();
        assert_eq!(answer.headers[MOCK], "true");
        let body = answer.body.collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("made up"));
        assert!(listener.accept().is_err());
    }

    #[tokio::test]
    async fn a_model_of_another_server_is_there_and_refuses_every_request() {
        for protocol in ["oip-http", "oip-grpc"] {
            let listener = listener();
            let model = open(protocol, &listener);
            assert!(!model.is_described() && model.service().is_none());
            let full = model.check_room().unwrap_err();
            let refused = model.infer(&request("far"), Vec::new()).await.unwrap_err();
            assert_eq!(full.kind(), ErrorKind::Unavailable);
            assert_eq!(full.message(), refused.message());
            assert!(listener.accept().is_err());
        }
    }
}
