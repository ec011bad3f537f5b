//! Tensors of odd shapes, and reads of what they are not.

use wharf_plugin_sdk::bindings::types::{Datatype, Tensor};

use super::Machine;
use crate::program::Program;

const DATATYPES: [Datatype; 14] = [
    Datatype::Boolean,
    Datatype::Uint8,
    Datatype::Uint16,
    Datatype::Uint32,
    Datatype::Uint64,
    Datatype::Int8,
    Datatype::Int16,
    Datatype::Int32,
    Datatype::Int64,
    Datatype::Fp16,
    Datatype::Bf16,
    Datatype::Fp32,
    Datatype::Fp64,
    Datatype::Bytes,
];

pub(super) fn any_datatype(program: &mut Program<'_>) -> Datatype {
    program.one_of(&DATATYPES)
}

pub(super) fn from_bytes(machine: &mut Machine<'_>) {
    let program = &mut machine.program;
    let (name, datatype) = (program.text(), any_datatype(program));
    let (shape, data) = (program.shape(), program.bytes());
    machine.keep_tensor(Tensor::from_bytes(&name, datatype, &shape, &data));
}

/// Makes a tensor by a function that takes elements of one type.
macro_rules! from {
    ($name:ident, $item:expr) => {
        pub(super) fn $name(machine: &mut Machine<'_>) {
            let program = &mut machine.program;
            let (name, shape) = (program.text(), program.shape());
            let data = program.fitting(&shape, $item);
            machine.keep_tensor(Tensor::$name(&name, &shape, &data));
        }
    };
}

from!(from_fp32, |program| program.float() as f32);
from!(from_fp64, Program::float);
from!(from_int32, |program| program.number() as i32);
from!(from_int64, |program| program.number() as i64);
from!(from_elements, Program::bytes);

/// Asks a tensor of the shelf for something.
macro_rules! ask {
    ($($name:ident),+) => {
        $(pub(super) fn $name(machine: &mut Machine<'_>) {
            let _answer = std::hint::black_box(machine.tensor().$name());
        })+
    };
}

ask!(
    name,
    datatype,
    shape,
    byte_length,
    read,
    read_fp32,
    read_fp64,
    read_int32,
    read_int64,
    read_elements
);

pub(super) fn read_range(machine: &mut Machine<'_>) {
    let (offset, length) = (machine.program.number(), machine.program.number());
    std::hint::black_box(machine.tensor().read_range(offset, length)).ok();
}

pub(super) fn with_name(machine: &mut Machine<'_>) {
    let name = machine.program.text();
    let renamed = machine.tensor().with_name(&name);
    machine.keep_tensor(Ok::<_, ()>(renamed));
}

pub(super) fn with_shape(machine: &mut Machine<'_>) {
    let shape = machine.program.shape();
    let reshaped = machine.tensor().with_shape(&shape);
    machine.keep_tensor(reshaped);
}
