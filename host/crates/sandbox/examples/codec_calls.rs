//! What images and texts cost through the ability `codec`, beside the same code called directly. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `vision`: it hands a body to the host, and gets handles of tensors back.

use std::fmt::Write as _;
use std::hint::black_box;
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use wharf_codec::{Channels, EncodingOptions, Filter, Fit, Image, ImageTarget, Layout, Tokenizer};
use wharf_core::{
    Body, Datatype, Headers, Name, Payload, Plugin, PluginFile, PluginHost, RequestContext,
};
use wharf_sandbox::{Config, Sandbox};

/// The program's allocator, for the buffers of both sides.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORDS: usize = 128;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let site = tempfile::tempdir().expect("a temporary folder");
    let sandbox =
        Sandbox::new(Config::default(), &opentelemetry::global::meter("bench")).expect("a sandbox");
    let tokenizer = tokenizer();
    let vision = load(&sandbox, site.path(), &tokenizer);
    let measured = |fields: &[(&'static str, &str)], input: &Bytes, calls| {
        runtime.block_on(median_call(&vision, &request(fields), input, calls))
    };

    let photo = photo();
    let target = ImageTarget {
        name: "pixels".into(),
        width: 224,
        height: 224,
        fit: Fit::Cover,
        filter: Filter::Bilinear,
        channels: Channels::Rgb,
        layout: Layout::Nchw,
        datatype: Datatype::Fp32,
        scale: 1.0 / 255.0,
        mean: Vec::new(),
        deviation: Vec::new(),
    };
    let native = median(60, || {
        let image = Image::open(photo.clone()).expect("a photo");
        black_box(image.tensor(&target, 64_000_000).expect("a tensor"));
    });
    let plugin = measured(&[("x-filter", "bilinear"), ("x-fit", "cover")], &photo, 60);
    pair("JPEG of 1080p to 224 x 224 floats", (native, plugin), 1.3);

    let text = text();
    let options = EncodingOptions {
        max_length: None,
        pad_to: None,
        special: true,
        most_bytes: u64::MAX,
    };
    let direct = Tokenizer::from_json(tokenizer.as_bytes()).expect("a tokenizer");
    let native = median(2_000, || {
        let texts = [text.clone()];
        let encoded = direct.encode(&texts, &options, &AtomicBool::new(false));
        black_box(encoded.expect("ids"));
    });
    let body = Bytes::from(text);
    let fields = [("x-do", "encode"), ("x-tokenizer", "words")];
    let plugin = measured(&fields, &body, 2_000);
    pair(&format!("{WORDS} words to ids"), (native, plugin), 1.2);
}

/// Prints a measurement and its native one.
fn pair(what: &str, (native, plugin): (Duration, Duration), at_most: f64) {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    println!("{what}, native|{:.3}|us|", us(native));
    println!("{what}, by a plugin|{:.3}|us|", us(plugin));
    println!(
        "{what}, by a plugin / native|{:.3}|times|{at_most}",
        us(plugin) / us(native)
    );
}

/// Something with the edges, the gradients and the noise of a photo.
fn photo() -> Bytes {
    let pixels = RgbImage::from_fn(1920, 1080, |x, y| {
        let noise = ((x * 31 + y * 17).wrapping_mul(2_654_435_761) >> 29) as u8;
        let edge = if (x / 97 + y / 61) % 2 == 0 { 60 } else { 0 };
        Rgb([
            (x / 8) as u8 / 2 + edge + noise,
            (y / 5) as u8 / 2 + noise,
            ((x + y) / 16) as u8 / 2 + edge + noise,
        ])
    });
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(pixels)
        .write_to(&mut file, ImageFormat::Jpeg)
        .expect("a photo");
    file.into_inner().into()
}

/// A tokenizer of pieces of words, such as that of BERT, with a small vocabulary.
fn tokenizer() -> String {
    let mut vocabulary = String::from(r#""[UNK]": 0"#);
    let letters = || 'a'..='z';
    let mut id = 1;
    for first in letters() {
        for prefix in ["", "##"] {
            write!(vocabulary, r#", "{prefix}{first}": {id}"#).expect("text grows");
            id += 1;
            for second in letters() {
                write!(vocabulary, r#", "{prefix}{first}{second}": {id}"#).expect("text grows");
                id += 1;
            }
        }
    }
    format!(
        r###"{{
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
            "normalizer": {{
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true
            }},
            "pre_tokenizer": {{"type": "BertPreTokenizer"}}, "post_processor": null, "decoder": null,
            "model": {{
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
                "vocab": {{{vocabulary}}}
            }}
        }}"###
    )
}

fn text() -> String {
    let words = [
        "The", "harbour", "lies", "behind", "a", "long", "wall", "of", "stone,",
    ];
    let words: Vec<&str> = words.into_iter().cycle().take(WORDS).collect();
    words.join(" ")
}

fn load(sandbox: &Sandbox, site: &Path, tokenizer: &str) -> Arc<dyn Plugin> {
    let guests = PathBuf::from(
        std::env::var_os("WHARF_TEST_GUESTS").expect("WHARF_TEST_GUESTS: cargo xtask guests"),
    );
    let folder = site.join("plugins");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::copy(guests.join("vision.wasm"), folder.join("vision.wasm"))
        .expect("the guest vision");
    std::fs::write(folder.join("words.json"), tokenizer).expect("a tokenizer");
    let settings =
        "isolation = 'shared'\n[grants.codec.tokenizers]\nwords = 'plugins/words.json'\n";
    std::fs::write(folder.join("vision.toml"), settings).expect("settings");
    let file = PluginFile {
        site: site.to_owned(),
        name: Name::new("vision").expect("a name"),
    };
    let release = sandbox.read(&file).expect("the plugin is read");
    sandbox.load(&release).expect("the plugin is loaded")
}

fn request(fields: &[(&'static str, &str)]) -> Arc<RequestContext> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, value.parse().expect("a header's value"));
    }
    Arc::new(RequestContext {
        headers: Headers::new(headers),
        deadline: Instant::now() + Duration::from_secs(600),
        id: "bench".into(),
        route: "bench".into(),
        tenant: None,
        scheduling: wharf_core::Scheduling::default(),
        depth: 0,
    })
}

async fn median_call(
    plugin: &Arc<dyn Plugin>,
    request: &Arc<RequestContext>,
    input: &Bytes,
    calls: usize,
) -> Duration {
    let mut times = Vec::with_capacity(calls);
    for call in 0..calls + calls / 10 {
        let body = Payload::Body(Body {
            media_type: "application/octet-stream".into(),
            data: input.clone(),
        });
        let started = Instant::now();
        let output = plugin.preprocess(request, body).await;
        let time = started.elapsed();
        black_box(output.expect("the guest answers"));
        if call >= calls / 10 {
            times.push(time);
        }
        tokio::task::yield_now().await;
    }
    middle(times)
}

fn median(calls: usize, work: impl Fn()) -> Duration {
    for _ in 0..calls / 10 {
        work();
    }
    let times = (0..calls)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    middle(times)
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
