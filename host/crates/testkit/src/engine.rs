//! A fake of the model runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use toml::{Table, Value};
use wharf_core::{
    BoxFuture, CacheLookup, Cancel, Datatype, Engine, Error, ErrorKind, Inference, LoadError,
    Model, ModelFolder, ModelInfo, ModelLoad, ModelVersion, ModelVersions, Name, Queueing,
    RequestContext, Result, Tenants, Tensor, TensorSpec, Timings, VersionPolicy,
};

use crate::gate::Gates;
use crate::script::{Script, digest};

/// A runtime whose models are scripts. A model gives its first input back as `output`, and does beside that what the lines
/// of its `model.onnx` say:
///
/// - `add X`: adds a number to each element;
/// - `inputs A B`: takes inputs of these names; else one of the name `input`;
/// - `input NAME DATATYPE SIZE..` and `output NAME DATATYPE SIZE..`, a line for each tensor, `*` for a size that each request
///   chooses: takes these inputs, and gives each back under the name of the output in its place. An input whose last word is
///   `optional` may be missing; so is its output then;
/// - `classes A B`: says what the elements of its outputs mean;
/// - `gate NAME`: waits at a gate in each call; `load-gate NAME`: waits there while it is loaded; `warm-up-gate NAME`: waits
///   there as well, and ends where the load is cancelled;
/// - `refuse KIND`: refuses each call with an error of this kind;
/// - `no-room`: says that it has no room; `unknown`: says that nobody knows its inputs and outputs; `rests`: says that it is
///   asked nothing for a while;
/// - `max-rows N`: joins so many rows; `times A B C D`: says that so many microseconds went into the queue, the inputs, the
///   run and the outputs; `cache hit N` or `cache miss N`: says what its cache came to in so many;
/// - `note`: keeps the requests that it is asked for; `levels N`: says that it has so many levels of priority;
/// - `broken`: cannot be loaded; `panic`: panics when it is loaded.
///
/// `model.toml` may hold `policy = "all"`: then every version serves; or a line `only VERSION`: then that one; and else the
/// newest. Those that a line `label NAME VERSION` names serve as well. Where it is TOML, `versions.list` and `versions.labels` say the
/// same as in a real one, and with a table `[registry]`, which is no part of the content, the model may have no version.
#[derive(Clone, Default)]
pub struct FakeEngine {
    /// Where its models wait.
    pub gates: Gates,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    loads: AtomicUsize,
    looks: AtomicUsize,
    live: AtomicUsize,
    dropped_by: Mutex<Vec<String>>,
    noted: Mutex<Vec<RequestContext>>,
}

impl FakeEngine {
    /// How many loads were asked for.
    #[must_use]
    pub fn loads(&self) -> usize {
        self.counts.loads.load(Ordering::SeqCst)
    }

    /// How often the content of a model folder was looked at.
    #[must_use]
    pub fn looks(&self) -> usize {
        self.counts.looks.load(Ordering::SeqCst)
    }

    /// How many models are loaded now.
    #[must_use]
    pub fn live(&self) -> usize {
        self.counts.live.load(Ordering::SeqCst)
    }

    /// The requests that came to models with the line `note`, in their order.
    #[must_use]
    pub fn noted(&self) -> Vec<RequestContext> {
        self.counts.noted.lock().clone()
    }

    /// The names of the threads that dropped models.
    #[must_use]
    pub fn dropped_by(&self) -> Vec<String> {
        self.counts.dropped_by.lock().clone()
    }
}

impl FakeEngine {
    /// The lines `label NAME VERSION` of `model.toml`.
    fn labels(folder: &ModelFolder) -> BTreeMap<Arc<str>, u64> {
        let path = folder.site.join("models").join(folder.name.as_str());
        let settings = fs::read_to_string(path.join("model.toml")).unwrap_or_default();
        if let Some(versions) = versions(&settings) {
            let labels = versions.get("labels").and_then(Value::as_table);
            let label = |(name, version): (&String, &Value)| {
                Some((name.as_str().into(), version.as_integer()?.try_into().ok()?))
            };
            return labels.into_iter().flatten().filter_map(label).collect();
        }
        let label = |line: &str| {
            let (name, version) = line.strip_prefix("label ")?.split_once(' ')?;
            Some((name.into(), version.parse().ok()?))
        };
        settings.lines().filter_map(label).collect()
    }

