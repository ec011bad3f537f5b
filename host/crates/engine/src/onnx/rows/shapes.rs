//! The rules of operators that lay out, pick and fold: they keep rows apart where they leave the first dimension alone.

use super::node::Node;
use super::value::{Dimensions, Value, inner, kept, one, product};

/// The outputs that are rows, from the first on; none where nothing is known.
pub(super) fn of_onnx(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Vec<Dimensions>> {
    match node.operator {
        "Flatten" => {
            let dimensions = kept(inputs)?;
            let is_second = inner(node.integer("axis").unwrap_or(1), &dimensions) == Some(0);
            one(is_second.then(|| vec![product(dimensions)]))
        }
        "Reshape" => one(reshaped(node, inputs)),
        "Transpose" => one(transposed(node, inputs)),
        "Squeeze" => one(squeezed(node, inputs)),
        "Unsqueeze" => one(unsqueezed(node, inputs)),
        "Concat" => one(joined(node, inputs)),
        "Split" => {
            let mut dimensions = kept(inputs)?;
            let along = inner(node.integer("axis").unwrap_or(0), &dimensions)?;
            dimensions[along] = None;
            Some(vec![dimensions; node.outputs.len()])
        }
        "TopK" => {
            let mut dimensions = kept(inputs)?;
            let along = inner(node.integer("axis").unwrap_or(-1), &dimensions)?;
            dimensions[along] = None;
            Some(vec![dimensions; 2])
        }
        "Slice" => {
            let mut dimensions = kept(inputs)?;
            for along in numbers(inputs, 3)? {
                let along = inner(*along, &dimensions)?;
                dimensions[along] = None;
            }
            one(Some(dimensions))
        }
        "Gather" => one(gathered(node, inputs)),
        "ArgMax" | "ArgMin" => one(folded(node, inputs, &[node.integer("axis").unwrap_or(0)])),
        "ReduceL1" | "ReduceL2" | "ReduceLogSum" | "ReduceLogSumExp" | "ReduceMax"
        | "ReduceMean" | "ReduceMin" | "ReduceProd" | "ReduceSum" | "ReduceSumSquare" => {
            one(folded(node, inputs, axes(node, inputs)?))
        }
        _ => None,
    }
}

/// The numbers of a constant input.
fn numbers<'a>(inputs: &[Option<&'a Value>], index: usize) -> Option<&'a [i64]> {
    let constant = inputs.get(index).copied().flatten()?.as_constant()?;
    constant.numbers.as_deref()
}

/// The axes of a node, which later versions of operators take as an input.
fn axes<'a>(node: &'a Node<'_>, inputs: &[Option<&'a Value>]) -> Option<&'a [i64]> {
    let axes = node.integers("axes").or_else(|| numbers(inputs, 1))?;
    // Without any, an operator takes all.
    (!axes.is_empty()).then_some(axes)
}

fn reshaped(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let dimensions = kept(inputs)?;
    let (rows, shape) = numbers(inputs, 1)?.split_first()?;
    let takes_zero = node.integer("allowzero").unwrap_or(0) != 0;
    let mut made = Vec::with_capacity(shape.len());
    for (index, size) in shape.iter().enumerate() {
        made.push(match size {
            0 if takes_zero => return None,
            0 => *dimensions.get(index)?,
            -1 => None,
            size => Some(u64::try_from(*size).ok()?),
        });
    }
    match rows {
        // As many rows as there were.
        0 if !takes_zero => Some(made),
        // As many as come of it: those that there were, where each keeps its elements.
        -1 => {
            let (before, after) = (product(dimensions)?, product(made.iter().copied())?);
            (before == after && before > 0).then_some(made)
        }
        _ => None,
    }
}

fn transposed(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let dimensions = kept(inputs)?;
    let [0, order @ ..] = node.integers("perm")? else {
        return None;
    };
    let from = |along: &i64| Some(dimensions[inner(*along, &dimensions)?]);
    let made: Dimensions = order.iter().map(from).collect::<Option<_>>()?;
    (made.len() == dimensions.len()).then_some(made)
}

fn squeezed(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    without(kept(inputs)?, axes(node, inputs)?)
}

/// Dimensions less those of some axes.
fn without(dimensions: Dimensions, axes: &[i64]) -> Option<Dimensions> {
    let mut gone = Vec::with_capacity(axes.len());
    for along in axes {
        gone.push(inner(*along, &dimensions)?);
    }
    let left = dimensions.into_iter().enumerate();
    let left = left.filter(|(index, _)| !gone.contains(index));
    Some(left.map(|(_, size)| size).collect())
}

fn unsqueezed(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let dimensions = kept(inputs)?;
    let axes = axes(node, inputs)?;
    // Axes are those of what is made.
    let mut made = vec![None; dimensions.len() + axes.len()];
    for along in axes {
        let along = inner(*along, &made)?;
        made[along] = Some(1);
    }
    // The places that are left are those of the dimensions that were there.
    let mut old = dimensions.into_iter();
    for size in made.iter_mut().filter(|size| size.is_none()) {
        *size = old.next()?;
    }
    old.next().is_none().then_some(made)
}

fn joined(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let all: Vec<&[Option<u64>]> = inputs
        .iter()
        .map(|value| (*value)?.as_rows())
        .collect::<Option<_>>()?;
    let mut made = all.first()?.to_vec();
    if all.iter().any(|dimensions| dimensions.len() != made.len()) {
        return None;
    }
    let along = inner(node.integer("axis")?, &made)?;
    made[along] = all
        .iter()
        .try_fold(0_u64, |sum, dimensions| sum.checked_add(dimensions[along]?));
    Some(made)
}

fn gathered(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let [Some(data), Some(indices)] = inputs else {
        return None;
    };
    let along = node.integer("axis").unwrap_or(0);
    match (data, indices) {
        // The same places of each row.
        (Value::Rows(rows), Value::Constant(places)) => {
            let along = inner(along, rows)?;
            let places = places.dimensions.as_deref()?.iter().copied().map(Some);
            let (before, after) = (&rows[..along], &rows[along + 1..]);
            Some(
                before
                    .iter()
                    .copied()
                    .chain(places)
                    .chain(after.iter().copied())
                    .collect(),
            )
        }
        // What a table has for each index.
        (Value::Constant(table), Value::Rows(rows)) if along == 0 => {
            let (_, entry) = table.dimensions.as_deref()?.split_first()?;
            Some(
                rows.iter()
                    .copied()
                    .chain(entry.iter().copied().map(Some))
                    .collect(),
            )
        }
        _ => None,
    }
}

/// What folds some dimensions into one number, or into a dimension of 1.
fn folded(node: &Node<'_>, inputs: &[Option<&Value>], axes: &[i64]) -> Option<Dimensions> {
    let mut dimensions = kept(inputs)?;
    match node.integer("keepdims").unwrap_or(1) {
        0 => without(dimensions, axes),
        1 => {
            for along in axes {
                let along = inner(*along, &dimensions)?;
                dimensions[along] = Some(1);
            }
            Some(dimensions)
        }
        _ => None,
    }
}
