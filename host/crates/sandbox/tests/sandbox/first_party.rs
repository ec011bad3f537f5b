//! The first-party plugins as components. Their own tests run natively; here they meet the limits that production has.

use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{Body, ErrorKind, Payload, Plugin, Tensor, Verdict};

use crate::site::{Site, guest, request, text};

fn load(site: &Site, name: &str, settings: &str) -> Arc<dyn Plugin> {
    site.load(name, &guest(name), settings).unwrap()
}

/// What is wrong with settings, as the operator reads it.
fn refusal(site: &Site, name: &str, settings: &str) -> String {
    match site.load(name, &guest(name), settings) {
        Ok(_) => panic!("{name} takes {settings}"),
        Err(error) => error.to_string(),
    }
}

fn send(media_type: &str, data: impl Into<Bytes>) -> Payload {
    Payload::Body(Body {
        media_type: media_type.into(),
        data: data.into(),
    })
}

fn tensors(payload: Payload) -> Vec<Tensor> {
    match payload {
        Payload::Tensors(tensors) => tensors,
        Payload::Body(body) => panic!("{body:?} is no tensors"),
    }
}

#[tokio::test]
async fn mean_pool_makes_embeddings_of_unit_length() {
    let site = Site::new();
    let settings = "[settings]\nmask = 'mask'";
    let pool = load(&site, "mean-pool", settings);
    let tokens = |values: [f32; 4]| Tensor::from_vec("tokens", [1, 2, 2], values.to_vec()).unwrap();
    let mask = Tensor::from_vec("mask", [1, 2], vec![1_i64, 0]).unwrap();
    let output = vec![tokens([3.0, 4.0, 9.0, 9.0]), mask.clone()];
    let answer = pool.postprocess(&request(), Payload::Tensors(output)).await;
    let answer = tensors(answer.unwrap());
    assert_eq!(
        (answer[0].name(), &**answer[0].shape()),
        ("sentence_embedding", &[1, 2][..])
    );
    assert_eq!(answer[0].as_slice::<f32>().unwrap(), [0.6, 0.8]);

    let output = vec![tokens([f32::NAN, 4.0, 9.0, 9.0]), mask];
    let error = pool.postprocess(&request(), Payload::Tensors(output)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::PluginFault);
    assert_eq!(pool.health().faults, 0, "it refuses, and does not trap");
    let text = refusal(&site, "mean-pool", "[settings]\nmasc = 'm'");
    assert!(text.contains("masc"), "{text}");
}

#[tokio::test]
async fn detect_boxes_keeps_the_best_of_those_that_overlap() {
    let site = Site::new();
    let detect = load(&site, "detect-boxes", "[settings]\nlayout = 'yolov8'");
    // 8,400 boxes that are one and the same, and one beside them.
    let count = 8400;
    let mut values = Vec::new();
    for (number, last) in [
        (50.0, 400.0),
        (50.0, 400.0),
        (20.0, 20.0),
        (20.0, 20.0),
        (0.5, 0.75),
    ] {
        values.extend(std::iter::repeat_n(number, count - 1));
        values.push(last);
    }
    let output = |values: Vec<f32>| {
        let tensor = Tensor::from_vec("output0", [1, 5, count as u64], values);
        Payload::Tensors(vec![tensor.unwrap()])
    };
    let answer = detect
        .postprocess(&request(), output(values.clone()))
        .await
        .unwrap();
    assert_eq!(
        text(&answer),
        r#"{"boxes":[{"class":0,"score":0.75,"box":[390.0,390.0,410.0,410.0]},{"class":0,"score":0.5,"box":[40.0,40.0,60.0,60.0]}]}"#
    );
    assert_eq!(site.metric("plugin_detect_boxes_objects_total", &[]), 2.0);
    values[4 * count + 7] = f32::NAN;
    let error = detect
        .postprocess(&request(), output(values))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PluginFault);
    assert!(error.message().contains("the box 7"), "{error}");
    assert_eq!(detect.health().faults, 0);
    let text = refusal(&site, "detect-boxes", "[settings]\nlayout = 'yolo'");
    assert!(text.contains("layout"), "{text}");
}

