use wharf_plugin_sdk::codec::grant_tokenizer;
use wharf_plugin_sdk::{
    Body, Datatype, Error, Lifecycle, Payload, Preprocess, Request, Result, Tensor, testing,
};

use crate::Tokenize;

fn tokenize(settings: &str) -> Result<Tokenize> {
    grant_tokenizer("words", &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "ship"]);
    let settings = settings.trim_start_matches('{');
    let comma = if settings == "}" { "" } else { ", " };
    testing::plugin(&format!(r#"{{"tokenizer": "words"{comma}{settings}"#))
}

fn run(settings: &str, input: impl Into<Payload>) -> Result<Vec<Tensor>> {
    tokenize(settings)?
        .preprocess(&Request::new("embed"), input.into())?
        .tensors()
}

fn json(text: &str) -> Body {
    Body::new("application/json", text.as_bytes())
}

/// The rows of ids of an input.
fn ids(settings: &str, input: impl Into<Payload>) -> Vec<Vec<i64>> {
    let tensors = run(settings, input).unwrap();
    let length = tensors[0].shape()[1] as usize;
    let ids = tensors[0].int64().unwrap();
    ids.chunks(length).map(<[i64]>::to_vec).collect()
}

#[test]
fn every_form_of_input_gives_the_same_ids() {
    let one = [[2, 4, 5, 3]];
    for media_type in [
        "text/plain",
        "text/plain; charset=utf-8",
        "Text/Markdown",
        "application/octet-stream",
    ] {
        assert_eq!(ids("{}", Body::new(media_type, b"a ship")), one);
    }
    for media_type in ["application/json", "application/vnd.own+json; v=1"] {
        let body = Body::new(media_type, br#"{"text": "a ship"}"#);
        assert_eq!(ids("{}", body), one);
    }
    let two = [[2, 4, 5, 3], [2, 1, 3, 0]];
    assert_eq!(ids("{}", json(r#"{"texts": ["a ship", "ahoy"]}"#)), two);
    for shape in [&[2][..], &[2, 1], &[1, 2]] {
        let tensor = Tensor::from_elements("texts", shape, &["a ship", "ahoy"]).unwrap();
        assert_eq!(ids("{}", tensor), two);
    }
    let scalar = Tensor::from_elements("text", &[], &["a ship"]).unwrap();
    assert_eq!(ids("{}", scalar), one);
}

#[test]
fn ids_and_mask_have_the_usual_names() {
    let tensors = run("{}", json(r#"{"texts": ["a ship", ""]}"#)).unwrap();
    let names: Vec<String> = tensors.iter().map(Tensor::name).collect();
    assert_eq!(names, ["input_ids", "attention_mask"]);
    assert_eq!(tensors[0].shape(), [2, 4]);
    assert_eq!(
        tensors[1].int64().unwrap(),
        [1, 1, 1, 1, 1, 1, 0, 0],
        "an empty text has its special ids"
    );
}

#[test]
fn outputs_are_named_and_chosen() {
    let settings =
        r#"{"ids": "ids", "mask": "", "segments": "token_type_ids", "datatype": "int32"}"#;
    let tensors = run(settings, Body::new("text/plain", b"a")).unwrap();
    let names: Vec<String> = tensors.iter().map(Tensor::name).collect();
    assert_eq!(names, ["ids", "token_type_ids"]);
    assert_eq!(tensors[0].datatype(), Datatype::Int32);
    assert_eq!(tensors[0].int32().unwrap(), [2, 4, 3]);
    assert_eq!(tensors[1].int32().unwrap(), [0, 0, 0]);
}

#[test]
fn texts_are_cut_and_padded() {
    let long = || json(r#"{"texts": ["a a a a", "ship"]}"#);
    let cut = [[2, 4, 3], [2, 5, 3]];
    assert_eq!(ids(r#"{"max_length": 3}"#, long()), cut);
    let padded = [[2, 4, 4, 4, 4, 3, 0, 0], [2, 5, 3, 0, 0, 0, 0, 0]];
    assert_eq!(ids(r#"{"pad_to": 8}"#, long()), padded);
    let plain = [[4, 4, 4, 4], [5, 0, 0, 0]];
    assert_eq!(ids(r#"{"special": false}"#, long()), plain);
}

#[test]
fn texts_and_lengths_are_counted() {
    run("{}", json(r#"{"texts": ["a ship", "a"]}"#)).unwrap();
    assert_eq!(
        testing::take_values(),
        [("tokenize_texts_total", 2.0), ("tokenize_length", 4.0)]
    );
}

#[test]
fn what_is_no_text_is_the_clients_fault() {
    let ids = || Tensor::new("x", &[1], &[1i64]).unwrap();
    let texts = |count| Tensor::from_elements("x", &[count], &vec!["a"; count as usize]).unwrap();
    let hostile = "[".repeat(1000);
    for (settings, input, field) in [
        ("{}", Payload::from(json("{}")), Some("body")),
        (
            "{}",
            json(r#"{"text": "a", "texts": ["a"]}"#).into(),
            Some("body"),
        ),
        ("{}", json(r#"{"texts": []}"#).into(), Some("body")),
        ("{}", json(r#"{"texts": "a"}"#).into(), Some("body")),
        ("{}", json(r#"{"texts": ["a", 1]}"#).into(), Some("body")),
        ("{}", json(r#"{"txet": "a"}"#).into(), Some("body")),
        ("{}", json(r#"{"text": "a"} b"#).into(), Some("body")),
        ("{}", json("").into(), Some("body")),
        ("{}", json(&hostile).into(), Some("body")),
        ("{}", Body::new("text/plain", b"\xff").into(), Some("body")),
        ("{}", Body::new("image/png", b"a").into(), Some("body")),
        ("{}", Body::new("", b"a").into(), Some("body")),
        ("{}", ids().into(), Some("x")),
        ("{}", vec![texts(1), texts(1)].into(), None),
        ("{}", Payload::Tensors(Vec::new()), None),
        ("{}", texts(0).into(), Some("x")),
        (
            "{}",
            Tensor::from_elements("x", &[1], &[b"\xff"]).unwrap().into(),
            Some("x"),
        ),
        (r#"{"max_texts": 2}"#, texts(3).into(), Some("x")),
        (
            r#"{"max_texts": 2}"#,
            json(r#"{"texts": ["", "", ""]}"#).into(),
            Some("body"),
        ),
        (
            r#"{"max_bytes": 5}"#,
            Body::new("text/plain", b"a ship").into(),
            Some("body"),
        ),
        (r#"{"max_bytes": 4}"#, texts(1).into(), Some("x")),
    ] {
        let error = run(settings, input).unwrap_err();
        assert!(matches!(error, Error::InvalidInput(_)), "{error:?}");
        assert_eq!(error.field(), field, "{error}");
    }
}

#[test]
fn a_wrong_setting_is_refused_by_its_name() {
    for (settings, field) in [
        (r#"{"tokenizer": "other"}"#, "tokenizer"),
        (r#"{}"#, "tokenizer"),
        (r#"{"tokenizer": "words", "max_length": 0}"#, "max_length"),
        (r#"{"tokenizer": "words", "max_length": -1}"#, "max_length"),
        (r#"{"tokenizer": "words", "pad_to": 2000000}"#, "pad_to"),
        (
            r#"{"tokenizer": "words", "max_length": 4, "pad_to": 5}"#,
            "pad_to",
        ),
        (r#"{"tokenizer": "words", "max_texts": 0}"#, "max_texts"),
        (r#"{"tokenizer": "words", "max_bytes": 0}"#, "max_bytes"),
        (r#"{"tokenizer": "words", "ids": ""}"#, "ids"),
        (r#"{"tokenizer": "words", "mask": "input_ids"}"#, "mask"),
        (
            r#"{"tokenizer": "words", "segments": "attention_mask"}"#,
            "segments",
        ),
        (r#"{"tokenizer": "words", "datatype": "uint8"}"#, "datatype"),
        (r#"{"tokenizer": "words", "maxlength": 4}"#, "maxlength"),
    ] {
        grant_tokenizer("words", &["a"]);
        let error = testing::plugin::<Tokenize>(settings).err().unwrap();
        assert_eq!(error.field(), Some(field), "{settings}");
    }
}

#[test]
fn options_without_room_for_ids_are_found_when_it_is_loaded() {
    assert_eq!(tokenize("{}").unwrap().self_test(), Ok(()));
    let error = tokenize(r#"{"max_length": 2}"#).unwrap().self_test();
    assert!(matches!(error, Err(Error::Failed(_))), "{error:?}");
}
