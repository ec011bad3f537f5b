//! What a call of a model by a guest adds, without the model. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `ensemble`: it makes another handle of its input for each call, and reads each answer. The target
//! gives its input back at once. A stage call that makes many is compared with one that makes few.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::HeaderMap;
use wharf_core::{
    BoxFuture, Headers, ModelCalls, Name, Payload, Plugin, PluginFile, PluginHost, RequestContext,
    Result, Scheduling, Tensor,
};
use wharf_sandbox::{Config, Sandbox};

/// The program's allocator, for the buffers of both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The calls of a stage call that makes few.
const FEW: u32 = 2;

/// The calls of one that makes many.
const MANY: u32 = 102;

/// Gives what it is given.
struct Same;

impl ModelCalls for Same {
    fn call<'a>(
        &'a self,
        _request: &'a Arc<RequestContext>,
        _target: &'a str,
        _version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>> {
        Box::pin(async { Ok(input) })
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let site = tempfile::tempdir().expect("a temporary folder");
    let sandbox =
        Sandbox::new(Config::default(), &opentelemetry::global::meter("bench")).expect("a sandbox");
    let models: Arc<dyn ModelCalls> = Arc::new(Same);
    sandbox.connect(Arc::downgrade(&models));
    let ensemble = load(&sandbox, site.path());
    for (what, way) in [("one after the other", "one"), ("at once", "all")] {
        let measure = |times| runtime.block_on(median(&ensemble, &request(times, way)));
        let added = measure(MANY).saturating_sub(measure(FEW)) / (MANY - FEW);
        let figure = added.as_secs_f64() * 1e6;
        println!("call of a model by a guest, {what}|{figure:.3}|us|5");
    }
}

/// Loads the guest `ensemble`, kept.
fn load(sandbox: &Sandbox, site: &Path) -> Arc<dyn Plugin> {
    let guests = PathBuf::from(
        std::env::var_os("WHARF_TEST_GUESTS").expect("WHARF_TEST_GUESTS: cargo xtask guests"),
    );
    let folder = site.join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    let guest = folder.join("ensemble.wasm");
    std::fs::copy(guests.join("ensemble.wasm"), guest).expect("the guest ensemble");
    let settings = "isolation = \"shared\"\n[grants.model]\ntargets = [\"same\"]\n";
    std::fs::write(folder.join("ensemble.toml"), settings).expect("settings");
    let file = PluginFile {
        site: site.to_owned(),
        name: Name::new("ensemble").expect("a name"),
    };
    let release = sandbox.read(&file).expect("the plugin is read");
    sandbox.load(&release).expect("the plugin is loaded")
}

/// A request whose header fields tell the guest how often to call, and in which way.
fn request(times: u32, way: &str) -> Arc<RequestContext> {
    let mut fields = HeaderMap::new();
    fields.insert("x-targets", "same".parse().expect("a value"));
    fields.insert("x-times", times.into());
    fields.insert("x-way", way.parse().expect("a value"));
    Arc::new(RequestContext {
        id: "bench".into(),
        route: "bench".into(),
        tenant: None,
        headers: Headers::new(fields),
        deadline: Instant::now() + Duration::from_secs(600),
        scheduling: Scheduling::default(),
        depth: 0,
    })
}

/// The median time of a stage call.
async fn median(plugin: &Arc<dyn Plugin>, request: &Arc<RequestContext>) -> Duration {
    const CALLS: usize = 1000;
    let input = Tensor::from_vec("x", [1, 4], vec![1.5_f32; 4]).expect("it fits its shape");
    let input = Payload::Tensors(vec![input]);
    let mut times = Vec::with_capacity(CALLS);
    for call in 0..CALLS + CALLS / 10 {
        let input = input.clone();
        let started = Instant::now();
        let output = plugin.preprocess(request, input).await;
        let time = started.elapsed();
        black_box(output.expect("the guest answers"));
        if call >= CALLS / 10 {
            times.push(time);
        }
        tokio::task::yield_now().await;
    }
    times.sort();
    times[times.len() / 2]
}
