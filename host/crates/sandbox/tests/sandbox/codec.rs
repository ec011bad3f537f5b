//! Images and tokenizers through the ability, with a guest that never sees a pixel.

use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use wharf_core::{
    Body, Datatype, Error, ErrorKind, Payload, Plugin, PluginHost, RequestContext, Tensor,
};

use crate::site::{Log, Site, body, guest, request_with, text};

const GRANT: &str = "[grants]\ncodec = true\n";
const WITH_WORDS: &str = "[grants.codec]\nmax_text_kb = 4\n[grants.codec.tokenizers]\nwords = 'models/words/tokenizer.json'\n";

/// Words at spaces, each a token.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
    "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]", "vocab": {"[PAD]": 0, "[UNK]": 1, "a": 2, "ship": 3, "sails": 4}}
}"#;

fn picture(width: u32, height: u32, format: ImageFormat) -> Bytes {
    let pixels = RgbImage::from_fn(width, height, |x, y| {
        // Noise, which no format makes small.
        let noise = (x * 31 + y * 17).wrapping_mul(2_654_435_761);
        Rgb([(noise >> 24) as u8, (noise >> 16) as u8, x as u8])
    });
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(pixels)
        .write_to(&mut file, format)
        .unwrap();
    file.into_inner().into()
}

fn image(data: impl Into<Bytes>) -> Payload {
    Payload::Body(Body {
        media_type: "image/any".into(),
        data: data.into(),
    })
}

