//! What images and texts cost through the ability `codec`, beside the same code called directly. `cargo xtask bench` prints the lines:
//! `what|figure|unit|at most`.
//!
//! The guest is the test guest `vision`: it hands a body to the host, and gets handles of tensors back.

#[path = "ground/ground.rs"]
mod ground;
#[path = "ground/many.rs"]
mod many;
#[path = "ground/stage.rs"]
mod stage;
#[path = "ground/words.rs"]
mod words;

use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use wharf_codec::{Channels, EncodingOptions, Filter, Fit, Image, ImageTarget, Layout, Tokenizer};
use wharf_core::{Body, Datatype, Payload, RequestContext};
use wharf_sandbox::Config;

use ground::{Guests, line};
use many::median_of;
use stage::{Pace, median_call};

const SETTINGS: &str =
    "isolation = 'shared'\n[grants.codec.tokenizers]\nwords = 'plugins/words.json'\n";

fn main() {
    let runtime = ground::runtime();
    let _entered = runtime.enter();
    let guests = Guests::new();
    let sandbox = ground::sandbox(Config::default());
    let tokenizer = words::tokenizer();
    guests.add("vision", "vision", SETTINGS);
    std::fs::write(guests.folder().join("words.json"), &tokenizer).expect("a tokenizer");
    let vision = guests.load(&sandbox, "vision");
    let measured = |fields: &[(&'static str, &str)], input: &Bytes, calls| {
        let every = Duration::ZERO;
        let pace = Pace { calls, every };
        runtime.block_on(median_call(
            &vision,
            &request(fields),
            &|| body(input),
            pace,
        ))
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
    let native = median_of(60, || {
        let image = Image::open(photo.clone()).expect("a photo");
        black_box(image.tensor(&target, 64_000_000).expect("a tensor"));
    });
    let plugin = measured(&[("x-filter", "bilinear"), ("x-fit", "cover")], &photo, 60);
    pair("JPEG of 1080p to 224 x 224 floats", (native, plugin), 1.3);

    let text = words::text();
    let options = EncodingOptions {
        max_length: None,
        pad_to: None,
        special: true,
        most_bytes: u64::MAX,
    };
    let direct = Tokenizer::from_json(tokenizer.as_bytes()).expect("a tokenizer");
    let native = median_of(2_000, || {
        let texts = [text.clone()];
        let encoded = direct.encode(&texts, &options, &AtomicBool::new(false));
        black_box(encoded.expect("ids"));
    });
    let body = Bytes::from(text);
    let fields = [("x-do", "encode"), ("x-tokenizer", "words")];
    let plugin = measured(&fields, &body, 2_000);
    let what = format!("{} words to ids", words::COUNT);
    pair(&what, (native, plugin), 1.2);
}

/// Prints a measurement and its native one.
fn pair(what: &str, (native, plugin): (Duration, Duration), at_most: f64) {
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    line(&format!("{what}, native"), native, None);
    line(&format!("{what}, by a plugin"), plugin, None);
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

fn request(fields: &[(&'static str, &str)]) -> Arc<RequestContext> {
    let mut headers = http::HeaderMap::new();
    for (name, value) in fields {
        headers.insert(*name, value.parse().expect("a header's value"));
    }
    ground::request(headers)
}

fn body(data: &Bytes) -> Payload {
    Payload::Body(Body {
        media_type: "application/octet-stream".into(),
        data: data.clone(),
    })
}
