//! A site in a temporary folder, an engine, and models made in code.

pub(crate) mod memory;
pub(crate) mod onnx;
mod probe;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use opentelemetry::metrics::MeterProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use tempfile::TempDir;
use wharf_core::{
    Cancel, Engine, Headers, LoadError, Model, ModelFolder, ModelVersion, Name, RequestContext,
    Tensor,
};
use wharf_engine::{Config, DeviceProbe, OnnxEngine};

pub(crate) use probe::FakeProbe;

/// A site folder with one model, `m`, and an engine.
pub(crate) struct Site {
    folder: TempDir,
    pub(crate) engine: OnnxEngine,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self::with(Config::default())
    }

    pub(crate) fn with(config: Config) -> Self {
        Self::of(OnnxEngine::new(
            config,
            &SdkMeterProvider::default().meter("test"),
        ))
    }

    pub(crate) fn with_probe(probe: impl DeviceProbe) -> Self {
        let meter = SdkMeterProvider::default().meter("test");
        Self::of(OnnxEngine::with_probe(
            Config::default(),
            &meter,
            Arc::new(probe),
        ))
    }

    pub(crate) fn of(engine: Result<OnnxEngine, wharf_engine::OpenError>) -> Self {
        // Without the library these tests say nothing; they must not pass.
        let engine =
            engine.unwrap_or_else(|error| panic!("run `cargo xtask setup` first: {error}"));
        let site = Self {
            folder: tempfile::tempdir().unwrap(),
            engine,
        };
        fs::create_dir_all(site.model("")).unwrap();
        site
    }

    /// A path in the site.
    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// A path in the model's folder.
    pub(crate) fn model(&self, path: &str) -> PathBuf {
        self.path("models/m").join(path)
    }

    /// Writes a file into the model's folder.
    pub(crate) fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.model(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn versions(&self) -> Result<Vec<ModelVersion>, LoadError> {
        Ok(self.engine.versions(&self.folder())?.serve)
    }

    /// The folder of the model.
    pub(crate) fn folder(&self) -> ModelFolder {
        ModelFolder {
            site: self.folder.path().to_owned(),
            name: Name::new("m").unwrap(),
        }
    }

    /// Loads the highest version.
    pub(crate) fn load(&self) -> Result<Arc<dyn Model>, LoadError> {
        self.load_until(&Cancel::default())
    }

    /// Loads the highest version, where that is not cancelled.
    pub(crate) fn load_until(&self, cancel: &Cancel) -> Result<Arc<dyn Model>, LoadError> {
        let version = self
            .versions()?
            .pop()
            .expect("a model without versions is an error");
        self.engine.load(&version, cancel)
    }

    /// Loads a model with settings.
    pub(crate) fn serve(&self, model: &[u8], settings: &str) -> Arc<dyn Model> {
        self.write("1/model.onnx", model);
        self.write("model.toml", settings);
        self.load().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Why a model is refused.
    pub(crate) fn refusal(&self, model: &[u8], settings: &str) -> LoadError {
        self.write("1/model.onnx", model);
        self.write("model.toml", settings);
        self.load().err().expect("the model must be refused")
    }
}

/// A request with so much time.
pub(crate) fn request(time: Duration) -> RequestContext {
    RequestContext {
        id: "test".into(),
        route: "m".into(),
        tenant: None,
        headers: Headers::default(),
        deadline: Instant::now() + time,
        timeout: time,
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    }
}

/// Runs a model.
pub(crate) async fn infer(
    model: &Arc<dyn Model>,
    inputs: Vec<Tensor>,
) -> wharf_core::Result<Vec<Tensor>> {
    let inference = model
        .infer(&request(Duration::from_secs(60)), inputs)
        .await?;
    Ok(inference.outputs)
}

/// The inputs of a model that turns so many times.
pub(crate) fn turns(turns: i64) -> Vec<Tensor> {
    vec![
        floats("x", &[1, 64], &[1.0; 64]),
        Tensor::from_vec("turns", [1], vec![turns]).unwrap(),
    ]
}

/// The turns of such a model that take about so long.
pub(crate) async fn calibrate(model: &Arc<dyn Model>, time: Duration) -> i64 {
    calibrate_with(model, &turns(SOME_TURNS), time).await
}

/// The turns that a model makes with the inputs that it is calibrated with.
pub(crate) const SOME_TURNS: i64 = 10_000;

/// The turns that take about so long, by the fastest of a few runs with inputs for which it makes [`SOME_TURNS`]: whatever else a
/// machine does only makes one longer.
pub(crate) async fn calibrate_with(
    model: &Arc<dyn Model>,
    inputs: &[Tensor],
    time: Duration,
) -> i64 {
    let mut fastest = Duration::MAX;
    for _ in 0..10 {
        let started = Instant::now();
        infer(model, inputs.to_vec()).await.unwrap();
        fastest = fastest.min(started.elapsed());
    }
    (time.as_secs_f64() / fastest.as_secs_f64() * SOME_TURNS as f64) as i64
}

/// Waits until something is so. Fails when it does not come about.
pub(crate) async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

pub(crate) fn floats(name: &str, shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::from_vec(name, shape, values.to_vec()).unwrap()
}
