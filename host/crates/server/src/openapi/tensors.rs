//! Tensors in the native protocol, as JSON Schema has them: nested arrays, each as long as the shape says.

use serde_json::{Value, json};
use wharf_core::{Datatype, TensorSpec};

/// Larger tensors have no example: nobody would read it.
const MAX_EXAMPLE: u64 = 256;

/// Which way a tensor goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// To the server, which refuses what an element cannot hold.
    In,
    Out,
}

/// The schema of a tensor. Where the first dimension is free, one row stands for itself, too.
pub(super) fn schema(spec: &TensorSpec, way: Way) -> Value {
    let whole = nested(spec, &spec.shape, way, Place::Inside);
    match spec.shape.split_first() {
        Some((None, row)) => {
            json!({"anyOf": [nested(spec, row, way, Place::Whole), whole]})
        }
        _ => nested(spec, &spec.shape, way, Place::Whole),
    }
}

/// A tensor of the schema: one row, where the first dimension is free.
pub(super) fn example(spec: &TensorSpec) -> Option<Value> {
    let shape = match spec.shape.split_first() {
        Some((None, row)) => row,
        _ => &spec.shape,
    };
    let sizes: Vec<u64> = shape.iter().map(|size| size.unwrap_or(2)).collect();
    let product = sizes
        .iter()
        .try_fold(1_u64, |product, size| product.checked_mul(*size));
    product.filter(|elements| *elements <= MAX_EXAMPLE)?;
    let mut index = 0;
    Some(elements(spec.datatype, &sizes, &mut index))
}

/// Whether a value is all that is given. A lone `null` is no element: clients send it for what they leave out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Whole,
    Inside,
}

fn nested(spec: &TensorSpec, shape: &[Option<u64>], way: Way, place: Place) -> Value {
    let Some((size, inner)) = shape.split_first() else {
        return element(spec.datatype, way, place);
    };
    let items = nested(spec, inner, way, Place::Inside);
    let mut schema = json!({"type": "array", "items": items});
    match size {
        Some(size) => {
            schema["minItems"] = (*size).into();
            schema["maxItems"] = (*size).into();
        }
        // Without an element nothing says how long those inside would be.
        None if way == Way::In && inner.iter().any(Option::is_some) => {
            schema["minItems"] = 1.into();
        }
        None => {}
    }
    schema
}

/// An element. Floats that are no number are `null`.
fn element(datatype: Datatype, way: Way, place: Place) -> Value {
    let mut schema = match datatype {
        Datatype::Bool => json!({"type": "boolean"}),
        Datatype::Bytes => json!({"type": "string"}),
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64
            if place == Place::Whole && way == Way::In =>
        {
            json!({"type": "number"})
        }
        Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
            json!({"type": ["number", "null"]})
        }
        _ => json!({"type": "integer"}),
    };
    if way == Way::In {
        for (rule, value) in rules(datatype) {
            schema[rule] = value;
        }
    }
    schema
}

/// What the server takes of the elements of a datatype; nothing where that is all that JSON has.
fn rules(datatype: Datatype) -> Vec<(&'static str, Value)> {
    let whole = |least: i64, most: u64| vec![("minimum", least.into()), ("maximum", most.into())];
    let real = |holds: fn(f64) -> bool| {
        let bound = refused_from(holds);
        vec![
            ("exclusiveMinimum", (-bound).into()),
            ("exclusiveMaximum", bound.into()),
        ]
    };
    match datatype {
        Datatype::Uint8 => whole(0, u8::MAX.into()),
        Datatype::Uint16 => whole(0, u16::MAX.into()),
        Datatype::Uint32 => whole(0, u32::MAX.into()),
        Datatype::Uint64 => whole(0, u64::MAX),
        Datatype::Int8 => whole(i8::MIN.into(), i8::MAX as u64),
        Datatype::Int16 => whole(i16::MIN.into(), i16::MAX as u64),
        Datatype::Int32 => whole(i32::MIN.into(), i32::MAX as u64),
        Datatype::Int64 => whole(i64::MIN, i64::MAX as u64),
        Datatype::Fp16 => real(|number| half::f16::from_f64_const(number).is_finite()),
        Datatype::Bf16 => real(|number| half::bf16::from_f64(number).is_finite()),
        // Read from its digits, which a double has fewer of than it could.
        Datatype::Fp32 => real(|number| {
            let read = number.to_string().parse::<f32>();
            read.is_ok_and(f32::is_finite)
        }),
        // Models take text, which ends where a NUL is.
        Datatype::Bytes => vec![("pattern", "^[^\\u0000]*$".into())],
        Datatype::Fp64 | Datatype::Bool => Vec::new(),
    }
}