    /// The tenants of a line `tenants = ["NAME"]` of `model.toml`.
    fn tenants(folder: &ModelFolder) -> Tenants {
        let path = folder.site.join("models").join(folder.name.as_str());
        let settings = fs::read_to_string(path.join("model.toml")).unwrap_or_default();
        let line = settings
            .lines()
            .find_map(|line| line.strip_prefix("tenants = "));
        line.map_or_else(Tenants::default, |names| {
            let names = names.trim_matches(['[', ']']).split(',');
            let names = names.map(|name| name.trim_matches([' ', '"']));
            Tenants::only(names.map(|name| Name::new(name).expect("a name")))
        })
    }

    /// The version of a line `only VERSION` of `model.toml`, or those that `versions.list` has.
    fn only(folder: &ModelFolder) -> Option<Vec<u64>> {
        let path = folder.site.join("models").join(folder.name.as_str());
        let settings = fs::read_to_string(path.join("model.toml")).ok()?;
        if let Some(versions) = versions(&settings) {
            let listed = versions.get("list")?.as_array()?.iter();
            let number = |listed: &Value| listed.as_integer()?.try_into().ok();
            return Some(listed.filter_map(number).collect());
        }
        let version = settings
            .lines()
            .find_map(|line| line.strip_prefix("only "))?;
        Some(vec![version.parse().ok()?])
    }

    /// Every version of a folder, and whether the policy is to serve all.
    fn found(folder: &ModelFolder) -> Result<(BTreeMap<u64, ModelVersion>, bool), LoadError> {
        let path = folder.site.join("models").join(folder.name.as_str());
        let settings = fs::read_to_string(path.join("model.toml")).unwrap_or_default();
        let refused = |message: &str| {
            let file = format!("models/{}/model.toml", folder.name);
            LoadError::new(file, message.to_owned())
        };
        if settings.contains("broken") {
            return Err(refused("broken by script").with_key("broken"));
        }
        let entries =
            fs::read_dir(&path).map_err(|error| refused("no folder").with_source(error))?;
        let versions: BTreeMap<u64, ModelVersion> = entries
            .filter_map(|entry| {
                let version = entry.ok()?.file_name().to_str()?.parse().ok()?;
                let content = fs::read(path.join(format!("{version}/model.onnx"))).ok()?;
                let found = ModelVersion {
                    site: folder.site.clone(),
                    name: folder.name.clone(),
                    version,
                    digest: digest(&[&content, loaded_with(&settings).as_bytes()]),
                };
                Some((version, found))
            })
            .collect();
        if versions.is_empty()
            && table(&settings).is_none_or(|table| !table.contains_key("registry"))
        {
            return Err(refused("there is no version; add a folder 1"));
        }
        Ok((versions, settings.contains("policy = \"all\"")))
    }
}

fn table(settings: &str) -> Option<Table> {
    settings.parse().ok()
}

fn versions(settings: &str) -> Option<Table> {
    match table(settings)?.remove("versions")? {
        Value::Table(versions) => Some(versions),
        _ => None,
    }
}

/// The settings that a version is loaded with.
fn loaded_with(settings: &str) -> String {
    match table(settings) {
        Some(mut table) if table.contains_key("registry") => {
            table.remove("registry");
            table.remove("versions");
            table.to_string()
        }
        _ => settings.to_owned(),
    }
}

impl Engine for FakeEngine {
    fn versions(&self, folder: &ModelFolder) -> Result<ModelVersions, LoadError> {
        self.counts.looks.fetch_add(1, Ordering::SeqCst);
        let (versions, all) = Self::found(folder)?;
        let labels = Self::labels(folder);
        let newest = versions.keys().last().copied();
        let picked = Self::only(folder).unwrap_or_else(|| newest.into_iter().collect());
        let (mut serve, mut idle) = (Vec::new(), Vec::new());
        let mut only_labelled = BTreeSet::new();
        for (number, version) in versions {
            let is_picked = all || picked.contains(&number);
            if !is_picked && !labels.values().any(|named| *named == number) {
                idle.push(number);
                continue;
            }
            if !is_picked {
                only_labelled.insert(number);
            }
            serve.push(version);
        }
        Ok(ModelVersions {
            serve,
            idle,
            only_labelled,
            labels,
            tenants: Self::tenants(folder),
        })
    }

