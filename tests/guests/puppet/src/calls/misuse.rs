//! What a guest can do with handles that it should not. The canonical ABI traps for most of it: that is a fault of the guest.
#![expect(unsafe_code, reason = "handles are forged here")]

use std::hint::black_box;
use std::mem::forget;

use wharf_plugin_sdk::bindings::types::{Body, Tensor};

use super::Machine;

pub(super) fn drop_tensor(machine: &mut Machine<'_>) {
    machine.tensor();
    machine.tensors.pop();
}

pub(super) fn drop_body(machine: &mut Machine<'_>) {
    machine.body();
    machine.bodies.pop();
}

/// A handle of a number that the program chooses. Whatever it is, it is dropped at the end of the call as well.
fn forge(machine: &mut Machine<'_>) -> Tensor {
    let number = machine.program.word();
    // SAFETY: a handle is a number to the guest, and the host checks each.
    unsafe { Tensor::from_handle(number) }
}

pub(super) fn forged(machine: &mut Machine<'_>) {
    let tensor = forge(machine);
    black_box(tensor.shape());
    forget(tensor);
}

pub(super) fn drop_forged(machine: &mut Machine<'_>) {
    drop(forge(machine));
}

pub(super) fn drop_twice(machine: &mut Machine<'_>) {
    let tensor = machine.tensor().with_name("twice");
    // SAFETY: as in `forge`.
    let again = unsafe { Tensor::from_handle(tensor.handle()) };
    drop(tensor);
    drop(again);
}

pub(super) fn other_kind(machine: &mut Machine<'_>) {
    let tensor = machine.tensor().with_name("other");
    // SAFETY: as in `forge`.
    let body = unsafe { Body::from_handle(tensor.handle()) };
    black_box(body.read());
    forget(body);
}

pub(super) fn leave(machine: &mut Machine<'_>) {
    machine.tensor();
    forget(machine.tensors.pop());
}
