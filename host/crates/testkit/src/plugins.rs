//! A fake of the plugin host.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use wharf_core::{
    Body, BoxFuture, Candidate, Error, ErrorKind, Filter, Isolation, LoadError, ModelCalls, Name,
    Payload, Plugin, PluginFile, PluginHealth, PluginHost, PluginInfo, PluginRelease,
    RequestContext, Result, SiteFile, Stage, Tensor, Token,
};

use crate::gate::Gates;
use crate::generator::FakeFilter;
use crate::script::{END, Script, digest};

/// A host whose plugins are scripts. The preprocess stage makes `input` of a body of numbers, the postprocess stage makes a
/// body of numbers of the first tensor, and the router takes the first candidate. Beside that a plugin does what the lines
/// of its `.wasm` say:
///
/// - `stages A B`: has these stages; else preprocess and postprocess;
/// - `scale X`: multiplies each element in both stages;
/// - `tag TEXT`: adds a word to the body that its postprocess stage makes;
/// - `pick LABEL`: takes the candidate of this label;
/// - `gate NAME`: waits at a gate in each call; `load-gate NAME`: waits there while it is loaded;
/// - `call TARGET`: its preprocess stage gives what this route or model makes of its tensors, of the version after a second
///   word; `mirror TARGET`: it leaves its tensors behind for this one, and goes on whatever becomes of that;
/// - `trap`: fails each call; `trap-on X`: fails those with the number X; `refuse KIND`: answers each call with an error of this kind;
/// - `upper`, `hold N`, `stop-at TEXT`, `trap-at TEXT`: what its filters do: make letters large, keep the last N tokens or bytes
///   back, stop before one, fail at one;
/// - `keep-body`: its preprocess stage gives the body back;
/// - `file PATH`: this file of the site is part of it;
/// - `broken`: cannot be loaded; `panic`: panics when it is loaded.
#[derive(Clone, Default)]
pub struct FakePluginHost {
    /// Where its plugins wait.
    pub gates: Gates,
    counts: Arc<Counts>,
    models: Models,
}

/// What its plugins call models through.
type Models = Arc<Mutex<Option<Weak<dyn ModelCalls>>>>;

/// The file that a script names.
fn site_files(site: &Path, component: &[u8]) -> Vec<SiteFile> {
    let script = std::str::from_utf8(component).ok().and_then(Script::parse);
    let path = script.as_ref().and_then(|script| script.get("file"));
    let file = path.map(|path| {
        let content = fs::read(site.join(path)).map_err(|error| error.to_string().into());
        SiteFile {
            path: path.into(),
            digest: content.as_ref().ok().map(|content| digest(&[content])),
            content: content.map(Into::into),
        }
    });
    file.into_iter().collect()
}

#[derive(Default)]
struct Counts {
    loads: AtomicUsize,
    reads: AtomicUsize,
    live: AtomicUsize,
    calls: AtomicUsize,
}

impl FakePluginHost {
    /// How many loads were asked for.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.counts.loads.load(Ordering::SeqCst)
    }

    /// How often a plugin was read.
    #[must_use]
    pub fn reads(&self) -> usize {
        self.counts.reads.load(Ordering::SeqCst)
    }

    /// How often a stage of a plugin was called.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.counts.calls.load(Ordering::SeqCst)
    }

    /// What its plugins call models through.
    ///
    /// # Panics
    /// Where nothing serves.
    #[must_use]
    pub fn models(&self) -> Arc<dyn ModelCalls> {
        let models = self.models.lock().as_ref().and_then(Weak::upgrade);
        models.expect("the host is connected")
    }

    /// How many plugins are loaded now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.counts.live.load(Ordering::SeqCst)
    }
}

