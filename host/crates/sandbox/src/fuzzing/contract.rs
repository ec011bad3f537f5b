//! The shape of a component: its imports and exports, put together from what the contract has and from what it does not have.

use wasmtime::component::Component;

use super::SANDBOX;
use crate::abilities::Grants;
use crate::contract;

const PACKAGES: [&str; 4] = ["wharf:plugin", "wasi:io", "wasi:http", "other:package"];

const INTERFACES: [&str; 16] = [
    "types",
    "log",
    "metrics",
    "settings",
    "state",
    "model",
    "codec",
    "http",
    "secret",
    "preprocess",
    "postprocess",
    "router",
    "token-filter",
    "chunk-filter",
    "lifecycle",
    "toaster",
];

const VERSIONS: [&str; 8] = [
    "@1.0.0",
    "@1.1.0",
    "@1.2.0",
    "@2.0.0",
    "@0.2.3",
    "@1.1.0-rc.1",
    "",
    "@1.0.99",
];

const FUNCTIONS: [&str; 16] = [
    "process",
    "route",
    "open",
    "describe",
    "init",
    "self-test",
    "write",
    "add",
    "read",
    "get",
    "infer",
    "mirror",
    "send",
    "inspect-image",
    "no-such-function",
    "x",
];

const TYPES: [&str; 8] = [
    "u32",
    "string",
    "bool",
    "(list u8)",
    "(result)",
    "(option u64)",
    "(tuple f32 s64)",
    "(list string)",
];

/// Makes a component out of bytes, and compares it with the contract: each chooses a name or a type.
///
/// # Panics
/// Where the comparison does.
pub fn plugin_contract(bytes: &[u8]) {
    // Either is an answer, and so is none.
    drop(compared(bytes));
}

/// What the comparison says of the component that bytes make; none where they make none: a name twice, or one that no component may
/// have.
#[must_use]
pub fn compared(bytes: &[u8]) -> Option<Result<String, String>> {
    let mut choices = Choices(bytes);
    let grants = if choices.below(2) == 0 {
        Grants::default()
    } else {
        let all = "state = true\ncodec = true\nmodel = { targets = ['*'] }";
        let table: toml::Table = all.parse().expect("it is TOML");
        Grants::parse(&toml::Value::Table(table)).expect("they are grants")
    };
    let binary = wat::parse_str(component(&mut choices)).ok()?;
    let component = Component::new(SANDBOX.linker().engine(), &binary).ok()?;
    Some(contract::check(SANDBOX.linker(), &component, &grants))
}

fn component(choices: &mut Choices<'_>) -> String {
    let mut text = String::from(
        "(component\n(core module $m (memory (export \"memory\") 1)\n\
         (func (export \"realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 0))\n\
         (func (export \"none\")) (func (export \"one\") (param i32)) (func (export \"given\") (result i32) (i32.const 0)))\n\
         (core instance $m (instantiate $m))\n\
         (func $none (canon lift (core func $m \"none\")))\n\
         (func $one (param \"x\" u32) (canon lift (core func $m \"one\")))\n\
         (func $given (result u32) (canon lift (core func $m \"given\")))\n\
         (func $text (result string) (canon lift (core func $m \"given\") (memory (core memory $m \"memory\"))))\n",
    );
    for at in 0..choices.below(4) {
        let functions: Vec<String> = (0..choices.below(4))
            .map(|_| {
                let (name, signature) = (choices.one_of(&FUNCTIONS), signature(choices));
                format!("(export \"{name}\" (func {signature}))")
            })
            .collect();
        let kind = match choices.below(8) {
            0 => "(func)".to_owned(),
            1 => format!("(instance (export \"r{at}\" (type (sub resource))))"),
            _ => format!("(instance {})", functions.join(" ")),
        };
        text += &format!("(import \"{}\" {kind})\n", name(choices));
    }
    for at in 0..1 + choices.below(4) {
        let functions: Vec<String> = (0..choices.below(4))
            .map(|_| {
                let function = choices.one_of(&["$none", "$one", "$given", "$text"]);
                format!(
                    "(export \"{}\" (func {function}))",
                    choices.one_of(&FUNCTIONS)
                )
            })
            .collect();
        text += &format!("(instance $i{at} {})\n", functions.join(" "));
        text += &match choices.below(8) {
            0 => format!("(export \"{}\" (func $none))\n", name(choices)),
            _ => format!("(export \"{}\" (instance $i{at}))\n", name(choices)),
        };
    }
    text + ")"
}

fn name(choices: &mut Choices<'_>) -> String {
    // Most are of the contract, or nothing behind the name would be looked at.
    let package = match choices.below(4) {
        0 => choices.one_of(&PACKAGES),
        _ => PACKAGES[0],
    };
    let (interface, version) = (choices.one_of(&INTERFACES), choices.one_of(&VERSIONS));
    format!("{package}/{interface}{version}")
}

fn signature(choices: &mut Choices<'_>) -> String {
    let parameters: Vec<String> = (0..choices.below(4))
        .map(|at| format!("(param \"p{at}\" {})", choices.one_of(&TYPES)))
        .collect();
    let result = match choices.below(2) {
        0 => String::new(),
        _ => format!("(result {})", choices.one_of(&TYPES)),
    };
    format!("{} {result}", parameters.join(" "))
}

/// Bytes that choose; zero once they are used up.
struct Choices<'a>(&'a [u8]);

impl Choices<'_> {
    fn below(&mut self, bound: usize) -> usize {
        let Some((byte, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        usize::from(*byte) % bound
    }

    fn one_of(&mut self, items: &[&'static str]) -> &'static str {
        items[self.below(items.len())]
    }
}
