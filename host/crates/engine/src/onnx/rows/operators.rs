//! What operators make of rows: a rule for each that keeps rows apart, after the specification of ONNX. What has no rule here
//! makes something mixed: an operator that looks at all rows at once, such as `DynamicQuantizeLinear`, must not get one.

use super::node::{Node, is_onnx};
use super::shapes;
use super::value::{Constant, Dimensions, Value, inner, kept, one};

/// What draws, each run anew, so that those who share a run would share what is drawn.
const DRAWING: [&str; 7] = [
    "Bernoulli",
    "Dropout",
    "Multinomial",
    "RandomNormal",
    "RandomNormalLike",
    "RandomUniform",
    "RandomUniformLike",
];

/// From this version on, `Softmax` goes along one axis, by default the last; before, over all from one on.
const SOFTMAX_BY_AXIS_FROM: u64 = 13;

/// What a node makes of its inputs, an output each. An input that is left out is none.
pub(super) fn apply(node: &Node<'_>, inputs: &[Option<&Value>], opset: u64) -> Vec<Value> {
    let all_constant = inputs.iter().flatten().all(|value| value.is_constant());
    // What graphs of its own read of this one is not among the inputs, and what other domains draw is not known.
    if all_constant && is_onnx(node.domain) && !node.has_graphs && !DRAWING.contains(&node.operator)
    {
        let known = (node.operator == "Constant").then(|| node.value());
        let constant = known.flatten().unwrap_or_default();
        return vec![Value::Constant(constant); node.outputs.len()];
    }
    let made = match node.domain {
        domain if is_onnx(domain) => of_onnx(node, inputs, opset),
        "ai.onnx.ml" => of_onnx_ml(node, inputs),
        _ => None,
    };
    let mut made: Vec<Value> = made.into_iter().flatten().map(Value::rows).collect();
    made.resize(node.outputs.len(), Value::Mixed);
    made
}

/// The outputs that are rows, from the first on; none where nothing is known.
fn of_onnx(node: &Node<'_>, inputs: &[Option<&Value>], opset: u64) -> Option<Vec<Dimensions>> {
    match node.operator {
        "Abs" | "Acos" | "Acosh" | "Add" | "And" | "Asin" | "Asinh" | "Atan" | "Atanh" | "Cast"
        | "Ceil" | "Celu" | "Cos" | "Cosh" | "Div" | "Elu" | "Equal" | "Erf" | "Exp" | "Floor"
        | "Gelu" | "Greater" | "GreaterOrEqual" | "HardSigmoid" | "HardSwish" | "Identity"
        | "IsInf" | "IsNaN" | "LeakyRelu" | "Less" | "LessOrEqual" | "Log" | "Max" | "Mean"
        | "Min" | "Mish" | "Mod" | "Mul" | "Neg" | "Not" | "Or" | "PRelu" | "Pow"
        | "Reciprocal" | "Relu" | "Round" | "Selu" | "Shrink" | "Sigmoid" | "Sign" | "Sin"
        | "Sinh" | "Softplus" | "Softsign" | "Sqrt" | "Sub" | "Sum" | "Tan" | "Tanh"
        | "ThresholdedRelu" | "Where" | "Xor" => one(broadcast(inputs)),
        // Where `Dropout` draws, in training, it does so for each element. `Clip` takes a number for either bound.
        "Dropout" | "Clip" => one(kept(inputs)),
        "Softmax" | "LogSoftmax" | "Hardmax" => {
            let default = if opset < SOFTMAX_BY_AXIS_FROM { 1 } else { -1 };
            one(scaled_beside(
                inputs,
                node.integer("axis").unwrap_or(default),
            ))
        }
        "LpNormalization" | "LayerNormalization" => {
            one(scaled_beside(inputs, node.integer("axis").unwrap_or(-1)))
        }
        "QuantizeLinear" | "DequantizeLinear" => {
            one(scaled_beside(inputs, node.integer("axis").unwrap_or(1)))
        }
        "LRN" | "InstanceNormalization" | "GroupNormalization" => {
            one(scaled(inputs).filter(|dimensions| dimensions.len() >= 2))
        }
        // In training it looks at the whole batch; before version 14, more outputs said so.
        "BatchNormalization" => {
            let trains = node.integer("training_mode").unwrap_or(0) != 0 || node.outputs.len() > 1;
            one(scaled(inputs).filter(|_| !trains))
        }
        "Conv" | "ConvTranspose" => one(convolved(node, inputs)),
        "MaxPool" | "AveragePool" | "LpPool" => one(pooled(inputs, None)),
        "GlobalMaxPool" | "GlobalAveragePool" | "GlobalLpPool" => one(pooled(inputs, Some(1))),
        "Gemm" => one(gemm(node, inputs)),
        "MatMul" => one(matmul(inputs)),
        _ => shapes::of_onnx(node, inputs),
    }
}