/// The smallest number that a datatype does not hold. It lies beyond the largest that it has, to which others are rounded; where,
/// depends on how the machine rounds, so it is looked for.
fn refused_from(holds: fn(f64) -> bool) -> f64 {
    // The bits of numbers from 0 on are in the order of the numbers.
    let (mut held, mut refused) = (1_f64.to_bits(), f64::MAX.to_bits());
    while refused - held > 1 {
        let middle = held + (refused - held) / 2;
        match holds(f64::from_bits(middle)) {
            true => held = middle,
            false => refused = middle,
        }
    }
    f64::from_bits(refused)
}

fn elements(datatype: Datatype, shape: &[u64], index: &mut u64) -> Value {
    let Some((size, inner)) = shape.split_first() else {
        *index += 1;
        return match datatype {
            Datatype::Bool => (*index % 2 == 1).into(),
            Datatype::Bytes => format!("text {index}").into(),
            Datatype::Fp16 | Datatype::Bf16 | Datatype::Fp32 | Datatype::Fp64 => {
                (*index as f64 / 2.0).into()
            }
            _ => (*index % 10).into(),
        };
    };
    (0..*size)
        .map(|_| elements(datatype, inner, index))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(datatype: Datatype, shape: &[Option<u64>]) -> TensorSpec {
        TensorSpec::new("x", datatype, shape.to_vec())
    }

    #[test]
    fn a_free_first_dimension_may_be_one_row() {
        let spec = spec(Datatype::Int8, &[None, Some(2)]);
        let row = json!({
            "type": "array", "minItems": 2, "maxItems": 2,
            "items": {"type": "integer", "minimum": -128, "maximum": 127},
        });
        let rows = json!({"type": "array", "minItems": 1, "items": row});
        assert_eq!(schema(&spec, Way::In), json!({"anyOf": [row, rows]}));
        assert_eq!(example(&spec), Some(json!([1, 2])));
    }

    #[test]
    fn floats_may_be_no_number_but_not_alone() {
        let of = |shape: &[Option<u64>]| schema(&spec(Datatype::Fp64, shape), Way::In);
        let inside = json!({"type": ["number", "null"]});
        assert_eq!(of(&[]), json!({"type": "number"}));
        assert_eq!(
            of(&[None]),
            json!({"anyOf": [{"type": "number"}, {"type": "array", "items": inside}]})
        );
        let out = schema(&spec(Datatype::Fp64, &[]), Way::Out);
        assert_eq!(out, inside);
    }

    #[test]
    fn the_bounds_are_those_of_the_datatype() {
        for (datatype, rule, most) in [
            (Datatype::Uint64, "maximum", json!(u64::MAX)),
            (Datatype::Int64, "maximum", json!(i64::MAX)),
            (Datatype::Bytes, "pattern", json!("^[^\\u0000]*$")),
        ] {
            let rules = schema(&spec(datatype, &[]), Way::In);
            assert_eq!(rules[rule], most, "{datatype}");
            let out = schema(&spec(datatype, &[]), Way::Out);
            assert!(out.get(rule).is_none(), "{datatype}");
        }
    }

    #[test]
    fn numbers_are_taken_up_to_where_they_are_rounded_to_the_largest() {
        for (datatype, largest, beyond) in [
            (Datatype::Fp16, 65504.0, 65520.0),
            (Datatype::Bf16, half::bf16::MAX.to_f64(), 3.4e38),
            (Datatype::Fp32, f64::from(f32::MAX), 3.402_823_6e38),
        ] {
            let rules = schema(&spec(datatype, &[]), Way::In);
            let bound = rules["exclusiveMaximum"].as_f64().unwrap();
            assert!(largest < bound && bound <= beyond, "{datatype}: {bound}");
            assert_eq!(rules["exclusiveMinimum"], -bound, "{datatype}");
        }
    }

    #[test]
    fn what_nobody_would_read_is_no_example() {
        let large = spec(Datatype::Fp32, &[None, Some(3), Some(224), Some(224)]);
        assert_eq!(example(&large), None);
        let endless = spec(Datatype::Fp32, &[Some(u64::MAX), Some(2)]);
        assert_eq!(example(&endless), None);
        let texts = spec(Datatype::Bytes, &[Some(1), None]);
        assert_eq!(example(&texts), Some(json!([["text 1", "text 2"]])));
    }
}