async fn tensors(
    plugin: &Arc<dyn Plugin>,
    fields: &[(&'static str, &str)],
    input: Payload,
) -> Result<Vec<Tensor>, Error> {
    match plugin.preprocess(&request_with(fields), input).await? {
        Payload::Tensors(tensors) => Ok(tensors),
        Payload::Body(body) => panic!("{body:?} is no tensor"),
    }
}

/// A site with the guest and a tokenizer.
fn site_with_words(settings: &str) -> (Site, Arc<dyn Plugin>) {
    let site = Site::new();
    write(&site, "models/words/tokenizer.json", WORDS);
    let plugin = site.load("vision", &guest("vision"), settings).unwrap();
    (site, plugin)
}

fn write(site: &Site, path: &str, content: &str) {
    let path = site.folder.path().join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

#[tokio::test]
async fn an_image_becomes_the_tensor_that_native_code_makes() {
    let site = Site::new();
    let vision = site.load("vision", &guest("vision"), GRANT).unwrap();
    // One that is short, and one that runs on a thread of its own.
    for (width, height) in [(8, 6), (640, 480)] {
        let data = picture(width, height, ImageFormat::Jpeg);
        let reference = image::load_from_memory(&data).unwrap().into_rgb8();
        let size = format!("{width}x{height}");
        let fields = [
            ("x-size", &*size),
            ("x-datatype", "uint8"),
            ("x-layout", "nhwc"),
        ];
        let given = tensors(&vision, &fields, image(data)).await.unwrap();
        assert_eq!(given[0].name(), "pixels");
        assert_eq!(given[0].shape()[..], [1, height.into(), width.into(), 3]);
        assert_eq!(&given[0].data()[..], &reference.as_raw()[..]);
    }
    let white = RgbImage::from_pixel(1, 1, Rgb([255; 3]));
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(white)
        .write_to(&mut file, ImageFormat::Png)
        .unwrap();
    let file = Bytes::from(file.into_inner());
    let fields = [("x-size", "1x1"), ("x-datatype", "normal")];
    let given = tensors(&vision, &fields, image(file.clone()))
        .await
        .unwrap();
    assert_eq!(given[0].as_slice::<f32>().unwrap(), [2.0; 3]);
    let fields = [
        ("x-size", "2x2"),
        ("x-datatype", "fp16"),
        ("x-channels", "gray"),
    ];
    let given = tensors(&vision, &fields, image(file)).await.unwrap();
    assert_eq!(given[0].datatype(), Datatype::Fp16);
    assert_eq!(given[0].shape()[..], [1, 1, 2, 2]);
}

#[tokio::test]
async fn a_header_is_read_without_the_pixels() {
    let site = Site::new();
    let vision = site.load("vision", &guest("vision"), GRANT).unwrap();
    let inspect = request_with(&[("x-do", "inspect")]);
    for (format, name) in [(ImageFormat::Png, "png"), (ImageFormat::Jpeg, "jpeg")] {
        let given = vision.preprocess(&inspect, image(picture(30, 20, format)));
        assert_eq!(text(&given.await.unwrap()), format!("30 20 {name}"));
    }
    let error = vision.preprocess(&inspect, body("none")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[tokio::test]
async fn a_hostile_image_is_the_clients_and_no_fault() {
    let site = Site::new();
    let grant = "[grants.codec]\nmax_pixels = 10_000\n";
    let vision = site.load("vision", &guest("vision"), grant).unwrap();
    let jpeg = picture(90, 90, ImageFormat::Jpeg);
    let mut bomb = picture(4, 4, ImageFormat::Bmp).to_vec();
    bomb[18..26].copy_from_slice(&[0x60, 0xea, 0, 0, 0x60, 0xea, 0, 0]);
    for (data, message) in [
        (
            Bytes::from_static(b"\x89PNG\r\n\x1a\n"),
            "cannot be decoded",
        ),
        (jpeg.slice(..jpeg.len() / 2), "cut off"),
        (bomb.into(), "60000 x 60000 pixels; the most is 10000"),
        (
            picture(101, 100, ImageFormat::Png),
            "101 x 100 pixels; the most is 10000",
        ),
        (Bytes::from_static(b"garbage"), "send JPEG, PNG"),
    ] {
        let error = tensors(&vision, &[], image(data)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.message().contains(message), "{error}");
    }
    assert_eq!(vision.health().faults, 0);
    // What the plugin asks for is the plugin's.
    for fields in [[("x-size", "0x9")], [("x-datatype", "wrong")]] {
        let error = tensors(&vision, &fields, image(jpeg.clone()))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PluginFault, "{error}");
    }
    assert_eq!(tensors(&vision, &[], image(jpeg)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_made_counts_against_the_plugins_memory() {
    let (site, vision) = site_with_words(&format!("{WITH_WORDS}[limits]\nmemory_mb = 16\n"));
    for (fields, input) in [
        (
            vec![("x-size", "4000x4000")],
            image(picture(2, 2, ImageFormat::Png)),
        ),
        (
            vec![
                ("x-do", "encode"),
                ("x-tokenizer", "words"),
                ("x-pad-to", "4000000000"),
            ],
            body("a"),
        ),
    ] {
        let log = Log::default();
        let kept = log.keep();
        let error = tensors(&vision, &fields, input).await.unwrap_err();
        drop(kept);
        assert_eq!(error.kind(), ErrorKind::PluginFault);
        assert!(
            log.text().contains("limits.memory_mb = 16"),
            "{}",
            log.text()
        );
    }
    assert_eq!(site.metric("plugin_instances_in_use", &[]), 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_decode_that_outlasts_the_deadline_is_left_and_delays_nobody() {
    let site = Site::new();
    let vision = site.load("vision", &guest("vision"), GRANT).unwrap();
    let large = picture(5000, 4000, ImageFormat::Png);
    let late = RequestContext {
        deadline: std::time::Instant::now() + Duration::from_millis(20),
        ..(*request_with(&[])).clone()
    };
    let error = vision.preprocess(&Arc::new(late), image(large)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Deadline);
    assert_eq!(vision.health().faults, 0);
    let small = picture(300, 300, ImageFormat::Png);
    assert_eq!(tensors(&vision, &[], image(small)).await.unwrap().len(), 1);
}

#[tokio::test]
async fn texts_become_the_ids_of_the_sites_tokenizer() {
    let (_site, vision) =
        site_with_words(&format!("{WITH_WORDS}[settings]\ntokenizer = 'words'\n"));
    let fields = [("x-do", "encode"), ("x-pad-to", "4")];
    let given = tensors(&vision, &fields, body("A ship sails\nahoy"))
        .await
        .unwrap();
    let rows: Vec<&[i64]> = given
        .iter()
        .map(|tensor| tensor.as_slice().unwrap())
        .collect();
    assert_eq!(
        rows,
        [[2, 3, 4, 0, 1, 0, 0, 0], [1, 1, 1, 0, 1, 0, 0, 0], [0; 8]]
    );
    let names: Vec<&str> = given.iter().map(Tensor::name).collect();
    assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
    assert_eq!(given[0].shape()[..], [2, 4]);

    let fields = [("x-do", "encode"), ("x-max-length", "2")];
    let given = tensors(&vision, &fields, body("a ship sails"))
        .await
        .unwrap();
    assert_eq!(given[0].as_slice::<i64>().unwrap(), [2, 3]);
    // So much that it runs on a thread of its own.
    let long = "ship ".repeat(700);
    let given = tensors(&vision, &[("x-do", "encode")], body(&long))
        .await
        .unwrap();
    assert_eq!(given[0].as_slice::<i64>().unwrap(), [3; 700]);

    let join = request_with(&[("x-do", "join")]);
    let given = vision.preprocess(&join, body("2 3 4")).await.unwrap();
    assert_eq!(text(&given), "a ship sails");
    let look_up = request_with(&[("x-do", "look-up")]);
    let given = vision
        .preprocess(&look_up, body("ship\nboat"))
        .await
        .unwrap();
    assert_eq!(text(&given), "3 - 5");
}

#[tokio::test]
async fn too_much_text_and_other_names_are_refused() {
    let (_site, vision) = site_with_words(WITH_WORDS);
    let encode = |tokenizer| [("x-do", "encode"), ("x-tokenizer", tokenizer)];
    let error = tensors(&vision, &encode("others"), body("a"))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    assert!(error.message().contains("\"others\""), "{error}");
    let long = body(&"ship ".repeat(1000));
    let error = tensors(&vision, &encode("words"), long).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    // Empty texts are not for nothing.
    let empty = body(&"\n".repeat(1000));
    let error = tensors(&vision, &encode("words"), empty).await.unwrap_err();
    assert!(error.message().contains("the most is 4096"), "{error}");
    let error = vision
        .preprocess(&request_with(&encode("words")), body("a"))
        .await;
    assert!(error.is_ok());
}

#[test]
fn a_tokenizer_that_cannot_be_used_is_named_when_the_plugin_is_loaded() {
    let site = Site::new();
    let outside = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(outside.path(), WORDS).unwrap();
    write(&site, "models/bad/tokenizer.json", "{}");
    symlink(
        outside.path(),
        site.folder.path().join("models/leads-out.json"),
    )
    .unwrap();
    std::fs::create_dir(site.folder.path().join("models/folder")).unwrap();
    let refusal = |path: &str| {
        let settings = format!("[grants.codec.tokenizers]\nwords = {path:?}\n");
        match site.load("vision", &guest("vision"), &settings) {
            Ok(_) => panic!("{path} was taken"),
            Err(error) => error,
        }
    };
    for (path, message) in [
        ("models/missing.json", "models/missing.json is not there"),
        ("models/bad/tokenizer.json", "this is no tokenizer.json"),
        (
            "models/leads-out.json",
            "leads out of the site by a symbolic link",
        ),
        ("models/folder", "is no regular file"),
    ] {
        let error = refusal(path);
        assert_eq!(error.file, "plugins/vision.toml");
        assert_eq!(error.key.as_deref(), Some("grants.codec.tokenizers.words"));
        assert!(error.message.contains(message), "{}", error.message);
    }
    for path in [
        "../words.json",
        "/etc/passwd",
        "models/../../words.json",
        "words.json",
    ] {
        let error = refusal(path);
        assert_eq!(error.key.as_deref(), Some("grants.codec.tokenizers"));
        assert!(
            error.message.contains("must be a path inside the site"),
            "{}",
            error.message
        );
    }
    let settings = "[grants.codec]\nmax_pixels = 0\n";
    let error = site.load("vision", &guest("vision"), settings).map(|_| ());
    assert_eq!(
        error.unwrap_err().key.as_deref(),
        Some("grants.codec.max_pixels")
    );
    let error = site.load("vision", &guest("vision"), "").map(|_| ());
    assert!(
        error
            .unwrap_err()
            .message
            .contains("needs the grant \"codec\"")
    );
}

#[test]
fn a_tokenizers_content_is_part_of_the_plugin() {
    let site = Site::new();
    let read = || {
        let file = site.put("vision", &guest("vision"), WITH_WORDS);
        site.sandbox.read(&file).unwrap()
    };
    let missing = read();
    assert!(missing.files[0].content.is_err());
    write(&site, "models/words/tokenizer.json", WORDS);
    let first = read();
    assert_ne!(first.digest, missing.digest);
    assert_eq!(read().digest, first.digest);
    assert_eq!(&*first.files[0].path, "models/words/tokenizer.json");
    write(
        &site,
        "models/words/tokenizer.json",
        &WORDS.replace("sails", "sinks"),
    );
    assert_ne!(read().digest, first.digest);
    // What was read is what is loaded, whatever becomes of the file.
    write(&site, "models/words/tokenizer.json", "gone");
    assert!(site.sandbox.load(&first).is_ok());
}
