//! A fake of other servers.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use parking_lot::Mutex;
use wharf_core::{
    BoxFuture, Changed, Error, Inference, LoadError, Model, ModelInfo, ModelLoad, RequestContext,
    Result, Service, Streamed, Tenants, Tensor, Upstream, UpstreamFile, UpstreamRelease, Upstreams,
};

use crate::engine::FakeModel;
use crate::script::{Script, digest};

/// Servers whose models are scripts: those of [`crate::FakeEngine`], in the text of `upstreams/NAME.toml`. Beside that a server
/// does what these lines say:
///
/// - `absent`: nobody answers until the test says that it [`FakeUpstreams::arrives`];
/// - `service`: it is a plain service, which gives back what it gets, as it comes;
/// - `whole`: the service answers when it has all of it; `status N`: with this status;
/// - `broken`: it cannot be opened; `unreadable`: its settings are wrong.
#[derive(Clone, Default)]
pub struct FakeUpstreams(Arc<Mutex<HashMap<String, Arc<FakeUpstream>>>>);

struct FakeUpstream {
    file: String,
    model: Arc<dyn Model>,
    is_there: Mutex<bool>,
    changed: Changed,
}

impl FakeUpstreams {
    /// Lets a server answer that did not.
    ///
    /// # Panics
    /// Where no such upstream was opened.
    pub fn arrives(&self, name: &str) {
        let upstream = Arc::clone(&self.0.lock()[name]);
        *upstream.is_there.lock() = true;
        (upstream.changed)();
    }
}

impl Upstreams for FakeUpstreams {
    fn read(&self, file: &UpstreamFile) -> Result<UpstreamRelease, LoadError> {
        let refused = |message: &str| {
            Err(LoadError::new(
                format!("upstreams/{}.toml", file.name),
                message,
            ))
        };
        match Script::parse(&file.text) {
            None => refused("the file is cut short"),
            Some(script) if script.has("unreadable") => refused("unreadable by script"),
            Some(_) => Ok(UpstreamRelease {
                name: file.name.clone(),
                digest: digest(&[file.text.as_bytes()]),
                settings: Arc::clone(&file.text),
                files: Arc::new([]),
                tenants: Tenants::default(),
            }),
        }
    }

    fn open(
        &self,
        release: &UpstreamRelease,
        changed: Changed,
    ) -> Result<Arc<dyn Upstream>, LoadError> {
        let file = format!("upstreams/{}.toml", release.name);
        let script = Script::parse(&release.settings).unwrap_or_default();
        if script.has("broken") {
            return Err(LoadError::new(file, "broken by script"));
        }
        let is_there = !script.has("absent");
        let model = FakeModel::new(release.name.as_str(), 1, &release.settings);
        let model: Arc<dyn Model> = match script.has("service") {
            true => Arc::new(FakeService { model, script }),
            false => Arc::new(model),
        };
        let upstream = Arc::new(FakeUpstream {
            file,
            model,
            is_there: Mutex::new(is_there),
            changed,
        });
        let name = release.name.to_string();
        self.0.lock().insert(name, Arc::clone(&upstream));
        Ok(upstream)
    }
}

impl Upstream for FakeUpstream {
    fn model(&self) -> Option<Arc<dyn Model>> {
        self.is_there.lock().then(|| Arc::clone(&self.model))
    }

    fn problem(&self) -> Option<Arc<LoadError>> {
        let problem = || LoadError::new(self.file.as_str(), "nobody answers, by script");
        (!*self.is_there.lock()).then(|| Arc::new(problem().with_key("endpoints")))
    }
}

/// A service that gives back what it gets.
struct FakeService {
    model: FakeModel,
    script: Script,
}

impl Model for FakeService {
    fn info(&self) -> &ModelInfo {
        self.model.info()
    }

    fn check_room(&self) -> Result<()> {
        self.model.check_room()
    }

    fn infer<'a>(
        &'a self,
        _request: &'a RequestContext,
        _inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        Box::pin(async { Err(Error::internal("a service was asked to infer")) })
    }

    fn load(&self) -> ModelLoad {
        self.model.load()
    }

    fn service(&self) -> Option<&dyn Service> {
        Some(self)
    }
}

impl Service for FakeService {
    fn exchange<'a>(
        &'a self,
        _request: &'a RequestContext,
        mut sent: Streamed,
    ) -> BoxFuture<'a, Result<Streamed>> {
        Box::pin(async move {
            if let Some(status) = self.script.number::<u16>("status") {
                sent.status = http::StatusCode::from_u16(status).map_err(Error::internal)?;
            }
            if self.script.has("whole") {
                let whole = sent.body.collect().await?.to_bytes();
                sent.body = Box::pin(Full::new(whole).map_err(|never| match never {}));
            }
            Ok(sent)
        })
    }
}
