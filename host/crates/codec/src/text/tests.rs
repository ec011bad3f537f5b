//! Texts against ids that were worked out by hand.

use serde_json::{Value, json};
use wharf_core::Tensor;

use super::*;

/// Words in pieces, as BERT has them: `[CLS]` before and `[SEP]` after.
fn pieces() -> Value {
    let special = |id, content| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true
        })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "[PAD]"), special(1, "[UNK]"), special(2, "[CLS]"), special(3, "[SEP]")],
        "normalizer": {
            "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [
                {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 0}}
            ],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [3], "tokens": ["[SEP]"]}
            }
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {
            "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
            "vocab": {
                "[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "the": 4, "whar": 5, "##f": 6, "is": 7, "long": 8, "##er": 9, "!": 10
            }
        }
    })
}

fn load(file: &Value) -> Tokenizer {
    Tokenizer::from_json(file.to_string().as_bytes()).unwrap()
}

fn options() -> EncodingOptions {
    EncodingOptions {
        max_length: None,
        pad_to: None,
        special: true,
        most_bytes: 1 << 20,
    }
}

fn encode(
    tokenizer: &Tokenizer,
    texts: &[&str],
    options: &EncodingOptions,
) -> Result<Encoded, CodecError> {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    tokenizer.encode(&texts, options, &AtomicBool::new(false))
}

fn rows(tensor: &Tensor) -> Vec<Vec<i64>> {
    let length = tensor.shape()[1] as usize;
    let elements: &[i64] = tensor.as_slice().unwrap();
    elements
        .chunks(length.max(1))
        .map(<[i64]>::to_vec)
        .collect()
}

#[test]
fn texts_become_the_ids_of_their_pieces() {
    let tokenizer = load(&pieces());
    let encoded = encode(&tokenizer, &["The wharf is longer!", "wharves"], &options()).unwrap();
    assert_eq!(
        rows(&encoded.ids),
        [
            vec![2, 4, 5, 6, 7, 8, 9, 10, 3],
            vec![2, 1, 3, 0, 0, 0, 0, 0, 0]
        ]
    );
    assert_eq!(
        rows(&encoded.mask),
        [vec![1; 9], vec![1, 1, 1, 0, 0, 0, 0, 0, 0]]
    );
    assert_eq!(rows(&encoded.segments), [vec![0; 9], vec![0; 9]]);
    let names = [&encoded.ids, &encoded.mask, &encoded.segments].map(Tensor::name);
    assert_eq!(names, ["input_ids", "attention_mask", "token_type_ids"]);
}

#[test]
fn texts_are_cut_and_padded_as_asked() {
    let tokenizer = load(&pieces());
    let of = |text: &str, max_length, pad_to, special| {
        let options = EncodingOptions {
            max_length,
            pad_to,
            special,
            ..options()
        };
        rows(&encode(&tokenizer, &[text], &options).unwrap().ids).remove(0)
    };
    let text = "the wharf is longer";
    assert_eq!(of(text, Some(5), None, true), [2, 4, 5, 6, 3]);
    assert_eq!(of(text, Some(5), None, false), [4, 5, 6, 7, 8]);
    assert_eq!(of(text, Some(8), None, true), [2, 4, 5, 6, 7, 8, 9, 3]);
    assert_eq!(of("the", None, Some(5), true), [2, 4, 3, 0, 0]);
    // Padding never cuts.
    assert_eq!(of("the wharf", None, Some(2), true), [2, 4, 5, 6, 3]);
    assert_eq!(of("", None, None, true), [2, 3]);
    // So long that it is cut before it is known how long it is.
    assert_eq!(of(&"the ".repeat(1000), Some(4), None, true), [2, 4, 4, 3]);
}

