//! The ways in which a guest does wrong.

use std::cell::RefCell;
use std::hint::black_box;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error as NameError, StrDeserializer};
use wharf_plugin_sdk::{Body, Error, Metric, Payload, Request, Result, Tensor, log};

/// No metric of this plugin: `describe` does not declare it.
const UNDECLARED: Metric = Metric::counter("hostile_undeclared_total", "Is not declared.");

/// A way of doing wrong. Its name in headers and settings is in kebab case.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Behaviour {
    /// Does nothing wrong: passes the payload through.
    Pass,
    /// Loops for ever.
    Spin,
    /// Takes memory until there is none.
    Hog,
    /// Calls itself until the stack is full.
    Recurse,
    /// Executes `unreachable`.
    Trap,
    /// Executes `unreachable` where the request has the header `x-trap`.
    TrapOnHeader,
    /// Panics with the text of `x-message`.
    Panic,
    /// Gives the host a list of `x-count` empty lists, which cost the host more than the guest.
    HugeList,
    /// Makes `x-count` tensors and keeps them.
    Handles,
    /// Returns `x-count` handles of one tensor.
    ManyTensors,
    /// Makes `x-count` tensors of a megabyte and keeps them.
    HoldTensors,
    /// Returns a body of `x-count` bytes.
    BigOutput,
    /// Writes `x-count` lines.
    Chatty,
    /// Writes one line of `x-count` bytes.
    LongLine,
    /// Reports values of a metric that is not declared.
    Undeclared,
    /// Writes the text of `x-message` to stderr, where the guest has one.
    Stderr,
    /// Answers with the `x-secret` of the request before, and keeps that of this one.
    LeakSecret,
    /// Refuses in the way of `x-error`: a case of the contract's error variant.
    Fail,
}

impl Behaviour {
    pub(crate) fn named(name: &str) -> Option<Self> {
        let name: StrDeserializer<'_, NameError> = name.into_deserializer();
        Self::deserialize(name).ok()
    }

    /// Does it where there is no payload.
    pub(crate) fn alone(self, place: &str) -> Result<()> {
        match self {
            Self::Spin => spin(),
            Self::Hog => hog(),
            Self::Recurse => drop(black_box(recurse(0))),
            Self::Trap => trap(),
            Self::Panic => panic!("hostile: {place} panics"),
            Self::Fail => return Err(Error::invalid_field(place, "hostile: refuses")),
            _ => {}
        }
        Ok(())
    }

    /// Does it to a payload.
    pub(crate) fn stage(
        self,
        request: &Request,
        payload: Payload,
        secret: &RefCell<Option<String>>,
    ) -> Result<Payload> {
        let header = |name: &str| request.header(name).unwrap_or_default();
        let count = |default: usize| header("x-count").parse().unwrap_or(default);
        match self {
            Self::Pass => {}
            Self::Spin | Self::Hog | Self::Recurse | Self::Trap => self.alone("stage")?,
            Self::TrapOnHeader if request.header("x-trap").is_some() => trap(),
            Self::TrapOnHeader => {}
            Self::Panic => panic!("hostile: {}", header("x-message")),
            Self::HugeList => {
                let elements = vec![[0u8; 0]; count(2_000_000)];
                return Ok(
                    Tensor::from_elements("huge", &[elements.len() as u64], &elements)?.into(),
                );
            }
            Self::Handles => drop(black_box(handles(count(1_000_000))?)),
            Self::ManyTensors => return Ok(handles(count(100_000))?.into()),
            Self::HoldTensors => drop(black_box(held(count(1000))?)),
            Self::BigOutput => {
                return Ok(Body::new("application/octet-stream", &vec![7; count(64 << 20)]).into());
            }
            Self::Chatty => (0..count(10_000))
                .for_each(|line| log::info("hostile: a line of many", &[("line", &line)])),
            Self::LongLine => log::info(&"x".repeat(count(1 << 20)), &[]),
            Self::Undeclared => (0..count(1)).for_each(|_| UNDECLARED.add(1)),
            Self::Stderr => eprintln!("hostile: {}", header("x-message")),
            Self::LeakSecret => {
                let before = secret.replace(request.header("x-secret"));
                return Ok(Body::new("text/plain", before.unwrap_or_default().as_bytes()).into());
            }
            Self::Fail => return Err(error(&header("x-error"))),
        }
        Ok(payload)
    }
}

fn spin() {
    let mut turns = 0u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn hog() {
    let mut taken = Vec::new();
    loop {
        taken.push(black_box(vec![1u8; 1 << 20]));
    }
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + frame[0]
}

#[cfg(target_arch = "wasm32")]
fn trap() {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() {
    std::process::abort()
}

fn handles(count: usize) -> Result<Vec<Tensor>> {
    let tensor = Tensor::new("one", &[1], &[1.0f32])?;
    Ok((0..count).map(|_| tensor.with_name("many")).collect())
}

/// The data is the host's: the guest itself stays small.
fn held(count: usize) -> Result<Vec<Tensor>> {
    let megabyte = vec![0.0f32; 1 << 18];
    (0..count)
        .map(|_| Tensor::new("held", &[1 << 18], &megabyte))
        .collect()
}

fn error(case: &str) -> Error {
    match case {
        "invalid-input" => Error::invalid_field("x", "hostile: invalid input"),
        "not-found" => Error::not_found("hostile: not found"),
        "unavailable" => Error::unavailable("hostile: unavailable"),
        "denied" => Error::denied("hostile: denied"),
        _ => Error::failed("hostile: failed"),
    }
}
