use serde_json::{Value, json};
use wharf_plugin_sdk::{
    Body, Element, Error, Payload, Postprocess, Request, Result, Tensor, testing,
};

use crate::TopK;

fn run(settings: &str, payload: impl Into<Payload>) -> Result<Value> {
    let plugin: TopK = testing::plugin(settings)?;
    let body = plugin
        .postprocess(&Request::new("digits"), payload.into())?
        .body()?;
    assert_eq!(body.media_type(), "application/json");
    body.parse_json()
}

fn logits<T: Element>(shape: &[u64], values: &[T]) -> Tensor {
    Tensor::new("logits", shape, values).unwrap()
}

#[test]
fn the_best_come_first_with_their_labels() {
    let settings = r#"{"k": 2, "labels": ["cat", "dog", "fox"]}"#;
    let answer = run(settings, logits(&[1, 3], &[0.25f32, 0.5, 0.125])).unwrap();
    let predictions = json!([{"label": "dog", "score": 0.5}, {"label": "cat", "score": 0.25}]);
    assert_eq!(answer, json!({"label": "dog", "predictions": predictions}));
}

#[test]
fn softmax_makes_probabilities_of_any_logits() {
    let answer = run(r#"{"softmax": true}"#, logits(&[3], &[1e4f64, 1e4, -1e4])).unwrap();
    let scores: Vec<f64> = answer["predictions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["score"].as_f64().unwrap())
        .collect();
    assert_eq!(scores, [0.5, 0.5, 0.0]);
    // Of equal scores the lower class is the first, and without labels a class is its number.
    assert_eq!(answer["label"], "0");
}

#[test]
fn several_rows_give_several_results() {
    let answer = run(r#"{"k": 1}"#, logits(&[2, 2], &[1.0f32, 2.0, 4.0, 3.0])).unwrap();
    assert_eq!(answer["results"][0]["label"], "1");
    assert_eq!(
        answer["results"][1]["predictions"],
        json!([{"label": "0", "score": 4.0}])
    );
}

#[test]
fn k_is_at_most_the_number_of_classes() {
    let answer = run(r#"{"k": 100}"#, logits(&[2], &[1.0f32, 2.0])).unwrap();
    assert_eq!(answer["predictions"].as_array().unwrap().len(), 2);
}

#[test]
fn one_of_several_outputs_is_chosen_by_name() {
    let two = || {
        vec![
            logits(&[1], &[1.0f32]),
            logits(&[2], &[0.0f32, 1.0]).with_name("other"),
        ]
    };
    assert_eq!(run(r#"{"name": "other"}"#, two()).unwrap()["label"], "1");
    let error = run("{}", two()).unwrap_err();
    assert!(
        error.message().contains("logits, other") && error.message().contains("`name`"),
        "{error}"
    );
}

#[test]
fn what_the_model_gives_wrong_is_no_fault_of_the_client() {
    let label_for_each = r#"{"labels": ["a", "b"]}"#;
    for (settings, payload) in [
        ("{}", Payload::from(logits(&[1, 1, 1], &[1.0f32]))),
        ("{}", logits(&[0, 3], &[0f32; 0]).into()),
        ("{}", logits(&[2], &[1i64, 2]).into()),
        ("{}", logits(&[2], &[1.0, f32::NAN]).into()),
        (label_for_each, logits(&[3], &[1.0f32, 2.0, 3.0]).into()),
        ("{}", Body::new("text/plain", b"no tensor").into()),
        ("{}", Payload::Tensors(Vec::new())),
    ] {
        let error = run(settings, payload).unwrap_err();
        assert!(matches!(error, Error::Failed(_)), "{error:?}");
    }
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"k": 0}"#, "k"),
        (r#"{"k": -1}"#, "k"),
        (r#"{"labels": [1]}"#, "labels[0]"),
        (r#"{"top": 3}"#, "top"),
    ] {
        assert_eq!(
            testing::plugin::<TopK>(settings).err().unwrap().field(),
            Some(field),
            "{settings}"
        );
    }
}