#[test]
fn what_the_file_says_holds_where_nothing_else_is_asked() {
    let mut file = pieces();
    file["truncation"] =
        json!({"direction": "Left", "max_length": 4, "strategy": "LongestFirst", "stride": 0});
    file["padding"] = json!({
        "strategy": {"Fixed": 100}, "direction": "Left", "pad_to_multiple_of": null, "pad_id": 10, "pad_type_id": 1, "pad_token": "!"
    });
    let tokenizer = load(&file);
    let encoded = encode(&tokenizer, &["the wharf is longer", "the"], &options()).unwrap();
    assert_eq!(rows(&encoded.ids), [[2, 8, 9, 3], [10, 2, 4, 3]]);
    assert_eq!(rows(&encoded.mask), [[1; 4], [0, 1, 1, 1]]);
    assert_eq!(rows(&encoded.segments), [[0; 4], [1, 0, 0, 0]]);
    let longer = EncodingOptions {
        max_length: Some(6),
        ..options()
    };
    let encoded = encode(&tokenizer, &["the wharf is longer"], &longer).unwrap();
    assert_eq!(rows(&encoded.ids), [[2, 6, 7, 8, 9, 3]]);
}

#[test]
fn ids_become_text_again() {
    let tokenizer = load(&pieces());
    let ids = [2, 4, 5, 6, 7, 8, 9, 10, 3];
    assert_eq!(
        tokenizer.decode(&ids, SpecialIds::LeftOut).unwrap(),
        "the wharf is longer!"
    );
    assert_eq!(
        tokenizer.decode(&ids[..2], SpecialIds::Kept).unwrap(),
        "[CLS] the"
    );
    assert_eq!(tokenizer.decode(&[u32::MAX], SpecialIds::Kept).unwrap(), "");
    assert_eq!(tokenizer.token_id("whar"), Some(5));
    assert_eq!(tokenizer.token_id("harbour"), None);
    assert_eq!(tokenizer.vocabulary_size(), 11);
}

#[test]
fn bytes_are_split_by_a_pattern_that_looks_ahead() {
    // The pattern of GPT-2: the last space before a word belongs to the word.
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    let tokenizer = load(&json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}
        ]},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": {"a": 0, "b": 1, "Ġ": 2, "'": 3, "s": 4, "ab": 5, "Ġab": 6, "'s": 7},
            "merges": [["a", "b"], ["Ġ", "ab"], ["'", "s"]]
        }
    }));
    let plain = EncodingOptions {
        special: false,
        ..options()
    };
    let encoded = encode(&tokenizer, &["ab's   ab"], &plain).unwrap();
    assert_eq!(rows(&encoded.ids), [[5, 7, 2, 2, 6]]);
    assert_eq!(
        tokenizer
            .decode(&[5, 7, 2, 2, 6], SpecialIds::LeftOut)
            .unwrap(),
        "ab's   ab"
    );
}

#[test]
fn what_is_impossible_is_refused_before_memory_is_taken() {
    let tokenizer = load(&pieces());
    let with = |max_length, pad_to| EncodingOptions {
        max_length,
        pad_to,
        ..options()
    };
    let error = encode(&tokenizer, &["the"], &with(Some(2), None)).unwrap_err();
    assert!(matches!(error, CodecError::Misused(_)), "{error:?}");
    assert!(
        error.to_string().contains("give a greater max-length"),
        "{error}"
    );
    let error = encode(&tokenizer, &["the"; 1000], &with(None, Some(u32::MAX))).unwrap_err();
    let bytes = 1000 * u64::from(u32::MAX) * 24;
    assert_eq!(error, CodecError::TooLarge { bytes });
}

#[test]
fn no_texts_are_no_rows() {
    let encoded = encode(&load(&pieces()), &[], &options()).unwrap();
    assert_eq!(&encoded.ids.shape()[..], [0, 0]);
}

#[test]
fn a_cancelled_text_is_not_begun() {
    let error = load(&pieces())
        .encode(&["the".to_owned()], &options(), &AtomicBool::new(true))
        .unwrap_err();
    assert_eq!(error, CodecError::Cancelled);
}

#[test]
fn what_is_no_tokenizer_is_refused() {
    for content in [&b""[..], b"{}", b"[1, 2]", b"\xff\xfe", &[b'['; 100_000]] {
        let error = Tokenizer::from_json(content).unwrap_err();
        assert!(error.to_string().contains("no tokenizer.json"), "{error}");
    }
    let mut file = pieces();
    file["pre_tokenizer"] = json!({
        "type": "Split", "pattern": {"Regex": "(unclosed"}, "behavior": "Isolated", "invert": false
    });
    assert!(Tokenizer::from_json(file.to_string().as_bytes()).is_err());
}

