use std::fs;

use serde_json::json;
use wharf_core::{Error, Tensor};

use super::*;

fn case(files: &[(&str, &str)]) -> (tempfile::TempDir, Result<Case>) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let case = Case::read(folder.path());
    (folder, case)
}

fn tensors(values: &[f32]) -> Outcome {
    let tensor = Tensor::from_vec("x", [values.len() as u64], values.to_vec()).unwrap();
    Outcome::Payload(Payload::Tensors(vec![tensor]))
}

fn body(media_type: &str, text: &'static str) -> Outcome {
    Outcome::Payload(Payload::Body(Body {
        media_type: media_type.into(),
        data: text.into(),
    }))
}

fn expecting(expected: &Value, outcome: &Outcome) -> Vec<String> {
    let (_folder, case) = case(&[("expected.json", &expected.to_string())]);
    case.unwrap().differences(outcome).unwrap()
}

fn floats(values: &Value) -> Value {
    json!({"outputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": values}]})
}

#[test]
fn what_is_expected_makes_no_difference() {
    let json = r#"{"label": "dog", "score": 0.5}"#;
    let wanted =
        json!({"body": {"media_type": "application/json", "json": {"score": 0.5, "label": "dog"}}});
    assert!(expecting(&wanted, &body("application/json", json)).is_empty());
    assert!(expecting(&floats(&json!([1, 0.1])), &tensors(&[1.0, 0.1])).is_empty());
    assert!(expecting(&json!({"chosen": 1}), &Outcome::Chosen(1)).is_empty());
}

#[test]
fn a_difference_is_a_line_with_its_place() {
    for (wanted, outcome, line) in [
        (
            floats(&json!([1, 2])),
            tensors(&[1.0, 2.5]),
            "outputs[0].data[1]: expected 2, got 2.5",
        ),
        (
            floats(&json!([1, 2])),
            tensors(&[1.0]),
            "outputs[0].shape: expected [2], got [1]",
        ),
        (
            json!({"chosen": 1}),
            Outcome::Chosen(0),
            "chosen: expected 1, got 0",
        ),
        (
            json!({"body": {"json": {"a": [1, 2]}}}),
            body("application/json", r#"{"a": [1, 3]}"#),
            "body.json.a[1]: expected 2, got 3",
        ),
        (
            json!({"body": {"text": "a"}}),
            body("text/plain", "b"),
            "body.text: expected \"a\", got \"b\"",
        ),
        (
            json!({"error": {"kind": "not-found"}}),
            Outcome::Refused(Error::invalid("x", "give x")),
            "error.kind: expected \"not-found\", got \"invalid-argument\"",
        ),
        (
            json!({"chosen": 1}),
            body("text/plain", "b"),
            r#"expected {"chosen":1}, got {"body":{"media_type":"text/plain","text":"b"}}"#,
        ),
    ] {
        assert_eq!(expecting(&wanted, &outcome), [line]);
    }
}

#[test]
fn a_tolerance_bears_small_differences() {
    let mut wanted = floats(&json!([1, 2]));
    wanted["tolerance"] = json!(0.01);
    assert!(expecting(&wanted, &tensors(&[1.001, 2.0])).is_empty());
    assert_eq!(expecting(&wanted, &tensors(&[1.1, 2.0])).len(), 1);
}

#[test]
fn many_differences_are_counted() {
    let many: Vec<f32> = (0_u8..50).map(f32::from).collect();
    let wanted = json!({"outputs": [{"name": "x", "datatype": "FP32", "shape": [50], "data": vec![-1; 50]}]});
    let lines = expecting(&wanted, &tensors(&many));
    assert_eq!((lines.len(), lines[10].as_str()), (11, "and 40 more"));
}

#[test]
fn an_error_is_compared_by_what_is_expected_of_it() {
    let outcome = Outcome::Refused(Error::invalid("x", "give x"));
    let wanted = json!({"error": {"kind": "invalid-argument", "field": "x"}});
    assert!(expecting(&wanted, &outcome).is_empty());
}

#[test]
fn what_was_written_as_expected_is_as_expected() {
    let large = Tensor::from_vec("x", [9000], vec![1.5_f32; 9000]).unwrap();
    for outcome in [
        Outcome::Payload(Payload::Tensors(vec![large])),
        tensors(&[f32::NAN, 0.1]),
        body("application/json", "[1, 2]"),
        body("text/plain", "words"),
        Outcome::Payload(Payload::Body(Body {
            media_type: "image/png".into(),
            data: vec![0xff_u8, 0].into(),
        })),
        Outcome::Refused(Error::invalid("x", "give x")),
    ] {
        let (folder, first) = case(&[("expected.json", r#"{"tolerance": 0.5}"#)]);
        first.unwrap().expect(&outcome).unwrap();
        let again = Case::read(folder.path()).unwrap();
        assert_eq!(again.differences(&outcome).unwrap(), Vec::<String>::new());
        assert_eq!(again.expected.unwrap()["tolerance"], 0.5);
    }
}

#[test]
fn wrong_files_are_named() {
    for (files, words) in [
        (vec![("request.json", "{")], "request.json is no JSON"),
        (
            vec![("request.json", r#"{"header": {}}"#)],
            "request.json: unknown field",
        ),
        (
            vec![("request.json", r#"{"input": "../secret"}"#)],
            "without folders",
        ),
        (vec![("input.json", "[]")], "needs the list \"inputs\""),
        (vec![("input.json", r#"{"inputs": [{}]}"#)], "tensor 0"),
    ] {
        let (_folder, case) = case(&files);
        let error = format!("{:#}", case.err().unwrap());
        assert!(error.contains(words), "{error}");
    }
    let (_folder, case) = case(&[("expected.json", r#"{"output": []}"#)]);
    assert!(case.unwrap().differences(&Outcome::Chosen(0)).is_err());
}

#[test]
fn the_stage_is_named_where_there_are_several() {
    let (_folder, case) = case(&[("request.json", r#"{"stage": "router"}"#)]);
    let case = case.unwrap();
    assert_eq!(
        case.stage(&[Stage::Router, Stage::Preprocess]).unwrap(),
        Stage::Router
    );
    assert!(case.stage(&[Stage::Preprocess]).is_err());
    let (_folder, unnamed) = self::case(&[]);
    let unnamed = unnamed.unwrap();
    assert_eq!(
        unnamed.stage(&[Stage::Preprocess]).unwrap(),
        Stage::Preprocess
    );
    assert!(unnamed.stage(&[Stage::Preprocess, Stage::Router]).is_err());
}

#[test]
fn a_filter_may_be_given_nothing_but_no_piece_may_be_empty() {
    let read = |request: Value| case(&[("request.json", &request.to_string())]).1.unwrap();
    let nothing = read(json!({"tokens": [], "chunks": []}));
    assert!(nothing.tokens().unwrap().is_empty());
    assert!(nothing.chunks().unwrap().1.is_empty());
    for request in [json!({}), json!({"tokens": [[]], "chunks": [""]})] {
        let case = read(request);
        for error in [case.tokens().err(), case.chunks().err()] {
            let error = error.unwrap().to_string();
            assert!(error.contains("none of them empty"), "{error}");
        }
    }
}
