//! Grants: what they may name, and what plugins share of them.

use opentelemetry::metrics::MeterProvider;
use opentelemetry::metrics::noop::NoopMeterProvider;
use wharf_testkit::Reference;

use super::*;

const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "post_processor": null, "decoder": null, "model": {"type": "WordLevel", "unk_token": "a", "vocab": {"a": 0}}
}"#;

#[test]
fn only_paths_in_watched_folders_are_inside() {
    for path in ["models/bert/tokenizer.json", "plugins/bert.json"] {
        assert!(is_inside(path), "{path}");
    }
    for path in [
        "",
        "models",
        "models/",
        "/models/a",
        "./models/a",
        "../models/a",
        "models/../a",
        "models/a/../../b",
        "routes/a",
        "a.json",
        "models/a\0",
        "models\\a",
    ] {
        assert!(!is_inside(path), "{path:?}");
    }
}

#[test]
fn a_wrong_key_is_named() {
    for (grant, key) in [
        ("max_pixels = 0", "max_pixels"),
        ("max_pixels = 268435457", "max_pixels"),
        ("max_text_kb = 0", "max_text_kb"),
        ("max_text_kb = 65537", "max_text_kb"),
        ("tokenizers.a = '../a'", "tokenizers"),
        ("tokenizers.'' = 'models/a'", "tokenizers"),
    ] {
        let grant: Grant = toml::from_str(grant).unwrap();
        assert_eq!(grant.check().unwrap_err().0, key);
    }
    assert!(Grant::default().check().is_ok());
}

fn file(path: &str, content: &str, digest: u8) -> SiteFile {
    SiteFile {
        path: path.into(),
        content: Ok(content.as_bytes().into()),
        digest: Some(Digest::new([digest; 32])),
    }
}

#[test]
fn tokenizers_of_the_same_content_are_one() {
    let codecs = Codecs::new(&NoopMeterProvider::new().meter("test"));
    let plugin = "words".parse().unwrap();
    let files = [
        file("models/a", WORDS, 1),
        file("models/b", WORDS, 1),
        file("models/c", WORDS, 2),
    ];
    let open = |path: &str| {
        let grant = toml::from_str(&format!("tokenizers.words = {path:?}")).unwrap();
        codecs.open(grant, &plugin, &files).unwrap()
    };
    let (a, b, c) = (open("models/a"), open("models/b"), open("models/c"));
    let words = |codec: &Codec| codec.tokenizer("words").unwrap().0;
    assert!(Arc::ptr_eq(&words(&a), &words(&b)));
    assert!(!Arc::ptr_eq(&words(&a), &words(&c)));
    assert!(a.tokenizer("others").is_none());
    drop((a, b, c));
    open("models/c");
    assert_eq!(
        codecs.tokenizers.lock().len(),
        1,
        "the others are forgotten"
    );
}

#[test]
fn short_texts_are_done_at_once_unless_the_tokenizer_may_make_them_long() {
    // It tries every way to divide a word in which no `c` follows.
    let split = r#"{"type": "Split", "pattern": {"Regex": "(?:a|b|ab)+(?=c)"}, "behavior": "Isolated", "invert": false}"#;
    let hostile = WORDS.replace(
        r#""pre_tokenizer": null"#,
        &format!(r#""pre_tokenizer": {split}"#),
    );
    assert_ne!(hostile, WORDS);
    let files = [file("models/a", WORDS, 1), file("models/b", &hostile, 2)];
    let grant = "[tokenizers]\nplain = 'models/a'\nhostile = 'models/b'";
    let codecs = Codecs::new(&NoopMeterProvider::new().meter("test"));
    let grant = toml::from_str(grant).unwrap();
    let codec = codecs
        .open(grant, &"words".parse().unwrap(), &files)
        .unwrap();
    let encode = |name: &str, text: &str| {
        let options = EncodingOptions {
            max_length: None,
            pad_to: None,
            special: false,
            most_bytes: 1 << 20,
        };
        codec.encode(
            codec.tokenizer(name).unwrap(),
            vec![text.to_owned()],
            options,
        )
    };
    assert!(matches!(encode("plain", "a"), Work::Done(Ok(_))));
    let long = "a".repeat(SHORT_TEXT_BYTES + 1);
    assert!(matches!(encode("plain", &long), Work::Takes(_)));
    assert!(matches!(encode("hostile", "a"), Work::Takes(_)));
    let decode = |name: &str| {
        let tokenizer = codec.tokenizer(name).unwrap();
        codec.decode(tokenizer, vec![0], SpecialIds::Kept)
    };
    assert!(matches!(decode("plain"), Work::Done(Ok(_))));
    assert!(matches!(decode("hostile"), Work::Takes(_)));
}

#[test]
fn the_reference_has_every_key_with_its_default() {
    let reference = Reference::new(include_str!("../../../../../reference/plugin.toml"));
    for key in ["max_pixels", "max_text_kb"] {
        assert!(reference.has("grants.codec", key), "{key} is missing");
    }
    let text = reference.text().parse::<toml::Table>().unwrap();
    let grant: Grant = text["grants"]["codec"].clone().try_into().unwrap();
    let defaults = Grant::default();
    assert_eq!(grant.check(), Ok(()));
    assert_eq!(grant.max_pixels, defaults.max_pixels);
    assert_eq!(grant.max_text_kb, defaults.max_text_kb);
    assert_eq!(grant.files().count(), 1);
}
