//! What a call into a plugin costs, through the port that the pipeline uses. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `scale`: it reads an FP32 tensor, multiplies it, and returns it; bodies pass through.

#[path = "ground/ground.rs"]
mod ground;
#[path = "ground/many.rs"]
mod many;
#[path = "ground/stage.rs"]
mod stage;

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use wharf_core::{Body, Payload, Plugin, Tensor};
use wharf_sandbox::Config;

use ground::{Guests, line};
use many::median_of;
use stage::{Pace, median_call};

/// The floats of a picture of 3 x 224 x 224, 600 KB.
const PICTURE: usize = 3 * 224 * 224;

fn main() {
    let runtime = ground::runtime();
    let _entered = runtime.enter();
    let guests = Guests::new();
    let sandbox = ground::sandbox(Config::default());
    let load = |name: &str, isolation: &str| {
        guests.add(name, "scale", &format!("isolation = \"{isolation}\"\n"));
        guests.load(&sandbox, name)
    };
    let kept = load("kept", "shared");
    let isolated = load("isolated", "request");
    let request = ground::request(HeaderMap::new());

    let body = || {
        Payload::Body(Body {
            media_type: "text/plain".into(),
            data: Bytes::from_static(b"0123456789"),
        })
    };
    let small = floats(4);
    let picture = floats(PICTURE);
    let measure = |plugin: &Arc<dyn Plugin>, input: &dyn Fn() -> Payload, calls| {
        let every = Duration::ZERO;
        runtime.block_on(median_call(plugin, &request, input, Pace { calls, every }))
    };
    // What a request waits for: instances stand ready, as they do unless requests come faster than instances are made. 5,000 calls a
    // second leave time to make them.
    let measure_ready = |plugin: &Arc<dyn Plugin>, input: &dyn Fn() -> Payload, calls| {
        let every = Duration::from_micros(200);
        runtime.block_on(median_call(plugin, &request, input, Pace { calls, every }))
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
    println!("600 KB kept / native|{:.3}|times|2.5", ratio(kept_picture));
    println!(
        "600 KB isolated / native|{:.3}|times|2.5",
        ratio(isolated_picture)
    );
}

fn floats(count: usize) -> Payload {
    let tensor = Tensor::from_vec("x", [1, count as u64], vec![1.5_f32; count])
        .expect("the count fits the shape");
    Payload::Tensors(vec![tensor])
}

/// The same work without a plugin: a fresh buffer with each float multiplied.
fn native_loop() -> Duration {
    let input = vec![1.5_f32; PICTURE];
    median_of(500, || -> Vec<f32> {
        black_box(&input)
            .iter()
            .map(|value| value * black_box(2.0))
            .collect()
    })
}
