//! A server on fakes, its generated client, and a client that says exactly what it is told to say.

mod raw;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use wharf_server::inference::grpc_inference_service_client::GrpcInferenceServiceClient;
use wharf_server::inference::infer_parameter::ParameterChoice;
use wharf_server::inference::model_infer_request::InferInputTensor;
use wharf_server::inference::{InferParameter, InferTensorContents, ModelInferRequest};
use wharf_server::{Config, Observability, Server};
use wharf_serving::Serving;
use wharf_testkit::{FakeEngine, FakePluginHost, Gate, Gates, Site, eventually};

pub(crate) use raw::{Call, frame};

pub(crate) type Client = GrpcInferenceServiceClient<Channel>;

/// A server that runs, with the site that it serves.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) gates: Gates,
    pub(crate) serving: Serving,
    pub(crate) shutdown: CancellationToken,
    pub(crate) serve: JoinHandle<()>,
    /// Kept as long as it is served.
    _site: Site,
}

/// Settings with short times: a test waits for them.
pub(crate) fn config() -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        admin_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        body_timeout_ms: 500,
        max_body_bytes: 1 << 20,
        ..Config::default()
    }
}

/// Starts a server with models `echo` (FP32 [*, 2] to the same), `pair` (two inputs, two outputs), `slow`, which waits at
/// the gate, and `many` for each datatype; and with a route `picture` whose stages read and write bodies.
pub(crate) async fn start(config: &Config) -> Running {
    let site = Site::new();
    const ECHO: &str = "input x FP32 * 2\noutput y FP32 * 2";
    site.model("echo", 1, ECHO);
    site.model("slow", 1, &format!("{ECHO}\ngate slow"));
    site.model("large", 1, "input x FP32 *\noutput y FP32 *");
    site.model("full", 1, &format!("{ECHO}\nno-room"));
    let pair =
        "input a INT64 *\ninput b BOOL * optional\noutput a_out INT64 *\noutput b_out BOOL *";
    site.model("pair", 1, pair);
    for datatype in wharf_core::Datatype::ALL {
        let name = format!("of-{}", datatype.name().to_ascii_lowercase());
        let script = format!("input x {datatype} *\noutput y {datatype} *");
        site.model(&name, 1, &script);
    }
    site.model("numbers", 1, "");
    site.plugin("text", "");
    let picture = "model = \"numbers\"\npre = [\"text\"]\npost = [\"text\"]\n";
    site.route("picture", picture);
    let server = start_with(config, site);
    server.serving.loaded().await;
    server
}

/// Starts a server on a site, without waiting for what it loads.
pub(crate) fn start_with(config: &Config, site: Site) -> Running {
    let engine = FakeEngine::default();
    let gates = engine.gates.clone();
    let meter = SdkMeterProvider::default().meter("test");
    let serving = Serving::start(
        wharf_serving::Config::default(),
        site.path().to_owned(),
        Arc::new(engine),
        Arc::new(FakePluginHost::default()),
        &meter,
    )
    .unwrap();
    let observability = Observability {
        meter,
        metrics_text: Arc::new(String::new),
        traces: false,
        logging: None,
    };
    let server = Server::bind(config, &serving, &observability).unwrap();
    let address = server.address();
    let shutdown = CancellationToken::new();
    let (kept, stop) = (serving.clone(), shutdown.clone());
    let serve = tokio::spawn(async move {
        server.serve(stop).await;
        serving.shutdown().await;
    });
    Running {
        address,
        gates,
        serving: kept,
        shutdown,
        serve,
        _site: site,
    }
}

impl Running {
    pub(crate) async fn channel(&self) -> Channel {
        let address = format!("http://{}", self.address);
        Channel::from_shared(address)
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        Client::new(self.channel().await)
    }

    pub(crate) fn gate(&self) -> Gate {
        self.gates.get("slow")
    }

    /// The requests that run.
    pub(crate) fn in_flight(&self) -> u32 {
        let snapshot = self.serving.snapshot();
        snapshot.routes().map(|route| route.in_flight()).sum()
    }

    /// What must hold after every case: the server answers, and nothing is left of what was done to it.
    pub(crate) async fn is_well(&self) {
        eventually("no request is left", || self.in_flight() == 0).await;
        let mut client = self.client().await;
        let answer = client.model_infer(floats("echo", &[1.0, 2.0])).await;
        let answer = answer.unwrap().into_inner();
        assert_eq!(answer.raw_output_contents, [bytes_of(&[1.0, 2.0])]);
    }
}

/// The bytes of FP32 elements.
pub(crate) fn bytes_of(values: &[f32]) -> Bytes {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A request with a raw input `x` of FP32 [*, 2].
pub(crate) fn floats(model: &str, values: &[f32]) -> ModelInferRequest {
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input("x", "FP32", &[values.len() as i64 / 2, 2])],
        raw_input_contents: vec![bytes_of(values)],
        ..ModelInferRequest::default()
    }
}

pub(crate) fn input(name: &str, datatype: &str, shape: &[i64]) -> InferInputTensor {
    InferInputTensor {
        name: name.to_owned(),
        datatype: datatype.to_owned(),
        shape: shape.to_vec(),
        ..InferInputTensor::default()
    }
}

/// A request with a typed input `x`.
pub(crate) fn typed(
    model: &str,
    datatype: &str,
    shape: &[i64],
    contents: InferTensorContents,
) -> ModelInferRequest {
    let mut input = input("x", datatype, shape);
    input.contents = Some(contents);
    ModelInferRequest {
        model_name: model.to_owned(),
        inputs: vec![input],
        ..ModelInferRequest::default()
    }
}

pub(crate) fn text(value: &str) -> InferParameter {
    parameter(ParameterChoice::StringParam(value.to_owned()))
}

pub(crate) fn parameter(value: ParameterChoice) -> InferParameter {
    InferParameter {
        parameter_choice: Some(value),
    }
}