impl PluginHost for FakePluginHost {
    fn read(&self, file: &PluginFile) -> Result<PluginRelease, LoadError> {
        self.counts.reads.fetch_add(1, Ordering::SeqCst);
        let folder = file.site.join("plugins");
        let settings = fs::read_to_string(folder.join(format!("{}.toml", file.name)));
        let settings = settings.unwrap_or_default();
        if settings.contains("broken") {
            let refused = LoadError::new(format!("plugins/{}.toml", file.name), "broken by script");
            return Err(refused.with_key("broken"));
        }
        let component = fs::read(folder.join(format!("{}.wasm", file.name))).map_err(|error| {
            LoadError::new(format!("plugins/{}.wasm", file.name), "it cannot be read")
                .with_source(error)
        })?;
        let files = site_files(&file.site, &component);
        let content = files.first().and_then(|file| file.content.as_deref().ok());
        Ok(PluginRelease {
            site: file.site.clone(),
            name: file.name.clone(),
            digest: digest(&[&component, settings.as_bytes(), content.unwrap_or_default()]),
            content: digest(&[&component]),
            component: component.into(),
            settings: settings.into(),
            files: files.into(),
            owner: None,
        })
    }

    fn load(&self, release: &PluginRelease) -> Result<Arc<dyn Plugin>, LoadError> {
        self.counts.loads.fetch_add(1, Ordering::SeqCst);
        let file = format!("plugins/{}.wasm", release.name);
        let script = std::str::from_utf8(&release.component)
            .ok()
            .and_then(Script::parse)
            .ok_or_else(|| LoadError::new(file.as_str(), "the file is cut short"))?;
        assert!(!script.has("panic"), "panic by script");
        if let Some(gate) = script.get("load-gate") {
            self.gates.get(gate).pass_blocking();
        }
        if script.has("broken") {
            return Err(LoadError::new(file, "broken by script"));
        }
        let mut plugin = FakePlugin::of(script, &release.name);
        plugin.info.digest = release.digest;
        plugin.gates = self.gates.clone();
        plugin.models = match &release.owner {
            Some(owner) => Arc::new(Mutex::new(Some(Weak::clone(&owner.models)))),
            None => Arc::clone(&self.models),
        };
        self.counts.live.fetch_add(1, Ordering::SeqCst);
        plugin.counts = Some(Arc::clone(&self.counts));
        Ok(Arc::new(plugin))
    }

    fn connect(&self, models: Weak<dyn ModelCalls>) {
        *self.models.lock() = Some(models);
    }
}

/// A plugin that is a script.
pub struct FakePlugin {
    info: PluginInfo,
    script: Script,
    gates: Gates,
    models: Models,
    health: Mutex<PluginHealth>,
    counts: Option<Arc<Counts>>,
}

impl FakePlugin {
    /// Makes a plugin of the lines of a script, without a host.
    ///
    /// # Panics
    /// Where the name is none.
    #[must_use]
    pub fn new(name: &str, lines: &str) -> Self {
        let script = Script::parse(&format!("{lines}\n{END}")).unwrap_or_default();
        Self::of(script, &Name::new(name).expect("a valid name"))
    }

    fn of(script: Script, name: &Name) -> Self {
        let stages = script.get("stages").unwrap_or("preprocess postprocess");
        Self {
            info: PluginInfo {
                name: name.clone(),
                digest: digest(&[]),
                version: "1.0.0".to_owned(),
                summary: "a fake".to_owned(),
                contract: "1.0.0".to_owned(),
                stages: Stage::ALL
                    .into_iter()
                    .filter(|stage| stages.split_whitespace().any(|name| name == stage.name()))
                    .collect(),
                isolation: Isolation::Request,
            },
            script,
            gates: Gates::default(),
            models: Models::default(),
            health: Mutex::default(),
            counts: None,
        }
    }

    /// What every call does first: waits, fails or refuses by script, and counts.
    async fn call(&self, input: Option<&Payload>) -> Result<()> {
        if let Some(gate) = self.script.get("gate") {
            self.gates.get(gate).pass().await;
        }
        if let Some(counts) = &self.counts {
            counts.calls.fetch_add(1, Ordering::SeqCst);
        }
        let mut health = self.health.lock();
        health.calls += 1;
        if self.script.has("trap") || input.is_some_and(|input| self.traps_on(input)) {
            health.faults += 1;
            health.consecutive_faults += 1;
            return Err(Error::new(ErrorKind::PluginFault, "the plugin failed"));
        }
        health.consecutive_faults = 0;
        self.script.refusal().map_or(Ok(()), Err)
    }

