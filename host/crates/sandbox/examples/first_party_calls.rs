//! What calls of the first-party plugins cost, on inputs of the sizes that they meet. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.

#[path = "ground/ground.rs"]
mod ground;
#[path = "ground/many.rs"]
mod many;
#[path = "ground/same.rs"]
mod same;
#[path = "ground/words.rs"]
mod words;

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use wharf_core::{
    Body, Candidate, ModelCalls, ModelLoad, Name, Payload, Plugin, PluginHost, Tensor, Token,
};
use wharf_sandbox::Config;

use ground::{Guests, request};
use many::median_of;
use same::Same;

/// The embeddings of the tokens of a small sentence model.
const TEXTS: usize = 8;
const TOKENS: usize = 128;
const WIDTH: usize = 384;
/// What a detector gives for a picture of 640 x 640, with 80 classes.
const BOXES: usize = 8400;
const ROWS: usize = 84;

const TOKENIZE: &str =
    "[grants.codec.tokenizers]\nwords = 'plugins/words.json'\n[settings]\ntokenizer = 'words'\n";
const CANARY: &str = "[settings]\nsticky_header = 'x-user'\nweights = { a = 80, b = 15, c = 5 }\n";
const AB_TEST: &str = "[settings]\nexperiment = 'e'\nsticky_by = 'header'\nsticky_header = 'x-user'\n\
    variants = { a = { weight = 50 }, b = { weight = 50 } }\n";
const FALLBACK: &str = "[settings]\norder = ['a', 'b', 'c']\n\
    limits = { max_queue_depth = 16, max_in_flight = 8, max_latency_ms = 200 }\n";

fn main() {
    let runtime = ground::runtime();
    let _entered = runtime.enter();
    let guests = Guests::new();
    let sandbox = ground::sandbox(Config::default());
    // Instances are kept.
    let plugin = |name: &str, settings: &str| {
        guests.add(name, name, &format!("isolation = \"shared\"\n{settings}"));
        guests.load(&sandbox, name)
    };
    let line = |what: &str, time| ground::line(what, time, None);
    let post = |plugin: &Arc<dyn Plugin>, output: &Payload| {
        runtime
            .block_on(plugin.postprocess(&request(HeaderMap::new()), output.clone()))
            .expect("an answer")
    };
    let pre = |plugin: &Arc<dyn Plugin>, input: &Payload| {
        runtime
            .block_on(plugin.preprocess(&request(HeaderMap::new()), input.clone()))
            .expect("tensors")
    };

    let embeddings = floats(TEXTS * TOKENS * WIDTH);
    let native = median_of(200, || black_box(mean(black_box(&embeddings))));
    line("mean of 8 x 128 token embeddings of 384, native", native);
    let pool = plugin("mean-pool", "");
    let shape = [TEXTS as u64, TOKENS as u64, WIDTH as u64];
    let output = tensor(&shape, embeddings);
    let time = median_of(200, || post(&pool, &output));
    line("mean of 8 x 128 token embeddings of 384, mean-pool", time);

    let detect = plugin("detect-boxes", "[settings]\nlayout = 'yolov8'");
    let output = tensor(&[1, ROWS as u64, BOXES as u64], floats(ROWS * BOXES));
    let time = median_of(100, || post(&detect, &output));
    line("8,400 boxes of 80 classes, detect-boxes", time);

    let audio = plugin("audio-features", "");
    for (what, seconds) in [("5 s", 5), ("30 s", 30)] {
        let input = body("audio/wav", wav(seconds * 16_000));
        let time = median_of(20, || pre(&audio, &input));
        line(
            &format!("Whisper's features of {what} of sound, audio-features"),
            time,
        );
    }

    let json = plugin("json-schema", &json_settings());
    let input = body("application/json", json_document());
    let time = median_of(500, || pre(&json, &input));
    line("32 fields checked and made tensors, json-schema", time);

    std::fs::write(guests.folder().join("words.json"), words::tokenizer()).expect("a tokenizer");
    let tokenize = plugin("tokenize", TOKENIZE);
    for (what, texts) in [("a text", 1), ("16 texts", 16)] {
        let input = body("application/json", texts_document(texts));
        let time = median_of(500, || pre(&tokenize, &input));
        line(&format!("{what} of 128 words to ids, tokenize"), time);
    }

    let models: Arc<dyn ModelCalls> = Arc::new(Same);
    sandbox.connect(Arc::downgrade(&models));
    let input = tensor(&[1, 4], floats(4));
    for (what, name, percent) in [
        ("4 floats that are mirrored, shadow", "shadow-all", 100),
        ("4 floats that are not mirrored, shadow", "shadow-none", 0),
    ] {
        let settings = format!(
            "isolation = \"shared\"\n[grants.model]\ntargets = ['next']\n[settings]\ntarget = 'next'\npercent = {percent}\n"
        );
        guests.add(name, "shadow", &settings);
        let shadow = guests.load(&sandbox, name);
        line(what, median_of(5_000, || pre(&shadow, &input)));
    }

    let choose = |plugin: &Arc<dyn Plugin>, candidates: &[Candidate]| {
        runtime
            .block_on(plugin.route(&request(user()), candidates))
            .expect("a choice")
    };
    for (what, name, settings) in [
        ("3 weights by a header field, canary", "canary", CANARY),
        ("2 variants by a header field, ab-test", "ab-test", AB_TEST),
        ("3 candidates with 3 limits, fallback", "fallback", FALLBACK),
    ] {
        let router = plugin(name, settings);
        let candidates = candidates();
        let time = median_of(5_000, || choose(&router, &candidates));
        line(what, time);
    }

    let redact = plugin("redact", "");
    let time = median_of(100, || runtime.block_on(redacted(&redact)));
    line("a token of a text of 256, redact", time / 256);
}

