//! Every file of the corpora, and some thousands of changes of each corpus, through its target. It needs no fuzzer: it
//! guards what fuzzers found, and finds the coarse faults by itself. The changes are the same in every run.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use wharf_fuzz::{TARGETS, Target};

/// Changes of each corpus, and of those whose inputs take longer: a component is compiled, and a program runs in a guest.
const CHANGES: usize = 100_000;
const FEWER: [(&str, usize); 3] = [
    ("plugin_contract", 20_000),
    ("plugin_component", 5_000),
    ("imports", 5_000),
];
/// The longest that one input may take, on a slow machine in the dev profile.
const PATIENCE: Duration = Duration::from_secs(2);

/// What formats are made of: put into inputs, they get further than random bytes.
const PIECES: [&[u8]; 26] = [
    b"[",
    b"]",
    b"{",
    b"}",
    b"\"",
    b",",
    b":",
    b"\\u0000",
    b"-",
    b"1e9999",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"null",
    b"NaN",
    b"-Infinity",
    b"true",
    b"\"data\":",
    b"\"shape\":[",
    b"\"binary_data_size\":",
    b"\"BYTES\"",
    b"\"BF16\"",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\xff\xff\xff\xff\x0f",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"../",
];

#[test]
fn oip_json() {
    replay("oip_json");
}

#[test]
fn native_json() {
    replay("native_json");
}

#[test]
fn binary_split() {
    replay("binary_split");
}

#[test]
fn grpc_contents() {
    replay("grpc_contents");
}

#[test]
fn onnx_walk() {
    replay("onnx_walk");
}

#[test]
fn plugin_settings() {
    replay("plugin_settings");
}

#[test]
fn plugin_signature() {
    replay("plugin_signature");
}

#[test]
fn plugin_contract() {
    replay("plugin_contract");
}

#[test]
fn plugin_component() {
    replay("plugin_component");
}

#[test]
fn imports() {
    replay("imports");
}

#[test]
fn what_choices_make_is_compared_with_the_contract_and_differs_in_many_ways() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let (mut compared, mut said) = (0, BTreeSet::new());
    for _ in 0..2000 {
        let choices: Vec<u8> = (0..64).map(|_| dice.next() as u8).collect();
        if let Some(answer) = wharf_sandbox::fuzzing::compared(&choices) {
            compared += 1;
            said.insert(answer);
        }
    }
    assert!(compared > 500, "{compared} of 2000 were compared");
    assert!(said.len() > 100, "{} different answers", said.len());
}

#[test]
fn every_function_of_the_contract_is_called() {
    let called: BTreeSet<String> = corpus("imports")
        .iter()
        .flat_map(|program| wharf_fuzz::called(program))
        .collect();
    let functions = wharf_sandbox::fuzzing::functions();
    assert!(functions.len() > 50, "{functions:?}");
    let forgotten: Vec<_> = functions
        .iter()
        .filter(|function| !called.contains(*function))
        .collect();
    assert!(
        forgotten.is_empty(),
        "no program calls {forgotten:?}: add the calls to tests/guests/puppet, and programs to plugin_seeds.py"
    );
}

#[test]
fn every_target_has_a_test() {
    // Those above.
    assert_eq!(
        TARGETS.map(|(name, _)| name),
        [
            "oip_json",
            "native_json",
            "binary_split",
            "grpc_contents",
            "onnx_walk",
            "plugin_settings",
            "plugin_signature",
            "plugin_contract",
            "plugin_component",
            "imports",
        ]
    );
}

fn replay(name: &str) {
    let target = TARGETS
        .iter()
        .find(|(known, _)| *known == name)
        .expect("the target exists");
    let corpus = corpus(name);
    assert!(corpus.len() >= 10, "the corpus of {name} is not there");
    // What is made with the first input is no part of its time.
    feed_untimed(target, b"");
    for input in &corpus {
        feed(target, input);
    }
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let fewer = FEWER.iter().find(|(known, _)| *known == name);
    for _ in 0..fewer.map_or(CHANGES, |(_, changes)| *changes) {
        let mut input = dice.one_of(&corpus).clone();
        for _ in 0..=dice.below(4) {
            change(&mut input, &corpus, &mut dice);
        }
        feed(target, &input);
    }
}

/// Runs the target; where it fails, the input is told as it is to be committed.
fn feed(target: &Target, input: &[u8]) {
    let begun = Instant::now();
    feed_untimed(target, input);
    let (name, took) = (target.0, begun.elapsed());
    let shown = input.escape_ascii();
    assert!(took < PATIENCE, "{name} took {took:?} over b\"{shown}\"");
}

fn feed_untimed((name, target): &Target, input: &[u8]) {
    let ran = catch_unwind(AssertUnwindSafe(|| target(input)));
    let shown = input.escape_ascii();
    assert!(ran.is_ok(), "{name} panics over b\"{shown}\"");
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(name);
    let mut files: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| fs::read(file).expect("the file can be read"))
        .collect()
}

/// One of the changes that fuzzers make.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], dice: &mut Dice) {
    let at = dice.below(input.len() + 1);
    match dice.below(7) {
        0 => input.truncate(at),
        1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << dice.below(8);
            }
        }
        2 => {
            if let Some(byte) = input.get_mut(at) {
                *byte = dice.next() as u8;
            }
        }
        3 => {
            let piece = *dice.one_of(&PIECES);
            input.splice(at..at, piece.iter().copied());
        }
        4 => {
            let piece = *dice.one_of(&PIECES);
            let end = (at + piece.len()).min(input.len());
            input.splice(at..end, piece.iter().copied());
        }
        5 => {
            // A part twice.
            let end = at + dice.below(input.len() - at + 1);
            let part = input[at..end].to_vec();
            input.splice(at..at, part);
        }
        _ => {
            // The end of another input.
            let other = dice.one_of(corpus);
            input.truncate(at);
            input.extend(&other[dice.below(other.len() + 1)..]);
        }
    }
}

/// A generator that gives the same numbers in every run: xorshift.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_of<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len())]
    }
}
