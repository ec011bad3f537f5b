//! Bodies, the request, and what every plugin may use.

use std::hint::black_box;

use wharf_plugin_sdk::bindings::imports::{log, metrics, settings};
use wharf_plugin_sdk::bindings::types::Body;

use super::Machine;

pub(super) fn body(machine: &mut Machine<'_>) {
    let (media_type, data) = (machine.program.text(), machine.program.bytes());
    machine.keep_body(Body::new(&media_type, &data));
}

pub(super) fn media_type(machine: &mut Machine<'_>) {
    black_box(machine.body().media_type());
}

pub(super) fn body_length(machine: &mut Machine<'_>) {
    black_box(machine.body().byte_length());
}

pub(super) fn body_read(machine: &mut Machine<'_>) {
    black_box(machine.body().read());
}

pub(super) fn body_range(machine: &mut Machine<'_>) {
    let (offset, length) = (machine.program.number(), machine.program.number());
    black_box(machine.body().read_range(offset, length)).ok();
}

pub(super) fn with_media_type(machine: &mut Machine<'_>) {
    let media_type = machine.program.text();
    let retyped = machine.body().with_media_type(&media_type);
    machine.keep_body(retyped);
}

pub(super) fn id(machine: &mut Machine<'_>) {
    black_box(machine.request.id());
}

pub(super) fn route(machine: &mut Machine<'_>) {
    black_box(machine.request.route());
}

pub(super) fn tenant(machine: &mut Machine<'_>) {
    black_box(machine.request.tenant());
}

pub(super) fn header(machine: &mut Machine<'_>) {
    let name = machine.program.text();
    black_box(machine.request.header(&name));
}

pub(super) fn headers(machine: &mut Machine<'_>) {
    black_box(machine.request.headers());
}

pub(super) fn remaining(machine: &mut Machine<'_>) {
    black_box(machine.request.remaining_ms());
}

pub(super) fn log(machine: &mut Machine<'_>) {
    use log::Level;
    let program = &mut machine.program;
    let level = program.one_of(&[Level::Debug, Level::Info, Level::Warn, Level::Error]);
    let message = program.text();
    let fields = program.list(4, |program| (program.text(), program.text()));
    log::write(level, &message, &fields);
}

pub(super) fn add(machine: &mut Machine<'_>) {
    metrics::add(&machine.program.text(), machine.program.number());
}

pub(super) fn set(machine: &mut Machine<'_>) {
    metrics::set(&machine.program.text(), machine.program.float());
}

pub(super) fn observe(machine: &mut Machine<'_>) {
    metrics::observe(&machine.program.text(), machine.program.float());
}

pub(super) fn settings(_machine: &mut Machine<'_>) {
    black_box(settings::read());
}
