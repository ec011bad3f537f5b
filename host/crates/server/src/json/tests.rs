use proptest::prelude::*;
use wharf_core::{Datatype, Element, Tensor, TensorSpec};

use super::*;

fn spec(name: &str, datatype: Datatype, shape: &[Option<u64>]) -> TensorSpec {
    TensorSpec::new(name, datatype, shape.to_vec())
}

fn rows_of(size: u64) -> Vec<TensorSpec> {
    vec![spec("x", Datatype::Fp32, &[None, Some(size)])]
}

/// The field and the message of a refusal.
fn refusal(text: &str, specs: &[TensorSpec]) -> (String, String) {
    let error = decode(text.as_bytes(), specs).expect_err(text);
    assert_eq!(error.kind(), wharf_core::ErrorKind::InvalidArgument);
    (
        error.field().unwrap().to_owned(),
        error.message().to_owned(),
    )
}

#[test]
fn nesting_is_the_shape() {
    let inputs = decode(br#"{"input": [[1, 2.5], [-3, 4e0], [5, 6]]}"#, &rows_of(2)).unwrap();
    let tensor = &inputs.tensors[0];
    assert_eq!(tensor.name(), "x");
    assert_eq!(&**tensor.shape(), [3, 2]);
    assert_eq!(
        tensor.as_slice::<f32>().unwrap(),
        [1., 2.5, -3., 4., 5., 6.]
    );
    assert_eq!(inputs.batch, Batch::Keep);
}

#[test]
fn a_row_is_a_batch_of_one() {
    let inputs = decode(br#"{"input": [1, 2]}"#, &rows_of(2)).unwrap();
    assert_eq!(&**inputs.tensors[0].shape(), [1, 2]);
    assert_eq!(inputs.batch, Batch::Strip);
    let output = Tensor::from_vec("y", [1, 3], vec![0.5_f32, 1., 2.]).unwrap();
    let text = encode(std::slice::from_ref(&output), inputs.batch).unwrap();
    assert_eq!(text, r#"{"output":[0.5,1.0,2.0]}"#);
    assert_eq!(
        encode(&[output], Batch::Keep).unwrap(),
        r#"{"output":[[0.5,1.0,2.0]]}"#
    );
    // Only where the model leaves the batch open.
    let fixed = [spec("x", Datatype::Fp32, &[Some(1), Some(2)])];
    let (_, message) = refusal(r#"{"input": [1, 2]}"#, &fixed);
    assert!(message.contains("takes FP32 [1, 2]"), "{message}");
}

#[test]
fn scalars_and_empty_arrays_have_shapes() {
    let scalar = [spec("x", Datatype::Int64, &[])];
    let inputs = decode(br#"{"input": 7}"#, &scalar).unwrap();
    assert_eq!(inputs.tensors[0].as_slice::<i64>().unwrap(), [7]);
    let inputs = decode(
        br#"{"input": [[], []]}"#,
        &[spec("x", Datatype::Fp32, &[None, None])],
    );
    assert_eq!(&**inputs.unwrap().tensors[0].shape(), [2, 0]);
}

#[test]
fn several_inputs_are_named() {
    let specs = [
        spec("a", Datatype::Fp32, &[None, Some(2)]),
        spec("b", Datatype::Bool, &[None]),
    ];
    for key in ["input", "inputs"] {
        let text = format!(r#"{{"{key}": {{"b": [true, false], "a": [[1, 2], [3, 4]]}}}}"#);
        let inputs = decode(text.as_bytes(), &specs).unwrap();
        assert_eq!(inputs.tensors[0].name(), "a");
        assert_eq!(inputs.tensors[1].data().as_ref(), [1, 0]);
    }
    let text = br#"{"input": {"a": [1, 2], "b": true}}"#;
    assert_eq!(decode(text, &specs).unwrap().batch, Batch::Strip);
    let text = br#"{"input": {"a": [1, 2], "b": [true]}}"#;
    assert_eq!(decode(text, &specs).unwrap().batch, Batch::Keep);
    let (field, message) = refusal(r#"{"input": {"a": [1, 2]}}"#, &specs);
    assert_eq!(field, "input.b");
    assert!(
        message.contains("missing") && message.contains("BOOL [*]"),
        "{message}"
    );
    let (field, message) = refusal(r#"{"input": [1, 2]}"#, &specs);
    assert_eq!(field, "input");
    assert!(message.contains("does not name"), "{message}");
    let (field, message) = refusal(r#"{"input": {"a": [1, 2], "c": 1}}"#, &specs);
    assert_eq!(field, "input");
    assert!(message.contains("no input \"c\""), "{message}");
    let (field, _) = refusal(r#"{"input": {"b": [true], "b": [true]}}"#, &specs);
    assert_eq!(field, "input.b");
    let (field, _) = refusal(r#"{"inputs": {"a": [[1, 2], [3, "x"]]}}"#, &specs);
    assert_eq!(field, "inputs.a[1][1]");
}

#[test]
fn refusals_name_the_place() {
    let wide = [spec("x", Datatype::Fp32, &[None, None])];
    for (text, field, part) in [
        (
            r#"{"input": [[1, 2], [3]]}"#,
            "input[1]",
            "fewer than the 2",
        ),
        (
            r#"{"input": [[1, 2], [3, 4, 5]]}"#,
            "input[1]",
            "more than the 2",
        ),
        (r#"{"input": [[1, 2], 3]}"#, "input[1]", "is one element"),
        (r#"{"input": [1, [2, 3]]}"#, "input[1]", "is an array"),
        (r#"{"input": [[], 3]}"#, "input[1]", "is one element"),
        (r#"{"input": [[1, "2"]]}"#, "input[0][1]", "is text"),
        (r#"{"input": [[1, true]]}"#, "input[0][1]", "is true"),
        (
            r#"{"input": [[1, {"a": 1}]]}"#,
            "input[0][1]",
            "is an object",
        ),
        (r#"{"input": [[1, 1e39]]}"#, "input[0][1]", "cannot hold"),
        (r#"{"input": [[1, Nan]]}"#, "input[0][1]", "not valid JSON"),
        (r#"{"input": [[1, +Infinity]]}"#, "input[0][1]", "not valid"),
        (r#"{"input": [[1, -Infinit]]}"#, "input[0][1]", "not valid"),
        (r#"{"input": [[1, NaN1]]}"#, "input[0][2]", "not valid JSON"),
        (r#"{"input": {"x": null}}"#, "input.x", "is null"),
        (r#"{"input": [[1, 2]"#, "input[1]", "not valid JSON"),
        (r#"{"input": [[1, 2]]} x"#, "input", "not valid JSON"),
        (
            r#"{"input": [[1]], "input": [[1]]}"#,
            "input",
            "given twice",
        ),
        (
            r#"{"input": [[1]], "extra": 1}"#,
            "input",
            "unknown key \"extra\"",
        ),
        (r#"{"output": [[1]]}"#, "body", "unknown key \"output\""),
        (r#"{"input": null}"#, "input", "is null"),
        (r#"{"input": [[[1]]]}"#, "input", "has the shape [1, 1, 1]"),
        ("{}", "input", "send {\"input\""),
        ("[1]", "body", "an object like"),
        ("", "body", "not valid JSON"),
    ] {
        let (found, message) = refusal(text, &wide);
        assert_eq!(found, field, "{text}: {message}");
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn integers_hold_what_they_can() {
    for (datatype, good, bad) in [
        (Datatype::Uint8, "[0, 255]", "256"),
        (Datatype::Int8, "[-128, 127]", "-129"),
        (Datatype::Uint16, "[65535]", "-1"),
        (Datatype::Int32, "[-2147483648]", "2147483648"),
        (Datatype::Uint64, "[18446744073709551615]", "-1"),
        (
            Datatype::Int64,
            "[-9223372036854775808]",
            "9223372036854775808",
        ),
        (Datatype::Int64, "[1]", "1.5"),
        (Datatype::Int8, "[2.0, -1e2]", "1e3"),
        (Datatype::Uint8, "[0.0, 2.50e2]", "-1.0"),
        (Datatype::Int64, "[9007199254740992.0]", "1e300"),
        (Datatype::Int64, "[1]", "18446744073709551616"),
        (Datatype::Fp16, "[65504]", "65536"),
        (Datatype::Fp64, "[1e308]", "1e400"),
    ] {
        let specs = [spec("x", datatype, &[None])];
        let text = format!(r#"{{"input": {good}}}"#);
        assert!(decode(text.as_bytes(), &specs).is_ok(), "{datatype} {good}");
        let (field, _) = refusal(&format!(r#"{{"input": [0, {bad}]}}"#), &specs);
        assert_eq!(field, "input[1]", "{datatype} {bad}");
    }
}

#[test]
fn what_json_has_no_number_for_goes_both_ways() {
    let text = r#"{"input": [NaN, Infinity, -Infinity, null, 1]}"#;
    for datatype in [
        Datatype::Fp16,
        Datatype::Bf16,
        Datatype::Fp32,
        Datatype::Fp64,
    ] {
        let inputs = decode(text.as_bytes(), &[spec("x", datatype, &[None])]).unwrap();
        let answer = encode(&inputs.tensors, Batch::Keep).unwrap();
        assert_eq!(answer, r#"{"output":[null,null,null,null,1.0]}"#);
        let mut elements = Vec::new();
        let literal = NotFinite::Literal;
        write_elements(&mut elements, &inputs.tensors[0], &[5], literal).unwrap();
        let elements = String::from_utf8(elements).unwrap();
        assert_eq!(elements, "[NaN,Infinity,-Infinity,NaN,1.0]");
    }
    for (datatype, is) in [
        (Datatype::Int32, "no finite number"),
        (Datatype::Bool, "no finite number"),
        (Datatype::Bytes, "no finite number"),
    ] {
        let specs = [spec("x", datatype, &[None])];
        let (field, message) = refusal(r#"{"input": [NaN]}"#, &specs);
        assert_eq!(field, "input[0]", "{datatype}");
        assert!(message.contains(is), "{message}");
        let (field, message) = refusal(r#"{"input": [null]}"#, &specs);
        assert_eq!(field, "input[0]", "{datatype}");
        assert!(message.contains("is null"), "{message}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for depth in [33, 127, 128, 10_000, 1_000_000] {
        let text = format!(r#"{{"input": {}"#, "[".repeat(depth));
        refusal(&text, &rows_of(2));
        refusal(&"[".repeat(depth), &rows_of(2));
        refusal(&r#"{"input":"#.repeat(depth), &rows_of(2));
    }
}

#[test]
fn text_goes_both_ways() {
    let specs = [spec("x", Datatype::Bytes, &[None])];
    let text = r#"{"input":["a\"\n","","ü\ud83d\ude00"]}"#;
    let inputs = decode(text.as_bytes(), &specs).unwrap();
    let elements: Vec<_> = inputs.tensors[0].elements().unwrap().collect();
    assert_eq!(elements, ["a\"\n".as_bytes(), b"", "ü😀".as_bytes()]);
    let output = encode(&inputs.tensors, Batch::Keep).unwrap();
    assert_eq!(output, "{\"output\":[\"a\\\"\\n\",\"\",\"ü😀\"]}");
    let bytes = Tensor::from_elements("y", [1], &[b"\xff"]).unwrap();
    let error = encode(&[bytes], Batch::Keep).unwrap_err();
    assert_eq!(error.kind(), wharf_core::ErrorKind::Unprocessable);
    assert_eq!(error.field(), Some("y"));
}

#[test]
fn several_outputs_are_named() {
    let outputs = [
        Tensor::from_vec("label", [2], vec![1_i64, -2]).unwrap(),
        Tensor::from_vec("p\"", [1, 1], vec![f32::NAN]).unwrap(),
        Tensor::from_vec("none", [0, 3], Vec::<u8>::new()).unwrap(),
    ];
    assert_eq!(
        encode(&outputs, Batch::Keep).unwrap(),
        r#"{"output":{"label":[1,-2],"p\"":[[null]],"none":[]}}"#
    );
    let values = Tensor::from_vec("x", [3], vec![0.1_f32, 1e30, 16_777_216.]).unwrap();
    let text = encode(&[values], Batch::Keep).unwrap();
    let values: serde_json::Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(values["output"][0].as_f64(), Some(0.1));
}

/// Writes and reads back, in every number of two dimensions.
fn round_trip<T: Element + PartialEq + std::fmt::Debug>(elements: &[T], columns: usize) {
    let rows = elements.len() / columns;
    let elements = elements[..rows * columns].to_vec();
    let shape = [rows as u64, columns as u64];
    let tensor = Tensor::from_vec("x", shape, elements.clone()).unwrap();
    let text = encode(&[tensor], Batch::Keep).unwrap();
    let text = String::from_utf8(text.to_vec())
        .unwrap()
        .replacen("output", "input", 1);
    let specs = [spec("x", T::DATATYPE, &[None, Some(columns as u64)])];
    let read = decode(text.as_bytes(), &specs).unwrap();
    assert_eq!(read.tensors[0].as_slice::<T>().unwrap(), elements, "{text}");
}

proptest! {
    #[test]
    fn numbers_survive(
        bits in proptest::collection::vec(any::<u64>(), 5..40),
        columns in 1_usize..5,
    ) {
        round_trip(&bits, columns);
        round_trip(&bits.iter().map(|bits| *bits as i64).collect::<Vec<_>>(), columns);
        round_trip(&bits.iter().map(|bits| *bits as u8).collect::<Vec<_>>(), columns);
        let finite: Vec<_> = bits.iter().map(|bits| f32::from_bits(*bits as u32)).map(finite_f32).collect();
        round_trip(&finite, columns);
        let finite: Vec<_> = bits.iter().map(|bits| f64::from_bits(*bits)).map(finite_f64).collect();
        round_trip(&finite, columns);
    }

    #[test]
    fn hostile_text_is_refused_or_read(text in r#"(\{"inputs?":)?[\[\]{}0-9eE+\-.,:"a-z\\ ]{0,60}"#) {
        let specs = [spec("a", Datatype::Fp32, &[None, None]), spec("b", Datatype::Bytes, &[None])];
        for specs in [&specs[..1], &specs[1..], &specs[..], &[]] {
            if let Err(error) = decode(text.as_bytes(), specs) {
                prop_assert!(error.field().is_some());
            }
        }
    }

    #[test]
    fn hostile_bytes_are_refused_or_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let specs = rows_of(2);
        let _ = decode(&bytes, &specs);
        let _ = decode(&[br#"{"input":["#.as_slice(), &bytes].concat(), &specs);
    }
}

fn finite_f32(value: f32) -> f32 {
    if value.is_finite() { value } else { 0.5 }
}

fn finite_f64(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.5 }
}
