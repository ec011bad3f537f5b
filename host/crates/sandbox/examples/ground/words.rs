//! Words, and a tokenizer for them.

use std::fmt::Write as _;

/// The words of a text.
pub(crate) const COUNT: usize = 128;

/// A tokenizer of pieces of words, such as that of BERT, with a small vocabulary.
pub(crate) fn tokenizer() -> String {
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

/// A text of [`COUNT`] words.
pub(crate) fn text() -> String {
    let words = [
        "The", "harbour", "lies", "behind", "a", "long", "wall", "of", "stone,",
    ];
    let words: Vec<&str> = words.into_iter().cycle().take(COUNT).collect();
    words.join(" ")
}