    fn version_below(
        &self,
        folder: &ModelFolder,
        version: u64,
    ) -> Result<Option<ModelVersion>, LoadError> {
        let (mut versions, all) = Self::found(folder)?;
        versions.retain(|number, _| *number < version && !all && Self::only(folder).is_none());
        Ok(versions.pop_last().map(|(_, found)| found))
    }

    fn load(&self, version: &ModelVersion, cancel: &Cancel) -> Result<Arc<dyn Model>, LoadError> {
        self.counts.loads.fetch_add(1, Ordering::SeqCst);
        let file = format!("models/{}/{}/model.onnx", version.name, version.version);
        let refused = |message: &str| LoadError::new(file.as_str(), message.to_owned());
        let text = fs::read_to_string(version.site.join(&file))
            .map_err(|error| refused("it cannot be read").with_source(error))?;
        let script = Script::parse(&text).ok_or_else(|| refused("the file is cut short"))?;
        assert!(!script.has("panic"), "panic by script");
        if let Some(gate) = script.get("load-gate") {
            self.gates.get(gate).pass_blocking();
        }
        if let Some(gate) = script.get("warm-up-gate")
            && !self.gates.get(gate).pass_unless(|| cancel.is_cancelled())
        {
            return Err(Cancel::error(file));
        }
        if script.has("broken") {
            return Err(refused("broken by script"));
        }
        let mut model = FakeModel::of(script, &version.name, version.version);
        model.info.digest = version.digest;
        model.gates = self.gates.clone();
        self.counts.live.fetch_add(1, Ordering::SeqCst);
        model.counts = Some(Arc::clone(&self.counts));
        Ok(Arc::new(model))
    }
}

/// A model that is a script.
pub struct FakeModel {
    info: ModelInfo,
    script: Script,
    gates: Gates,
    in_flight: AtomicU32,
    counts: Option<Arc<Counts>>,
}

impl FakeModel {
    /// Makes a model of the lines of a script, without an engine.
    ///
    /// # Panics
    /// Where the name is none.
    #[must_use]
    pub fn new(name: &str, version: u64, lines: &str) -> Self {
        let script = Script::parse(&format!("{lines}\n{}", crate::script::END));
        let name = Name::new(name).expect("a valid name");
        Self::of(script.unwrap_or_default(), &name, version)
    }

    fn of(script: Script, name: &Name, version: u64) -> Self {
        let plain = |name: &str| TensorSpec::new(name, Datatype::Fp32, vec![None, None]);
        let or = |specs: Vec<TensorSpec>, names: &str| match specs.is_empty() {
            true => names.split_whitespace().map(plain).collect(),
            false => specs,
        };
        let inputs = script.get("inputs").unwrap_or("input");
        let mut outputs = or(script.all("output").map(spec).collect(), "output");
        if let Some(classes) = script.get("classes") {
            let classes: Arc<[Arc<str>]> = classes.split_whitespace().map(Arc::from).collect();
            for output in &mut outputs {
                output.classes = Some(Arc::clone(&classes));
            }
        }
        Self {
            info: ModelInfo {
                name: name.clone(),
                version,
                digest: digest(&[]),
                platform: "fake",
                device: "cpu".to_owned(),
                inputs: or(script.all("input").map(spec).collect(), inputs),
                outputs,
                max_batch_rows: script.number("max-rows").unwrap_or(1),
                instances: 1,
                policy: VersionPolicy::Latest(1),
                queueing: Queueing {
                    priority_levels: script.number("levels").unwrap_or(0),
                    ..Queueing::default()
                },
            },
            script,
            gates: Gates::default(),
            in_flight: AtomicU32::new(0),
            counts: None,
        }
    }
}

