//! State, models, outbound requests and secrets.

use std::hint::black_box;

use wharf_plugin_sdk::bindings::imports::{http, model, secret, state};

use super::Machine;
use crate::program::Program;

pub(super) fn state_get(machine: &mut Machine<'_>) {
    black_box(state::get(&machine.program.text())).ok();
}

pub(super) fn state_set(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let (key, value) = (program.text(), program.bytes());
    black_box(state::set(&key, &value, program.maybe(Program::number))).ok();
}

pub(super) fn state_swap(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let (key, value, expires) = (
        program.text(),
        program.bytes(),
        program.maybe(Program::number),
    );
    // The version that is there, where the program does not say another.
    let version = match program.flag() {
        true => program.number(),
        false => state::get(&key)
            .ok()
            .flatten()
            .map_or(0, |entry| entry.version),
    };
    black_box(state::compare_and_swap(&key, version, &value, expires)).ok();
}

pub(super) fn state_increment(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let (key, by) = (program.text(), program.number() as i64);
    black_box(state::increment(&key, by, program.maybe(Program::number))).ok();
}

pub(super) fn state_delete(machine: &mut Machine<'_>) {
    black_box(state::delete(&machine.program.text())).ok();
}

pub(super) fn state_keys(machine: &mut Machine<'_>) {
    let (prefix, limit) = (machine.program.text(), machine.program.word());
    black_box(state::keys(&prefix, limit)).ok();
}

fn call(machine: &mut Machine<'_>) -> model::Call {
    model::Call {
        target: machine.program.text(),
        version: machine.program.maybe(Program::text),
        input: machine.payload(),
    }
}

pub(super) fn infer(machine: &mut Machine<'_>) {
    let call = call(machine);
    if let Ok(payload) = model::infer(call) {
        machine.keep_payload(payload);
    }
}

pub(super) fn infer_all(machine: &mut Machine<'_>) {
    let count = machine.program.below(5);
    let calls = (0..count).map(|_| call(machine)).collect();
    for payload in model::infer_all(calls).into_iter().flatten() {
        machine.keep_payload(payload);
    }
}

pub(super) fn mirror(machine: &mut Machine<'_>) {
    let call = call(machine);
    black_box(model::mirror(call)).ok();
}

fn outgoing(machine: &mut Machine<'_>) -> http::Outgoing {
    let program = &mut machine.program;
    let (method, url) = (program.text(), program.text());
    let headers = program.list(4, |program| (program.text(), program.text()));
    let timeout_ms = program.maybe(Program::word);
    let with_body = program.flag();
    http::Outgoing {
        method,
        url,
        headers,
        body: with_body.then(|| {
            machine.body();
            let at = machine.program.below(machine.bodies.len());
            machine.bodies.swap_remove(at)
        }),
        timeout_ms,
    }
}

pub(super) fn send(machine: &mut Machine<'_>) {
    let request = outgoing(machine);
    if let Ok(answer) = http::send(request) {
        machine.keep_body(answer.body);
    }
}

pub(super) fn send_all(machine: &mut Machine<'_>) {
    let count = machine.program.below(4);
    let requests = (0..count).map(|_| outgoing(machine)).collect();
    for answer in http::send_all(requests).into_iter().flatten() {
        machine.keep_body(answer.body);
    }
}

pub(super) fn secret(machine: &mut Machine<'_>) {
    black_box(secret::read(&machine.program.text())).ok();
}