/// The operators of classical models, which take a table: a row of features for each row of the answer.
fn of_onnx_ml(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Vec<Dimensions>> {
    let features = kept(inputs)?;
    match node.operator {
        "Binarizer" | "CategoryMapper" | "LabelEncoder" => Some(vec![features]),
        "OneHotEncoder" => Some(vec![[features, vec![None]].concat()]),
        _ if features.len() != 1 => None,
        "Imputer" | "Normalizer" | "Scaler" => Some(vec![features]),
        "ArrayFeatureExtractor"
        | "LinearRegressor"
        | "SVMRegressor"
        | "TreeEnsemble"
        | "TreeEnsembleRegressor" => Some(vec![vec![None]]),
        // ONNX Runtime writes these scores to the wrong rows where there are two classes and one score.
        _ if node.says("post_transform", "PROBIT") => None,
        // A label, and a score for each class.
        "LinearClassifier" | "SVMClassifier" | "TreeEnsembleClassifier" => {
            Some(vec![Vec::new(), vec![None]])
        }
        _ => None,
    }
}

/// The rows of the first input, beside scales and the like: one of each, or one for each slice along an axis.
fn scaled(inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let mut constants = inputs
        .iter()
        .flatten()
        .filter_map(|value| value.as_constant());
    let is_list = |constant: &Constant| {
        constant
            .dimensions
            .as_ref()
            .is_some_and(|sizes| sizes.len() <= 1)
    };
    constants.all(is_list).then(|| kept(inputs))?
}

/// The same for what goes along an axis, or over all from it on: it must not be that of the rows.
fn scaled_beside(inputs: &[Option<&Value>], along: i64) -> Option<Dimensions> {
    scaled(inputs).filter(|dimensions| inner(along, dimensions).is_some())
}

/// Element by element, where shapes are brought together from the last dimension on: rows must meet rows.
fn broadcast(inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let mut rows: Option<Dimensions> = None;
    for dimensions in inputs.iter().flatten().filter_map(|value| value.as_rows()) {
        rows = Some(match rows {
            None => dimensions.to_vec(),
            Some(rows) if rows.len() == dimensions.len() => {
                let pairs = rows.into_iter().zip(dimensions);
                pairs.map(|(one, other)| meet(one, *other)).collect()
            }
            Some(_) => return None,
        });
    }
    let mut rows = rows?;
    for value in inputs.iter().flatten() {
        match value {
            Value::Rows(_) => {}
            Value::Constant(constant) => {
                let dimensions = beside(constant, rows.len())?;
                let from = rows.len() - dimensions.len();
                for (row, size) in rows[from..].iter_mut().zip(dimensions) {
                    *row = meet(*row, Some(*size));
                }
            }
            Value::Mixed => return None,
        }
    }
    Some(rows)
}

/// The dimensions of a constant that meet those of rows after the first; none where one could meet the first.
fn beside(constant: &Constant, rank: usize) -> Option<&[u64]> {
    match constant.dimensions.as_deref()? {
        [1, dimensions @ ..] if dimensions.len() == rank => Some(dimensions),
        dimensions if dimensions.len() <= rank => Some(dimensions),
        _ => None,
    }
}

/// The size of two dimensions that were brought together: a 1 gives way.
fn meet(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    match (one, other) {
        (Some(1), size) | (size, Some(1)) => size,
        (Some(size), _) | (_, Some(size)) => Some(size),
        (None, None) => None,
    }
}

/// Channels and places, by constant filters.
fn convolved(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let mut dimensions = pooled(inputs, None)?;
    let filters = inputs.get(1).copied().flatten()?.as_constant()?;
    let filters = filters.dimensions.as_deref().and_then(<[u64]>::first);
    dimensions[0] = filters.copied().filter(|_| node.operator == "Conv");
    Some(dimensions)
}

/// Channels, and places of another number: `left` in each dimension, where that is known.
fn pooled(inputs: &[Option<&Value>], left: Option<u64>) -> Option<Dimensions> {
    let mut dimensions = kept(inputs).filter(|dimensions| dimensions.len() >= 2)?;
    dimensions[1..].fill(left);
    Some(dimensions)
}

fn gemm(node: &Node<'_>, inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let dimensions = kept(inputs)?;
    if dimensions.len() != 1 || node.integer("transA").unwrap_or(0) != 0 {
        return None;
    }
    if let Some(Some(bias)) = inputs.get(2) {
        beside(bias.as_constant()?, 1)?;
    }
    let weights = inputs.get(1).copied().flatten()?.as_constant()?;
    let column = usize::from(node.integer("transB").unwrap_or(0) == 0);
    let width = weights
        .dimensions
        .as_deref()
        .and_then(|sizes| sizes.get(column));
    Some(vec![width.copied()])
}

fn matmul(inputs: &[Option<&Value>]) -> Option<Dimensions> {
    let [Some(left), Some(right)] = inputs else {
        return None;
    };
    match (left, right) {
        // Each row by a matrix; rows of one dimension would be multiplied with each other.
        (Value::Rows(rows), Value::Constant(weights)) => {
            let (_, rest) = rows.split_last()?;
            match weights.dimensions.as_deref()? {
                [_] => Some(rest.to_vec()),
                [_, width] => Some([rest, &[Some(*width)]].concat()),
                _ => None,
            }
        }
        // A matrix by each row.
        (Value::Constant(weights), Value::Rows(rows)) => {
            let [rest @ .., _, width] = rows.as_slice() else {
                return None;
            };
            match weights.dimensions.as_deref()? {
                [height, _] => Some([rest, &[Some(*height), *width]].concat()),
                _ => None,
            }
        }
        // Matrices of one row by matrices of the same row.
        (Value::Rows(left), Value::Rows(right)) if left.len() == right.len() => {
            let ([rest @ .., height, _], [others @ .., _, width]) =
                (left.as_slice(), right.as_slice())
            else {
                return None;
            };
            let stacks = rest.iter().zip(others);
            let stacks = stacks.map(|(one, other)| meet(*one, *other));
            Some(stacks.chain([*height, *width]).collect())
        }
        _ => None,
    }
}
