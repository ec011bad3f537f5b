//! What plugins cost by the language that they are written in, through the port that the pipeline uses. `cargo xtask bench` prints
//! the lines: `what|figure|unit|at most`.
//!
//! The guests are the probes of `tests/languages`, and `echo` and `scale` for Rust: they pass a body on, or multiply FP32 tensors.

#[path = "ground/ground.rs"]
mod ground;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use wharf_core::{Body, Payload, Plugin, Result, Tensor};
use wharf_sandbox::{Config, Sandbox};

use ground::Guests;

/// A language, the guest that passes a body on, and the one that multiplies.
const LANGUAGES: [(&str, &str, &str); 4] = [
    ("Rust", "echo", "scale"),
    ("C", "probe-c", "probe-c"),
    ("JavaScript", "probe-javascript", "probe-javascript"),
    ("Python", "probe-python", "probe-python"),
];

/// The floats of a picture of 3 x 224 x 224, 600 KB.
const PICTURE: usize = 3 * 224 * 224;

fn main() {
    let runtime = ground::runtime();
    let _entered = runtime.enter();
    for (language, passes, multiplies) in LANGUAGES {
        let bench = Bench::new();
        let line = |what: &str, time| ground::line(what, time, None);
        let size = bench.add("isolated", passes, "request");
        bench.add("kept", passes, "shared");
        bench.add("multiplies", multiplies, "shared");
        println!(
            "{language}: size|{:.3}|MiB|",
            size as f64 / f64::from(1 << 20)
        );

        let (isolated, compiled) = bench.load(&bench.sandbox(), "isolated");
        line(&format!("{language}: first load, compiled"), compiled);
        drop(isolated);
        // As after a start of the host: the machine code comes from the cache.
        let sandbox = bench.sandbox();
        let (isolated, cached) = bench.load(&sandbox, "isolated");
        line(&format!("{language}: load from the cache"), cached);
        let (kept, _) = bench.load(&sandbox, "kept");
        let (multiplies, _) = bench.load(&sandbox, "multiplies");

        let measure = |plugin: &Arc<dyn Plugin>, behaviour: Behaviour, pace: Duration| {
            runtime.block_on(median_call(plugin, behaviour, pace))
        };
        for (what, plugin, behaviour, pace) in [
            ("call, kept", &kept, Behaviour::Pass, Duration::ZERO),
            (
                "call, isolated, instances ready",
                &isolated,
                Behaviour::Pass,
                // Time to make the next instance before it is asked for.
                Duration::from_millis(10),
            ),
            (
                "call, isolated, back to back",
                &isolated,
                Behaviour::Pass,
                Duration::ZERO,
            ),
            (
                "4 floats doubled, kept",
                &multiplies,
                Behaviour::Double(4),
                Duration::ZERO,
            ),
            (
                "600 KB of floats doubled, kept",
                &multiplies,
                Behaviour::Double(PICTURE),
                Duration::ZERO,
            ),
        ] {
            line(
                &format!("{language}: {what}"),
                measure(plugin, behaviour, pace),
            );
        }
    }
}

/// Guests, and a cache of their own, so that the first load compiles.
struct Bench {
    guests: Guests,
    cache: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self {
            guests: Guests::new(),
            cache: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn sandbox(&self) -> Sandbox {
        let config = Config {
            cache_folder: Some(self.cache.path().to_owned()),
            ..Config::default()
        };
        ground::sandbox(config)
    }

    /// Adds a guest under a name. Gives the size of its component.
    fn add(&self, name: &str, guest: &str, isolation: &str) -> u64 {
        // A picture as a list of Python's floats takes its time.
        let settings = format!("isolation = \"{isolation}\"\n[limits]\ncall_ms = 10000\n");
        self.guests.add(name, guest, &settings)
    }

    fn load(&self, sandbox: &Sandbox, name: &str) -> (Arc<dyn Plugin>, Duration) {
        let started = Instant::now();
        let plugin = self.guests.load(sandbox, name);
        (plugin, started.elapsed())
    }
}

/// What the guest is asked for.
#[derive(Clone, Copy)]
enum Behaviour {
    Pass,
    Double(usize),
}

impl Behaviour {
    fn input(self) -> Payload {
        match self {
            Self::Pass => Payload::Body(Body {
                media_type: "text/plain".into(),
                data: Bytes::from_static(b"0123456789"),
            }),
            Self::Double(count) => {
                let tensor = Tensor::from_vec("x", [1, count as u64], vec![1.5_f32; count])
                    .expect("the count fits the shape");
                Payload::Tensors(vec![tensor])
            }
        }
    }

    fn headers(self) -> HeaderMap {
        match self {
            Self::Pass => HeaderMap::new(),
            Self::Double(_) => {
                let name = http::HeaderName::from_static("x-behaviour");
                let value = http::HeaderValue::from_static("double");
                [(name, value)].into_iter().collect()
            }
        }
    }
}

/// The median time of a call. Between calls the runtime may do what it does between requests, such as make instances.
async fn median_call(plugin: &Arc<dyn Plugin>, behaviour: Behaviour, pace: Duration) -> Duration {
    let request = ground::request(behaviour.headers());
    let mut times = Vec::new();
    let begun = Instant::now();
    // Enough for a median, but no more than seconds of what takes long.
    while times.len() < 2_000 && (times.len() < 20 || begun.elapsed() < Duration::from_secs(2)) {
        let input = behaviour.input();
        let started = Instant::now();
        let output: Result<Payload> = plugin.preprocess(&request, input).await;
        times.push(started.elapsed());
        black_box(output.expect("the guest answers"));
        tokio::task::yield_now().await;
        while started.elapsed() < pace {
            tokio::task::yield_now().await;
        }
    }
    ground::median(times)
}