#[test]
fn what_may_make_too_much_of_a_text_is_refused() {
    let replace = |pattern: Value, content: &str| json!({"type": "Replace", "pattern": pattern, "content": content});
    let twice = replace(json!({"String": "a"}), "aa");
    let long = "x".repeat(33);
    let with = |member: &str, part: Value| {
        let mut file = pieces();
        file[member] = part;
        file
    };
    let sequence = |parts: Vec<Value>| json!({"type": "Sequence", "normalizers": parts});
    let byte_level = json!({"type": "ByteLevel"});
    let byte_level_splits = json!({
        "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": false
    });
    // What a normal form makes long again and again, where it is made short between.
    let twice_normal = sequence(vec![
        json!({"type": "NFKC"}),
        replace(json!({"Regex": "a{3}"}), "b"),
    ]);
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing", "single": vec![text.clone(); 3],
        "pair": [text, {"Sequence": {"id": "B", "type_id": 1}}], "special_tokens": {}
    });
    for (file, said) in [
        (
            with("normalizer", replace(json!({"String": " "}), &long)),
            "33 times as long",
        ),
        (
            with("normalizer", sequence(vec![twice; 10])),
            "1024 times as long",
        ),
        (
            with("normalizer", replace(json!({"Regex": "a*"}), &long)),
            "34 times as long",
        ),
        (
            with(
                "normalizer",
                json!({"type": "Prepend", "prepend": long.repeat(2)}),
            ),
            "66 times as long",
        ),
        (
            with("decoder", replace(json!({"String": "a"}), &long)),
            "33 times as long",
        ),
        (
            with("normalizer", sequence(vec![byte_level; 5])),
            "81 times as long",
        ),
        (
            with(
                "pre_tokenizer",
                json!({"type": "Sequence", "pretokenizers": vec![byte_level_splits; 5]}),
            ),
            "81 times as long",
        ),
        (
            with("normalizer", sequence(vec![json!({"type": "NFKC"}); 3])),
            "121 times as long",
        ),
        (
            with("normalizer", sequence(vec![twice_normal; 4])),
            "1331 times as long",
        ),
        (
            with(
                "decoder",
                json!({"type": "Sequence", "decoders": vec![json!({"type": "BPEDecoder", "suffix": ""}); 4]}),
            ),
            "81 times as long",
        ),
        (
            with(
                "normalizer",
                sequence(vec![json!({"type": "Prepend", "prepend": "x"}); 64]),
            ),
            "66 of its parts",
        ),
        (
            with("post_processor", template.clone()),
            "repeats a text 3 times",
        ),
        (
            with(
                "post_processor",
                json!({"type": "Sequence", "processors": [template]}),
            ),
            "repeats a text 3 times",
        ),
    ] {
        let error = Tokenizer::from_json(file.to_string().as_bytes()).unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
    }
    let mut file = pieces();
    file["model"]["vocab"][long.repeat(200)] = json!(11);
    let error = Tokenizer::from_json(file.to_string().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("6600 bytes"), "{error}");
    // What is in use is not.
    let sentence_piece = vec![
        json!({"type": "Prepend", "prepend": "\u{2581}"}),
        replace(json!({"String": " "}), "\u{2581}"),
        json!({"type": "NFKC"}),
        replace(json!({"Regex": " {2,}"}), " "),
    ];
    let tokenizer = load(&with("normalizer", sequence(sentence_piece)));
    assert_eq!(tokenizer.grown(10), 30);
    assert!(tokenizer.is_quick());
    assert_eq!(tokenizer.decoded(2), 12, "the longest token is [PAD]");
}

#[test]
fn an_expression_that_backtracks_is_not_quick() {
    let mut file = pieces();
    file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": "(?:a|aa)+(?=b)"}, "behavior": "Isolated", "invert": false}
    ]});
    assert!(!load(&file).is_quick());
    assert!(load(&pieces()).is_quick());
}
