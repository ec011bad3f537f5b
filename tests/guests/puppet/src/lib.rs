//! Makes the host calls that its body lists: a program of bytes, each call a byte with its arguments behind it. Whatever the bytes
//! are, they are a program. The answer names the functions of the contract that were called, a line each; an empty program gives
//! an empty one.
//!
//! It calls the contract's own bindings, past the SDK, so that the host sees arguments that no plugin of the SDK would give it. What it
//! makes goes into a program's shelves, and later calls take it from there: that is how a tensor comes to a model.
#![cfg(target_arch = "wasm32")]

mod calls;
mod program;

use wharf_plugin_sdk::{
    Body, Lifecycle, Metric, NoSettings, Payload, Plugin, Preprocess, Request, Result,
};

use calls::{CALLS, Machine};

struct Puppet;

impl Plugin for Puppet {
    type Settings = NoSettings;

    fn new(_settings: NoSettings) -> Result<Self> {
        Ok(Self)
    }
}

impl Preprocess for Puppet {
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        let program = input.body()?.bytes();
        let called = Machine::new(request, &program).run();
        let names: Vec<&str> = called.into_iter().collect();
        Ok(Body::new("text/plain", names.join("\n").as_bytes()).into())
    }
}

impl Lifecycle for Puppet {
    const METRICS: &'static [Metric] = &[
        Metric::counter("puppet_calls_total", "What a program adds."),
        Metric::gauge("puppet_level", "What a program sets."),
        Metric::histogram("puppet_sizes", "What a program observes."),
    ];

    fn self_test(&self) -> Result<()> {
        // A call that is listed twice would be reached half as often.
        let mut names: Vec<&str> = CALLS.iter().map(|(name, _)| *name).collect();
        names.sort_unstable();
        names.dedup();
        match names.len() == CALLS.len() {
            true => Ok(()),
            false => Err(wharf_plugin_sdk::Error::failed("a call is listed twice")),
        }
    }
}

wharf_plugin_sdk::export!(Puppet: preprocess, lifecycle);
