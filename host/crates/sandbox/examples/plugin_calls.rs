//! What a call into a plugin costs, through the port that the pipeline uses. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `scale`: it reads an FP32 tensor, multiplies it, and returns it; bodies pass through.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wharf_core::{
    Body, Headers, Name, Payload, Plugin, PluginFile, PluginHost, RequestContext, Result, Tensor,
};
use wharf_sandbox::{Config, Sandbox};

/// The program's allocator, for the buffers of both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The floats of a picture of 3 x 224 x 224, 600 KB.
const PICTURE: usize = 3 * 224 * 224;

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
    let kept = load(&sandbox, site.path(), "kept", "shared");
    let isolated = load(&sandbox, site.path(), "isolated", "request");

    let body = || {
        Payload::Body(Body {
            media_type: "text/plain".into(),
            data: Bytes::from_static(b"0123456789"),
        })
    };
    let small = floats(4);
    let picture = floats(PICTURE);
    let measure = |plugin: &Arc<dyn Plugin>, input: &dyn Fn() -> Payload, calls| {
        runtime.block_on(median_call(plugin, input, calls, Pace::BackToBack))
    };
    // What a request waits for: instances stand ready, as they do unless requests come faster than instances are made.
    let measure_ready = |plugin: &Arc<dyn Plugin>, input: &dyn Fn() -> Payload, calls| {
        runtime.block_on(median_call(plugin, input, calls, Pace::Ready))
    };

    line(
        "call that passes a body on, kept",
        measure(&kept, &body, 20_000),
        Some(1.0),
    );
    line(
        "call that passes a body on, isolated, instances ready",
        measure_ready(&isolated, &body, 2_000),
        Some(10.0),
    );
    line(
        "call that passes a body on, isolated, back to back",
        measure(&isolated, &body, 2_000),
        None,
    );
    line(
        "4 floats read, scaled, returned, kept",
        measure(&kept, &|| small.clone(), 20_000),
        None,
    );
    line(
        "4 floats read, scaled, returned, isolated, instances ready",
        measure_ready(&isolated, &|| small.clone(), 2_000),
        None,
    );

    let native = native_loop();
    let kept_picture = measure(&kept, &|| picture.clone(), 500);
    let isolated_picture = measure(&isolated, &|| picture.clone(), 500);
    line("600 KB read, scaled, returned, native", native, None);
    line("600 KB read, scaled, returned, kept", kept_picture, None);
    line(
        "600 KB read, scaled, returned, isolated",
        isolated_picture,
        None,
    );
    let ratio = |time: Duration| time.as_secs_f64() / native.as_secs_f64();
    println!("600 KB kept / native|{:.3}|times|3", ratio(kept_picture));
    println!(
        "600 KB isolated / native|{:.3}|times|3",
        ratio(isolated_picture)
    );
}

/// Loads the guest `scale` under another name.
fn load(sandbox: &Sandbox, site: &std::path::Path, name: &str, isolation: &str) -> Arc<dyn Plugin> {
    let guests = PathBuf::from(
        std::env::var_os("WHARF_TEST_GUESTS").expect("WHARF_TEST_GUESTS: cargo xtask guests"),
    );
    let folder = site.join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(
        guests.join("scale.wasm"),
        folder.join(format!("{name}.wasm")),
    )
    .expect("the guest scale");
    std::fs::write(
        folder.join(format!("{name}.toml")),
        format!("isolation = \"{isolation}\"\n"),
    )
    .expect("settings");
    let file = PluginFile {
        site: site.to_owned(),
        name: Name::new(name).expect("a name"),
    };
    let release = sandbox.read(&file).expect("the plugin is read");
    sandbox.load(&release).expect("the plugin is loaded")
}

fn floats(count: usize) -> Payload {
    let tensor = Tensor::from_vec("x", [1, count as u64], vec![1.5_f32; count])
        .expect("the count fits the shape");
    Payload::Tensors(vec![tensor])
}

/// How fast the calls of a measurement come.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    /// One after another.
    BackToBack,
    /// 5,000 a second, so that there is time to make instances between them.
    Ready,
}

/// The median time of a call. Between calls the runtime may do what it does between requests, such as make instances.
async fn median_call(
    plugin: &Arc<dyn Plugin>,
    input: &dyn Fn() -> Payload,
    calls: usize,
    pace: Pace,
) -> Duration {
    let request = Arc::new(RequestContext {
        id: "bench".into(),
        route: "bench".into(),
        tenant: None,
        headers: Headers::default(),
        deadline: Instant::now() + Duration::from_secs(600),
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    });
    let mut times = Vec::with_capacity(calls);
    for call in 0..calls + calls / 10 {
        let input = input();
        let started = Instant::now();
        let output: Result<Payload> = plugin.preprocess(&request, input).await;
        let time = started.elapsed();
        black_box(output.expect("the guest answers"));
        if call >= calls / 10 {
            times.push(time);
        }
        tokio::task::yield_now().await;
        while pace == Pace::Ready && started.elapsed() < Duration::from_micros(200) {
            tokio::task::yield_now().await;
        }
    }
    times.sort();
    times[times.len() / 2]
}

/// The same work without a plugin: a fresh buffer with each float multiplied.
fn native_loop() -> Duration {
    let input = vec![1.5_f32; PICTURE];
    let mut times: Vec<Duration> = (0..500)
        .map(|_| {
            let started = Instant::now();
            let output: Vec<f32> = black_box(&input)
                .iter()
                .map(|value| value * black_box(2.0))
                .collect();
            let time = started.elapsed();
            black_box(output);
            time
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

fn line(what: &str, time: Duration, at_most_us: Option<f64>) {
    let bound = at_most_us
        .map(|bound| bound.to_string())
        .unwrap_or_default();
    println!("{what}|{:.3}|us|{bound}", time.as_secs_f64() * 1e6);
}