/// The header of a request that sticks.
fn user() -> HeaderMap {
    let mut fields = HeaderMap::new();
    fields.insert("x-user", HeaderValue::from_static("user-4711"));
    fields
}

/// Three that are well, with a label each.
fn candidates() -> Vec<Candidate> {
    let candidate = |label: &str| Candidate {
        model: Name::new(label).expect("a name"),
        version: 1,
        labels: Arc::from([label.to_owned()]),
        load: ModelLoad::default(),
    };
    ["a", "b", "c"].map(candidate).to_vec()
}

/// A text of 256 tokens, one at a time.
async fn redacted(plugin: &Arc<dyn Plugin>) {
    let mut filter = plugin
        .filter_tokens(&request(HeaderMap::new()))
        .await
        .expect("a filter");
    for id in 0..256_u32 {
        let text = [
            " the", " quick", " brown", " fox", ",", " 42", " a@b", ".com",
        ][id as usize % 8];
        let token = Token {
            id,
            text: text.to_owned(),
            logprob: None,
        };
        black_box(filter.push(vec![token]).await.expect("a verdict"));
    }
    black_box(filter.finish().await.expect("the rest"));
}

/// Numbers from 0 to 1 that follow no order.
fn floats(count: usize) -> Vec<f32> {
    (0..count)
        .map(|index| (index * 7919 % 1009) as f32 / 1009.0)
        .collect()
}

fn tensor(shape: &[u64], values: Vec<f32>) -> Payload {
    let tensor = Tensor::from_vec("x", shape.to_vec(), values).expect("the count fits the shape");
    Payload::Tensors(vec![tensor])
}

fn body(media_type: &str, data: Vec<u8>) -> Payload {
    Payload::Body(Body {
        media_type: media_type.into(),
        data: Bytes::from(data),
    })
}

/// A file of 16-bit samples, 16,000 a second.
fn wav(samples: usize) -> Vec<u8> {
    let mut file = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0".to_vec();
    file.extend(16_000_u32.to_le_bytes());
    file.extend(32_000_u32.to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend((2 * samples as u32).to_le_bytes());
    let sample = |index: usize| (index * 7919 % 20_000) as i16 - 10_000;
    file.extend((0..samples).flat_map(|index| sample(index).to_le_bytes()));
    file
}

fn json_settings() -> String {
    let mut settings =
        "[settings.schema]\ntype = 'object'\nadditionalProperties = false\n".to_owned();
    for index in 0..32 {
        let _ = writeln!(
            settings,
            "properties.f{index} = {{ type = 'number', minimum = 0 }}"
        );
    }
    for index in 0..32 {
        let field = format!("name = 'f{index}'\ndatatype = 'fp32'\nshape = [1, 1]\n");
        settings += "[[settings.fields]]\n";
        settings += &field;
    }
    settings
}

fn json_document() -> Vec<u8> {
    let fields: Vec<String> = (0..32)
        .map(|index| format!(r#""f{index}": {index}.5"#))
        .collect();
    format!("{{{}}}", fields.join(", ")).into_bytes()
}

/// So many texts of 128 words.
fn texts_document(count: usize) -> Vec<u8> {
    let texts = vec![format!("\"{}\"", words::text()); count];
    format!(r#"{{"texts": [{}]}}"#, texts.join(", ")).into_bytes()
}

/// The work of mean-pool without a plugin.
fn mean(embeddings: &[f32]) -> Vec<f32> {
    let mut means = vec![0.0; TEXTS * WIDTH];
    let texts = embeddings.chunks_exact(TOKENS * WIDTH);
    for (mean, tokens) in means.chunks_exact_mut(WIDTH).zip(texts) {
        for token in tokens.chunks_exact(WIDTH) {
            mean.iter_mut()
                .zip(token)
                .for_each(|(sum, value)| *sum += value);
        }
        let length = mean.iter().map(|value| value * value).sum::<f32>().sqrt();
        mean.iter_mut().for_each(|value| *value /= length);
    }
    means
}