impl FakeModel {
    /// What the script says of where the time went.
    fn timings(&self, rows: u64) -> Timings {
        let times = self.script.get("times").unwrap_or_default();
        let mut times = times.split(' ').map(|time| time.parse().unwrap_or(0));
        let mut next = || Duration::from_micros(times.next().unwrap_or(0));
        let cache = self.script.get("cache").and_then(|cache| {
            let (word, time) = cache.split_once(' ')?;
            let time = Duration::from_micros(time.parse().ok()?);
            Some(match word {
                "hit" => CacheLookup::Hit(time),
                _ => CacheLookup::Miss(time),
            })
        });
        Timings {
            queue: next(),
            compute_input: next(),
            compute_infer: next(),
            compute_output: next(),
            run_rows: (!matches!(cache, Some(CacheLookup::Hit(_)))).then_some(rows),
            cache,
        }
    }
}

impl FakeModel {
    /// The inputs under the names of the outputs.
    fn repeat(&self, inputs: &[Tensor]) -> Inference {
        let specs = self.info.inputs.iter().zip(&self.info.outputs);
        let outputs = specs.filter_map(|(input, output)| {
            let input = inputs.iter().find(|given| given.name() == &*input.name)?;
            Some(input.with_name(Arc::clone(&output.name)))
        });
        Inference {
            outputs: outputs.collect(),
            timings: Timings {
                run_rows: Some(inputs.first().map_or(1, Tensor::rows)),
                ..Timings::default()
            },
        }
    }
}

/// What a line `input` or `output` says.
fn spec(line: &str) -> TensorSpec {
    let mut words = line.split_whitespace();
    let name = words.next().expect("a tensor has a name");
    let datatype = words.next().and_then(|name| name.parse().ok());
    let mut spec = TensorSpec::new(name, datatype.expect("a tensor has a datatype"), vec![]);
    for word in words {
        match word {
            "optional" => spec.optional = true,
            "*" => spec.shape.push(None),
            size => spec
                .shape
                .push(Some(size.parse().expect("a size is a number or *"))),
        }
    }
    spec
}

impl Model for FakeModel {
    fn info(&self) -> &ModelInfo {
        &self.info
    }

    fn is_described(&self) -> bool {
        !self.script.has("unknown")
    }

    fn check_room(&self) -> Result<()> {
        match self.script.has("no-room") {
            true => Err(Error::new(ErrorKind::Unavailable, "no room by script")),
            false => Ok(()),
        }
    }

    fn infer<'a>(
        &'a self,
        request: &'a RequestContext,
        inputs: Vec<Tensor>,
    ) -> BoxFuture<'a, Result<Inference>> {
        Box::pin(async move {
            let _running = Running::start(&self.in_flight);
            if let Some(counts) = self.counts.as_ref().filter(|_| self.script.has("note")) {
                counts.noted.lock().push(request.clone());
            }
            for spec in self.info.inputs.iter().filter(|spec| !spec.optional) {
                if !inputs.iter().any(|input| input.name() == &*spec.name) {
                    return Err(Error::invalid(
                        spec.name.to_string(),
                        "the input is missing",
                    ));
                }
            }
            if let Some(gate) = self.script.get("gate") {
                self.gates.get(gate).pass().await;
            }
            if let Some(error) = self.script.refusal() {
                return Err(error);
            }
            if self.script.has("output") {
                return Ok(self.repeat(&inputs));
            }
            let add: f32 = self.script.number("add").unwrap_or(0.0);
            let input = &inputs[0];
            let elements = input
                .as_slice::<f32>()
                .map_err(|error| error.in_field(input.name()))?;
            let sums: Vec<f32> = elements.iter().map(|element| element + add).collect();
            let output = Tensor::from_vec("output", input.shape().clone(), sums);
            Ok(Inference {
                outputs: vec![output.map_err(Error::internal)?],
                timings: self.timings(input.rows()),
            })
        })
    }

    fn load(&self) -> ModelLoad {
        ModelLoad {
            in_flight: self.in_flight.load(Ordering::SeqCst),
            rests: self.script.has("rests"),
            ..ModelLoad::default()
        }
    }
}

impl Drop for FakeModel {
    fn drop(&mut self) {
        if let Some(counts) = &self.counts {
            counts.live.fetch_sub(1, Ordering::SeqCst);
            let thread = std::thread::current();
            let name = thread.name().unwrap_or_default().to_owned();
            counts.dropped_by.lock().push(name);
        }
    }
}

/// Counts a call while it runs.
struct Running<'a>(&'a AtomicU32);

impl<'a> Running<'a> {
    fn start(count: &'a AtomicU32) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
