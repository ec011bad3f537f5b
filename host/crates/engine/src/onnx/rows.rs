//! Whether a model works on every row by itself, as far as its graph shows it: then requests can be joined unasked.
//!
//! Each value of the graph is one of three: constant, rows, or mixed. Rows have the batch as their first dimension, and a row
//! of them depends on the same row of the inputs alone. What an operator makes of its inputs is a rule of [`operators`];
//! one that has no rule makes something mixed. A model whose outputs are all rows answers a request the same, but for the
//! rounding of sums, whatever stands in the other rows.

mod node;
mod operators;
mod shapes;
mod value;

use std::collections::HashMap;

use wharf_protobuf::{Field, Fields};

use super::{OnnxError, Outlet, outlets};
use node::Node;
use value::{Constant, Value};

/// Graphs of more values are not looked through: what is remembered of each takes more than it does in the file.
const MAX_VALUES: usize = 1 << 17;
/// Versions of the operators are numbers of 31 bits.
const LAST_OPSET: u64 = i32::MAX as u64;
/// From this version of the operators on, dimensions are broadcast from the last one on.
const BROADCASTS_FROM: u64 = 7;

/// Says whether each row of the outputs depends on the same row of the inputs alone. It errs on the side of no.
pub(crate) fn are_apart(model: &[u8]) -> bool {
    look(model).unwrap_or(false)
}

fn look(model: &[u8]) -> Result<bool, OnnxError> {
    let mut opset = 0;
    let mut graph = &[][..];
    for field in Fields::of(model) {
        match field? {
            (7, Field::Bytes(bytes)) => graph = bytes,
            (8, Field::Bytes(import)) => match (version_of_onnx(import)?, opset) {
                (0, _) => {}
                (version @ ..=LAST_OPSET, 0) => opset = version,
                // Which of two holds is not said, nor how a number is cut.
                _ => return Ok(false),
            },
            // A function of the model may have any name.
            (25, _) => return Ok(false),
            _ => {}
        }
    }
    if opset < BROADCASTS_FROM {
        return Ok(false);
    }
    let outlets = outlets(model)?;
    let Some(values) = values(&outlets.inputs, graph, opset)? else {
        return Ok(false);
    };
    let mut outputs = outlets.outputs.iter();
    let is_rows = |output: &Outlet| matches!(values.get(&*output.name), Some(Value::Rows(_)));
    Ok(outputs.len() > 0 && outputs.all(is_rows))
}

/// What every value of a graph is; none where it is too large, or not in order.
fn values<'a>(
    inputs: &'a [Outlet],
    graph: &'a [u8],
    opset: u64,
) -> Result<Option<HashMap<&'a str, Value>>, OnnxError> {
    let mut values = HashMap::new();
    for field in Fields::of(graph) {
        match field? {
            (5, Field::Bytes(tensor)) => {
                let (name, constant) = Constant::read(tensor)?;
                values.insert(name, Value::Constant(constant));
                if values.len() > MAX_VALUES {
                    return Ok(None);
                }
            }
            // Its name stands deeper, and nobody who reads it is found to be rows.
            (15, _) => return Ok(None),
            _ => {}
        }
    }
    // What a request may leave out is the same for all that are joined: they leave it out.
    for input in inputs.iter().filter(|input| !input.optional) {
        values.insert(&*input.name, Value::of_input(&input.shape));
    }
    for node in nodes(graph) {
        let node = node?;
        let read = |name: &&str| match *name {
            // An input that is left out.
            "" => Some(None),
            name => values.get(name).map(Some),
        };
        let Some(inputs) = node.inputs.iter().map(read).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let made = operators::apply(&node, &inputs, opset);
        for (name, value) in node.outputs.iter().zip(made) {
            if !name.is_empty() && values.insert(name, value).is_some() {
                return Ok(None);
            }
        }
        if values.len() > MAX_VALUES {
            return Ok(None);
        }
    }
    Ok(Some(values))
}

fn nodes(graph: &[u8]) -> impl Iterator<Item = Result<Node<'_>, OnnxError>> {
    Fields::of(graph).filter_map(|field| match field {
        Ok((1, Field::Bytes(node))) => Some(Node::read(node)),
        Ok(_) => None,
        Err(error) => Some(Err(error.into())),
    })
}

/// The version of ONNX's own operators, where an import says it.
fn version_of_onnx(import: &[u8]) -> Result<u64, OnnxError> {
    let (mut domain, mut version) = ("", 0);
    for field in Fields::of(import) {
        match field? {
            (1, text @ Field::Bytes(_)) => domain = text.text()?,
            (2, Field::Varint(number)) => version = number,
            _ => {}
        }
    }
    Ok(if node::is_onnx(domain) { version } else { 0 })
}

#[cfg(test)]
mod tests;
