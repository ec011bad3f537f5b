//! A model runtime and a plugin host that compute nothing worth computing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use wharf_core::{
    Body, BoxFuture, Candidate, Datatype, Digest, Engine, Error, Isolation, LoadError, Model,
    ModelFolder, ModelInfo, ModelLoad, ModelVersion, Payload, Plugin, PluginFile, PluginHealth,
    PluginHost, PluginInfo, PluginRelease, RequestContext, Result, Stage, Tensor, TensorSpec,
};

/// Where requests to the model `slow` wait.
pub(crate) struct Gate {
    passes: Semaphore,
    running: AtomicUsize,
    started: AtomicUsize,
    changed: Notify,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            passes: Semaphore::new(0),
            running: AtomicUsize::new(0),
            started: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }
}

impl Gate {
    /// Lets requests pass.
    pub(crate) fn open(&self, requests: usize) {
        self.passes.add_permits(requests);
    }

    /// Waits until so many requests have come to the gate since the start.
    pub(crate) async fn until_started(&self, count: usize) {
        self.until(|| self.started.load(Ordering::SeqCst) >= count)
            .await;
    }

    /// Waits until no request is at the gate.
    pub(crate) async fn until_idle(&self) {
        self.until(|| self.running.load(Ordering::SeqCst) == 0)
            .await;
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let waiting = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if condition() {
                    return;
                }
                changed.await;
            }
        };
        let patience = Duration::from_secs(30);
        tokio::time::timeout(patience, waiting)
            .await
            .expect("the gate never came to this");
    }

    async fn pass(&self) {
        struct Running<'a>(&'a Gate);
        impl Drop for Running<'_> {
            fn drop(&mut self) {
                self.0.running.fetch_sub(1, Ordering::SeqCst);
                self.0.changed.notify_waiters();
            }
        }
        self.running.fetch_add(1, Ordering::SeqCst);
        let _running = Running(self);
        self.started.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.passes.acquire().await.unwrap().forget();
    }
}

pub(super) struct FakeEngine(pub(super) Arc<Gate>);

impl Engine for FakeEngine {
    fn version_below(
        &self,
        _folder: &ModelFolder,
        _version: u64,
    ) -> Result<Option<ModelVersion>, LoadError> {
        Ok(None)
    }

    fn versions(&self, folder: &ModelFolder) -> Result<Vec<ModelVersion>, LoadError> {
        Ok(vec![ModelVersion {
            site: folder.site.clone(),
            name: folder.name.clone(),
            version: 1,
            digest: Digest::new([1; 32]),
        }])
    }

    fn load(&self, version: &ModelVersion) -> Result<Arc<dyn Model>, LoadError> {
        let spec = |name: &str, datatype, shape: &[Option<u64>]| TensorSpec {
            name: name.into(),
            datatype,
            shape: shape.to_vec(),
        };
        let specs = |suffix: &str| match version.name.as_str() {
            "pair" => vec![
                spec(&format!("a{suffix}"), Datatype::Int64, &[None]),
                spec(&format!("b{suffix}"), Datatype::Bool, &[None]),
            ],
            "words" => vec![spec("w", Datatype::Bytes, &[None])],
            _ => vec![spec("x", Datatype::Fp32, &[None, Some(2)])],
        };
        Ok(Arc::new(FakeModel {
            info: ModelInfo {
                name: version.name.clone(),
                version: version.version,
                digest: version.digest,
                platform: "fake",
                device: "cpu".to_owned(),
                inputs: specs(""),
                outputs: specs("_out"),
                max_batch_rows: 1,
            },
            gate: (version.name.as_str() == "slow").then(|| Arc::clone(&self.0)),
        }))
    }
}

struct FakeModel {
    info: ModelInfo,
    gate: Option<Arc<Gate>>,
}

impl Model for FakeModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn infer<'a>(
        &'a self,
        _: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Vec<Tensor>>> {
        Box::pin(async move {
            if let Some(gate) = &self.gate {
                gate.pass().await;
            }
            let outputs = inputs.iter().zip(&self.info.outputs);
            Ok(outputs
                .map(|(input, spec)| input.with_name(spec.name.clone()))
                .collect())
        })
    }

    fn load(&self) -> ModelLoad {
        ModelLoad::default()
    }
}

pub(super) struct FakePlugins;

impl PluginHost for FakePlugins {
    fn read(&self, file: &PluginFile) -> Result<PluginRelease, LoadError> {
        Ok(PluginRelease {
            site: file.site.clone(),
            name: file.name.clone(),
            digest: Digest::new([2; 32]),
            component: Arc::from([]),
            settings: Arc::from(""),
        })
    }

    fn load(&self, release: &PluginRelease) -> Result<Arc<dyn Plugin>, LoadError> {
        Ok(Arc::new(FakePlugin(PluginInfo {
            name: release.name.clone(),
            digest: release.digest,
            version: "1".to_owned(),
            summary: String::new(),
            contract: "1.0.0".to_owned(),
            stages: vec![Stage::Preprocess, Stage::Postprocess],
            isolation: Isolation::Request,
        })))
    }
}

/// Reads a body as its length twice, and writes a tensor as text; faults when the body says so.
struct FakePlugin(PluginInfo);

impl Plugin for FakePlugin {
    fn info(&self) -> &PluginInfo {
        &self.0
    }

    fn preprocess<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            let Payload::Body(body) = input else {
                return Err(Error::invalid("input", "is no body"));
            };
            if &*body.data == b"trap" {
                return Err(
                    Error::new(wharf_core::ErrorKind::PluginFault, "the plugin trapped")
                        .with_source("wasm trap in /secret/plugin.wasm"),
                );
            }
            let sizes = vec![body.data.len() as f32, body.media_type.len() as f32];
            let tensor = Tensor::from_vec("x", [1, 2], sizes).map_err(Error::internal)?;
            Ok(Payload::Tensors(vec![tensor]))
        })
    }

    fn postprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            let Payload::Tensors(tensors) = output else {
                return Err(Error::invalid("output", "is a body"));
            };
            let sizes = tensors[0].as_slice::<f32>().map_err(Error::internal)?;
            let user = request.headers.get("x-user").unwrap_or("nobody");
            Ok(Payload::Body(Body {
                media_type: "text/plain".into(),
                data: format!("{sizes:?} for {user}").into(),
            }))
        })
    }

    fn route<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        _: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async { Ok(0) })
    }

    fn health(&self) -> PluginHealth {
        PluginHealth::default()
    }
}
