//! Tensors as JSON: `{"input": ..}` -> `{"output": ..}`, and what other documents read and write tensors with.
//!
//! - A model with one input takes its array as `input`; the nesting of the arrays is the shape. A model with several takes
//!   an object with one array for each name, as `input` or `inputs`; a model with one may be given so too.
//! - Elements are numbers; `true` and `false` for BOOL; text for BYTES. A number that the datatype cannot hold is refused,
//!   and so is a fraction for an integer. Floating-point numbers are rounded to the nearest value; `NaN`, `Infinity`,
//!   `-Infinity` and, for what is no number, `null` are elements of theirs too.
//! - A row without the batch dimension, where the model leaves that dimension open, is a batch of one: `[1, 2, 3, 4]` for
//!   `[batch, 4]`. The outputs then come without it, too.
//! - One output is `{"output": [..]}`; several are `{"output": {"name": [..], ..}}`. Values that JSON has no number for
//!   (not a number, infinities) are `null`.

mod cursor;
mod fault;
mod number;

mod array;
mod decode;
mod encode;

pub(crate) use array::shaped;
pub(crate) use cursor::{Cursor, Plain};
pub(crate) use decode::{Inputs, decode};
pub(crate) use encode::{Batch, NotFinite, encode, write_elements, write_text};
pub(crate) use fault::{Fault, Unplaced};

/// What a message repeats of a name that a client made up.
pub(crate) fn shorten(name: &str) -> String {
    name.chars().take(64).collect()
}

#[cfg(test)]
mod tests;