/// Words at spaces, each a token.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2, "ship": 3, "sails": 4}}
}"#;

#[tokio::test]
async fn tokenize_takes_texts_by_the_granted_tokenizer() {
    let site = Site::new();
    std::fs::write(site.folder.path().join("plugins/words.json"), WORDS).unwrap();
    let granted = |settings: &str| {
        format!("[grants.codec.tokenizers]\nwords = 'plugins/words.json'\n[settings]\n{settings}")
    };
    let words = granted("tokenizer = 'words'\nmax_length = 4\nsegments = 'token_type_ids'");
    let tokenize = load(&site, "tokenize", &words);
    let document = r#"{"texts": ["A ship sails", "a", "A ship, a ship, a ship"]}"#;
    let answer = tokenize
        .preprocess(&request(), send("application/json", document))
        .await;
    let answer = tensors(answer.unwrap());
    let names: Vec<&str> = answer.iter().map(Tensor::name).collect();
    assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(&**answer[0].shape(), [3, 4]);
    assert_eq!(
        answer[0].as_slice::<i64>().unwrap(),
        [2, 3, 4, 0, 2, 0, 0, 0, 2, 3, 1, 2]
    );
    assert_eq!(
        answer[1].as_slice::<i64>().unwrap(),
        [1, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 1]
    );
    assert_eq!(site.metric("plugin_tokenize_texts_total", &[]), 3.0);
    assert_eq!(site.metric("plugin_tokenize_length", &[]), 1.0);

    for input in [
        send("application/json", "{"),
        send("text/plain", &b"\xff"[..]),
        send("image/png", "a ship"),
        send("text/plain", vec![b'a'; (1 << 20) + 1]),
    ] {
        let error = tokenize.preprocess(&request(), input).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidArgument, Some("body"))
        );
    }
    assert_eq!(tokenize.health().faults, 0);
    for (settings, mention) in [
        (granted("tokenizer = 'bert'"), "settings.tokenizer"),
        (
            granted("tokenizer = 'words'\npad_to = 0"),
            "settings.pad_to",
        ),
        ("[settings]\ntokenizer = 'words'".to_owned(), "codec"),
    ] {
        let text = refusal(&site, "tokenize", &settings);
        assert!(text.contains(mention), "{text}");
    }
}

/// A file of 16-bit samples, 16,000 a second.
fn wav(samples: usize) -> Vec<u8> {
    let data: Vec<u8> = (0..samples)
        .flat_map(|index| ((index * 7919 % 20_000) as i16 - 10_000).to_le_bytes())
        .collect();
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(16_000_u32.to_le_bytes());
    file.extend(32_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((data.len() as u32).to_le_bytes());
    file.extend(data);
    file
}

#[tokio::test]
async fn audio_features_takes_half_a_minute_and_refuses_a_file_that_is_cut_off() {
    let site = Site::new();
    let audio = load(&site, "audio-features", "");
    let file = wav(16_000 * 30);
    let answer = audio
        .preprocess(&request(), send("audio/wav", file.clone()))
        .await;
    let answer = tensors(answer.unwrap());
    assert_eq!(
        (answer[0].name(), &**answer[0].shape()),
        ("input_features", &[1, 80, 3000][..])
    );
    let values = answer[0].as_slice::<f32>().unwrap();
    assert!(values.iter().all(|value| value.is_finite()));
    // All of it is noise of one loudness, so no frame differs much from another.
    let (least, most) = values
        .iter()
        .fold((f32::MAX, f32::MIN), |(least, most), value| {
            (least.min(*value), most.max(*value))
        });
    assert!(most > least && most - least <= 2.0, "{least} to {most}");

    for length in [0, 11, 40, file.len() - 1] {
        let cut = send("audio/wav", file[..length].to_vec());
        let error = audio.preprocess(&request(), cut).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.field()),
            (ErrorKind::InvalidArgument, Some("body"))
        );
    }
    assert_eq!(audio.health().faults, 0);
    let text = refusal(&site, "audio-features", "[settings]\nn_fft = 401");
    assert!(text.contains("n_fft"), "{text}");
}

