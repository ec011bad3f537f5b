use half::f16;
use wharf_plugin_sdk::{
    Body, Datatype, Error, Payload, Postprocess, Request, Result, Tensor, testing,
};

use crate::MeanPool;

fn run(settings: &str, output: impl Into<Payload>) -> Result<Tensor> {
    let plugin: MeanPool = testing::plugin(settings)?;
    plugin
        .postprocess(&Request::new("embed"), output.into())?
        .tensor("")
}

fn tokens(shape: &[u64], values: &[f32]) -> Tensor {
    Tensor::new("last_hidden_state", shape, values).unwrap()
}

/// Two texts of three tokens, two wide; the last token of the second is padding.
fn two_texts() -> Vec<Tensor> {
    let values = [
        1.0, 0.0, 2.0, 3.0, 0.0, 3.0, //
        4.0, 0.0, 0.0, 6.0, 9.0, 9.0,
    ];
    let mask = Tensor::new("attention_mask", &[2, 3], &[1i64, 1, 1, 1, 1, 0]).unwrap();
    vec![tokens(&[2, 3, 2], &values), mask]
}

#[test]
fn the_mean_leaves_padding_out() {
    let settings = r#"{"mask": "attention_mask", "normalise": false}"#;
    let answer = run(settings, two_texts()).unwrap();
    assert_eq!(answer.name(), "sentence_embedding");
    assert_eq!(answer.shape(), [2, 2]);
    assert_eq!(answer.fp32().unwrap(), [1.0, 2.0, 2.0, 3.0]);
}

#[test]
fn without_a_mask_all_tokens_count() {
    let answer = run(r#"{"normalise": false}"#, two_texts()).unwrap();
    assert_eq!(answer.fp32().unwrap(), [1.0, 2.0, 13.0 / 3.0, 5.0]);
}

#[test]
fn every_kind_of_mask_is_understood() {
    let masks = [
        Tensor::new("m", &[1, 2], &[1i32, 0]).unwrap(),
        Tensor::new("m", &[1, 2], &[1f32, 0.0]).unwrap(),
        Tensor::new("m", &[1, 2], &[1u8, 0]).unwrap(),
        Tensor::from_bytes("m", Datatype::Boolean, &[1, 2], &[1, 0]).unwrap(),
    ];
    for mask in masks {
        let outputs = vec![tokens(&[1, 2, 1], &[5.0, 9.0]), mask];
        let answer = run(r#"{"mask": "m", "normalise": false}"#, outputs).unwrap();
        assert_eq!(answer.fp32().unwrap(), [5.0]);
    }
}

#[test]
fn embeddings_have_unit_length() {
    let wide: Vec<f32> = (0..2 * 19).map(|index| index as f32 - 7.0).collect();
    let answer = run("{}", tokens(&[1, 2, 19], &wide)).unwrap();
    let length: f32 = answer
        .fp32()
        .unwrap()
        .iter()
        .map(|value| value * value)
        .sum();
    assert!((length - 1.0).abs() < 1e-6, "{length}");
    // Squares that overflow or vanish in binary32 are no hindrance.
    for size in [1e-30_f32, 1e30] {
        let answer = run("{}", tokens(&[1, 1, 2], &[3.0 * size, 4.0 * size])).unwrap();
        let values = answer.fp32().unwrap();
        assert!(
            (values[0] - 0.6).abs() < 1e-6 && (values[1] - 0.8).abs() < 1e-6,
            "{values:?}"
        );
    }
}

#[test]
fn a_text_of_padding_alone_has_zeros() {
    let mask = Tensor::new("m", &[1, 2], &[0i64, 0]).unwrap();
    let outputs = vec![tokens(&[1, 2, 2], &[1.0, f32::NAN, 2.0, 3.0]), mask];
    let answer = run(r#"{"mask": "m"}"#, outputs).unwrap();
    assert_eq!(answer.fp32().unwrap(), [0.0, 0.0]);
}

#[test]
fn halves_go_in_and_out() {
    let halves: Vec<u8> = [3.0, 4.0]
        .iter()
        .flat_map(|value| f16::from_f32(*value).to_le_bytes())
        .collect();
    let input = Tensor::from_bytes("h", Datatype::Fp16, &[1, 1, 2], &halves).unwrap();
    let answer = run(r#"{"datatype": "fp16", "output": "e"}"#, input).unwrap();
    assert_eq!(
        (answer.datatype(), answer.name()),
        (Datatype::Fp16, "e".to_owned())
    );
    let bytes = answer.bytes();
    let first = f16::from_le_bytes([bytes[0], bytes[1]]);
    assert!((first.to_f32() - 0.6).abs() < 1e-3, "{first}");
}

#[test]
fn what_the_model_gives_wrong_is_no_fault_of_the_client() {
    let good = || tokens(&[1, 2, 1], &[1.0, 2.0]);
    let with_mask = |mask: Tensor| Payload::from(vec![good(), mask]);
    let mask = r#"{"mask": "m"}"#;
    for (settings, output) in [
        ("{}", Payload::from(tokens(&[2, 1], &[1.0, 2.0]))),
        ("{}", tokens(&[1, 0, 4], &[]).into()),
        ("{}", tokens(&[1, 2, 1], &[1.0, f32::NAN]).into()),
        ("{}", tokens(&[1, 2, 1], &[1.0, f32::INFINITY]).into()),
        ("{}", Tensor::new("x", &[1, 1, 1], &[1i64]).unwrap().into()),
        ("{}", vec![good(), good().with_name("b")].into()),
        ("{}", Payload::Tensors(Vec::new())),
        ("{}", Body::new("text/plain", b"no tensor").into()),
        (r#"{"name": "other"}"#, good().into()),
        (mask, good().into()),
        (
            mask,
            with_mask(Tensor::new("m", &[1, 3], &[1i64, 1, 1]).unwrap()),
        ),
        (
            mask,
            with_mask(Tensor::new("m", &[1, 2], &[1f64, 1.0]).unwrap()),
        ),
    ] {
        let error = run(settings, output).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{settings}: {error:?}");
    }
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"output": ""}"#, "output"),
        (r#"{"name": "x", "mask": "x"}"#, "mask"),
        (r#"{"datatype": "int8"}"#, "datatype"),
        (r#"{"normalise": "yes"}"#, "normalise"),
        (r#"{"normalize": true}"#, "normalize"),
    ] {
        let error = testing::plugin::<MeanPool>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}");
    }
}
