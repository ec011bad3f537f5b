//! What a call of a model by a guest adds, without the model. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `ensemble`: it makes another handle of its input for each call, and reads each answer. The target
//! gives its input back at once. A stage call that makes many is compared with one that makes few.

#[path = "ground/ground.rs"]
mod ground;
#[path = "ground/same.rs"]
mod same;
#[path = "ground/stage.rs"]
mod stage;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use wharf_core::{ModelCalls, Payload, PluginHost, RequestContext, Tensor};
use wharf_sandbox::Config;

use ground::{Guests, line};
use same::Same;
use stage::{Pace, median_call};

/// The calls of a stage call that makes few.
const FEW: u32 = 2;

/// The calls of one that makes many.
const MANY: u32 = 102;

const SETTINGS: &str = "isolation = \"shared\"\n[grants.model]\ntargets = [\"same\"]\n";

fn main() {
    let runtime = ground::runtime();
    let _entered = runtime.enter();
    let guests = Guests::new();
    let sandbox = ground::sandbox(Config::default());
    let models: Arc<dyn ModelCalls> = Arc::new(Same);
    sandbox.connect(Arc::downgrade(&models));
    guests.add("ensemble", "ensemble", SETTINGS);
    let ensemble = guests.load(&sandbox, "ensemble");
    let input = Tensor::from_vec("x", [1, 4], vec![1.5_f32; 4]).expect("it fits its shape");
    let input = Payload::Tensors(vec![input]);
    let pace = Pace {
        calls: 1000,
        every: Duration::ZERO,
    };
    for (what, way) in [("one after the other", "one"), ("at once", "all")] {
        let measure = |times| {
            let request = request(times, way);
            runtime.block_on(median_call(&ensemble, &request, &|| input.clone(), pace))
        };
        let added = measure(MANY).saturating_sub(measure(FEW)) / (MANY - FEW);
        line(
            &format!("call of a model by a guest, {what}"),
            added,
            Some(5.0),
        );
    }
}

/// A request whose header fields tell the guest how often to call, and in which way.
fn request(times: u32, way: &str) -> Arc<RequestContext> {
    let mut fields = HeaderMap::new();
    fields.insert("x-targets", "same".parse().expect("a value"));
    fields.insert("x-times", times.into());
    fields.insert("x-way", way.parse().expect("a value"));
    ground::request(fields)
}