#[tokio::test]
async fn json_schema_names_what_is_wrong_however_deep_it_is() {
    let site = Site::new();
    // A schema that comes back to itself by way of three others.
    let settings = r##"
        [settings.schema.properties.next]
        anyOf = [{ allOf = [{ oneOf = [{ "$ref" = "#" }] }] }]
        [settings.schema.properties.x]
        items = { type = "number" }
        [[settings.fields]]
        name = "x"
        datatype = "fp32"
        shape = [1, -1]
    "##;
    let json = load(&site, "json-schema", settings);
    let send = |text: String| send("application/json", text);
    let answer = json
        .preprocess(&request(), send(r#"{"x": [1, 2.5]}"#.to_owned()))
        .await;
    let answer = tensors(answer.unwrap());
    assert_eq!(&**answer[0].shape(), [1, 2]);
    assert_eq!(answer[0].as_slice::<f32>().unwrap(), [1.0, 2.5]);

    let nested = |depth: usize| {
        format!(
            r#"{}{{"x": ["no"]}}{}"#,
            r#"{"next": "#.repeat(depth),
            "}".repeat(depth)
        )
    };
    for (text, field) in [
        (r#"{"x": [1, "2"]}"#.to_owned(), "/x/1"),
        (r#"{"y": 1}"#.to_owned(), "/x"),
        (nested(1), "/next"),
        (nested(100), "/next"),
        (nested(120), "/next"),
        (nested(100_000), "body"),
        ("[".repeat(1_000_000), "body"),
    ] {
        let error = json.preprocess(&request(), send(text)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let named = error.field().unwrap();
        assert!(
            named == field || named.starts_with("/next"),
            "{named} is not {field}"
        );
    }
    assert_eq!(json.health().faults, 0);
    let text = refusal(
        &site,
        "json-schema",
        &settings.replace("\"number\"", "\"int\""),
    );
    assert!(text.contains("schema/properties/x/items/type"), "{text}");
}

#[tokio::test]
async fn redact_takes_out_what_spans_tokens() {
    let site = Site::new();
    let settings = r"
        [[settings.patterns]]
        name = 'ticket'
        pattern = '\bTKT-\d{1,8}\b'
    ";
    let redact = load(&site, "redact", settings);
    let mut filter = redact.filter_tokens(&request()).await.unwrap();
    let mut given = Vec::new();
    let sent = [
        "Mail ",
        "jane",
        ".doe@",
        "example",
        ".org",
        " on TKT",
        "-77, pay 4111 1111",
        " 1111 1111",
    ];
    for (id, text) in sent.into_iter().enumerate() {
        let token = wharf_core::Token {
            id: id as u32 + 1,
            text: text.to_owned(),
            logprob: Some(-0.25),
        };
        match filter.push(vec![token]).await.unwrap() {
            Verdict::Emit(tokens) => given.extend(tokens),
            Verdict::Stop { reason, .. } => panic!("{reason}"),
        }
    }
    given.extend(filter.finish().await.unwrap());
    let text: String = given.iter().map(|token| &*token.text).collect();
    assert_eq!(text, "Mail [email] on [ticket], pay [card]");
    let ids: Vec<u32> = given.iter().map(|token| token.id).collect();
    assert_eq!(ids, [1, 0, 0], "the ids of what was taken out go too");
    assert_eq!(site.metric("plugin_redact_matches_total", &[]), 3.0);
    let text = refusal(
        &site,
        "redact",
        "[[settings.patterns]]\nname = 'x'\npattern = 'a+'",
    );
    assert!(text.contains("patterns[0].pattern"), "{text}");
}
