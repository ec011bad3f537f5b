//! What is fuzzed: each target takes any bytes, and must neither panic nor take long over them.
//!
//! `fuzz_targets` hands the targets to libFuzzer, and the test in `tests` calls them with the committed corpora.

mod puppet;

pub use puppet::called;

/// A target by its name, which is also that of its corpus.
pub type Target = (&'static str, fn(&[u8]));

/// Everything that reads untrusted bytes with code of its own.
pub const TARGETS: [Target; 10] = [
    // A request for inference in JSON.
    ("oip_json", wharf_server::fuzzing::oip_json),
    // The same of the native endpoint.
    ("native_json", wharf_server::fuzzing::native_json),
    // A body of JSON and binary data: the length of the JSON in two bytes, little-endian, and the body.
    ("binary_split", wharf_server::fuzzing::binary_split),
    // A message of `ModelInfer`.
    ("grpc_contents", wharf_server::fuzzing::grpc_contents),
    // A model file, walked for data that it keeps elsewhere.
    ("onnx_walk", wharf_engine::fuzzing::onnx_walk),
    // The text of `plugins/NAME.toml`.
    ("plugin_settings", wharf_sandbox::fuzzing::plugin_settings),
    // The lengths of a key and a signature in two bytes, these, and a component.
    ("plugin_signature", wharf_sandbox::fuzzing::plugin_signature),
    // Choices of names and types, of which a component is made.
    ("plugin_contract", wharf_sandbox::fuzzing::plugin_contract),
    // A component, loaded as a plugin.
    ("plugin_component", wharf_sandbox::fuzzing::plugin_component),
    // A program of host calls, which a guest makes.
    ("imports", |program| drop(called(program))),
];

/// Runs a target.
///
/// # Panics
/// Where the target does, or there is none of that name.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    let (_, target) = target.expect("the name is that of a target");
    target(input);
}