    /// What the target of the line `call` makes of a tensor; without the line, the tensor.
    async fn called(&self, request: &Arc<RequestContext>, tensor: Tensor) -> Result<Payload> {
        let input = Payload::Tensors(vec![tensor]);
        let models = || {
            let models = self.models.lock().as_ref().and_then(Weak::upgrade);
            models.expect("the host is connected")
        };
        if let Some(target) = self.script.get("mirror") {
            // A client's answer is worth more than what is mirrored.
            let _refused = models().mirror(request, target, None, input.clone());
        }
        let Some(call) = self.script.get("call") else {
            return Ok(input);
        };
        let mut words = call.split_whitespace();
        let target = words.next().expect("call names its target");
        let models = models();
        let given = models.call(request, target, words.next(), input).await?;
        let Payload::Tensors(tensors) = given else {
            return Ok(given);
        };
        Ok(Payload::Tensors(
            tensors
                .iter()
                .map(|tensor| tensor.with_name("input"))
                .collect(),
        ))
    }

    fn traps_on(&self, input: &Payload) -> bool {
        let Some(number) = self.script.number::<f32>("trap-on") else {
            return false;
        };
        match input {
            Payload::Tensors(_) => crate::values(input).contains(&number),
            Payload::Body(body) => numbers(&body.data).is_ok_and(|input| input.contains(&number)),
        }
    }

    fn scaled(&self, values: impl IntoIterator<Item = f32>) -> Vec<f32> {
        let scale: f32 = self.script.number("scale").unwrap_or(1.0);
        values.into_iter().map(|value| value * scale).collect()
    }
}

impl Plugin for FakePlugin {
    fn info(&self) -> &PluginInfo {
        &self.info
    }

    fn preprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            self.call(Some(&input)).await?;
            if self.script.has("keep-body") {
                return Ok(input);
            }
            let values = match &input {
                Payload::Tensors(_) => crate::values(&input),
                Payload::Body(body) => numbers(&body.data)?,
            };
            let values = self.scaled(values);
            let shape = [1, values.len() as u64];
            let tensor = Tensor::from_vec("input", shape, values).map_err(Error::internal)?;
            self.called(request, tensor).await
        })
    }

    fn postprocess<'a>(
        &'a self,
        _request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async move {
            self.call(Some(&output)).await?;
            let mut words: Vec<String> = match &output {
                Payload::Tensors(_) => self
                    .scaled(crate::values(&output))
                    .iter()
                    .map(f32::to_string)
                    .collect(),
                Payload::Body(_) => vec![crate::text(&output)],
            };
            words.extend(self.script.get("tag").map(str::to_owned));
            Ok(Payload::Body(Body {
                media_type: "text/plain".into(),
                data: Bytes::from(words.join(" ")),
            }))
        })
    }

    fn route<'a>(
        &'a self,
        _request: &'a Arc<RequestContext>,
        candidates: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>> {
        Box::pin(async move {
            self.call(None).await?;
            let Some(label) = self.script.get("pick") else {
                return Ok(0);
            };
            candidates
                .iter()
                .position(|candidate| candidate.labels.iter().any(|known| known == label))
                .ok_or_else(|| {
                    let message = "no candidate has this label";
                    Error::new(ErrorKind::NotFound, message).said_by_guest()
                })
        })
    }

    fn filter_tokens<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Vec<Token>>>>> {
        Box::pin(async {
            self.call(None).await?;
            let filter = FakeFilter::<Token>::new(&self.script);
            Ok(Box::new(filter) as Box<dyn Filter<Vec<Token>>>)
        })
    }

    fn filter_chunks<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        _: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Bytes>>>> {
        Box::pin(async {
            self.call(None).await?;
            let filter = FakeFilter::<u8>::new(&self.script);
            Ok(Box::new(filter) as Box<dyn Filter<Bytes>>)
        })
    }

    fn health(&self) -> PluginHealth {
        *self.health.lock()
    }
}

impl Drop for FakePlugin {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            counts.live.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The numbers of a text; the body is the client's, so anything else is its mistake.
fn numbers(text: &[u8]) -> Result<Vec<f32>> {
    std::str::from_utf8(text)
        .ok()
        .and_then(|text| {
            text.split_whitespace()
                .map(|word| word.parse().ok())
                .collect()
        })
        .ok_or_else(|| Error::invalid("body", "the body is numbers with spaces between"))
}
