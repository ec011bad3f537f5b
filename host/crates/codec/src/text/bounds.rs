//! What a `tokenizer.json` may make of a text at the worst. Its author may be a stranger: what is too much is refused when it is
//! read, and what cannot be bounded by reading it is never done where others wait.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::Value;

use crate::CodecError;

/// The most times longer that a text may become before it is split. Usual files stay below 10: a space of one byte becomes a mark of
/// three, once or twice.
const MOST_GROWTH: u64 = 32;

/// What may stand before a text, or in place of a character, without counting as growth. Normal forms of Unicode have up to 33 bytes.
const SMALL: usize = 64;

/// The most parts that a text goes through before it is split, or tokens when they become text. Each may add a little that does not
/// count as growth.
const MOST_PARTS: usize = 64;

/// How many times longer a text becomes where each of its characters is written as in the alphabet of bytes, and a space is put in front.
const AS_BYTES: u64 = 3;

/// How many times longer the normal forms of Unicode make a text at the worst: the canonical ones, and those of compatibility.
const CANONICAL: u64 = 3;
const COMPATIBLE: u64 = 11;

/// The most special ids that a text may get.
const MOST_SPECIAL: usize = 128;

/// The longest token of a vocabulary, in bytes. Those of usual files have up to some hundred.
const MOST_TOKEN_BYTES: usize = 4096;

/// The alternative with which the expressions of GPT-2 and its successors keep a space for the next word. It looks ahead by one
/// character, and its work is linear.
const LAST_SPACE: &str = r"|\s+(?!\S)";

/// The bounds of a tokenizer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// How many times longer a text may become, at most.
    pub(super) growth: u64,
    /// The longest token, in bytes.
    pub(super) token_bytes: usize,
    /// How many times longer decoded tokens may become, at most.
    pub(super) decoded_growth: u64,
    /// Whether every expression takes a time in proportion to its text.
    pub(super) linear: bool,
}

impl Bounds {
    /// Works them out.
    ///
    /// # Errors
    /// Where one of them is more than is allowed.
    pub(super) fn of(
        tokenizer: &tokenizers::Tokenizer,
        special: usize,
    ) -> Result<Self, CodecError> {
        let mut before = Parts::default();
        before.add(&tokenizer.get_normalizer())?;
        before.add(&tokenizer.get_pre_tokenizer())?;
        let mut after = Parts::default();
        after.add(&tokenizer.get_decoder())?;
        for growth in [before.growth, after.growth] {
            if growth > MOST_GROWTH {
                return Err(CodecError::invalid(format!(
                    "its replacements may make a text {growth} times as long; the most is {MOST_GROWTH} times"
                )));
            }
        }
        for parts in [before.count, after.count] {
            if parts > MOST_PARTS {
                return Err(CodecError::invalid(format!(
                    "a text goes through {parts} of its parts; the most is {MOST_PARTS}"
                )));
            }
        }
        let copies = copies(&document(&tokenizer.get_post_processor())?);
        if copies > 1 {
            return Err(CodecError::invalid(format!(
                "its template repeats a text {copies} times; the most is once"
            )));
        }
        if special > MOST_SPECIAL {
            return Err(CodecError::invalid(format!(
                "it adds {special} special ids to a text; the most is {MOST_SPECIAL}"
            )));
        }
        let vocabulary = tokenizer.get_vocab(true);
        let token_bytes = vocabulary.keys().map(String::len).max().unwrap_or(0);
        if token_bytes > MOST_TOKEN_BYTES {
            return Err(CodecError::invalid(format!(
                "a token of its vocabulary has {token_bytes} bytes; the most is {MOST_TOKEN_BYTES}"
            )));
        }
        Ok(Self {
            growth: before.growth,
            token_bytes,
            decoded_growth: after.growth,
            linear: before.linear && after.linear,
        })
    }
}

/// Parts that a text goes through, one after another.
struct Parts {
    growth: u64,
    linear: bool,
    count: usize,
    /// The kinds that were there: the first of each counts as no growth, since usual files have one.
    known: BTreeSet<Kind>,
}

/// Parts of which each makes a text longer once more.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Bert,
    ByteLevel,
    NormalForm,
    Precompiled,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            growth: 1,
            linear: true,
            count: 0,
            known: BTreeSet::new(),
        }
    }
}

impl Parts {
    fn add(&mut self, part: &impl Serialize) -> Result<(), CodecError> {
        self.walk(&document(part)?);
        Ok(())
    }

    /// Parts hold others, in lists of several names.
    fn walk(&mut self, part: &Value) {
        match part {
            Value::Array(parts) => parts.iter().for_each(|part| self.walk(part)),
            Value::Object(members) => {
                self.look_at(part);
                members.values().for_each(|member| self.walk(member));
            }
            _ => {}
        }
    }

    fn look_at(&mut self, part: &Value) {
        let text = |name: &str| part[name].as_str();
        let expression = part["pattern"]["Regex"].as_str();
        if let Some(expression) = expression {
            self.linear &= is_linear(expression);
        }
        self.count += usize::from(text("type").is_some());
        match text("type") {
            Some("Replace") => {
                let least = match (expression, part["pattern"]["String"].as_str()) {
                    (Some(expression), _) => least_match(expression),
                    (None, literal) => literal.map_or(0, str::len),
                };
                self.grow(replaced(least, text("content").map_or(0, str::len)));
            }
            Some("Prepend") => self.grow(beyond_small(text("prepend").map_or(0, str::len))),
            Some("Metaspace") => self.grow(text("replacement").map_or(1, str::len) as u64),
            Some("Precompiled") => {
                let map = text("precompiled_charsmap").unwrap_or_default();
                let longest = longest_form(map);
                self.grow(beyond_small(longest));
                // Small forms count from the second map on, which may go on from what the first has made.
                if longest <= SMALL {
                    self.grow_again(Kind::Precompiled, longest as u64);
                }
            }
            Some("ByteLevel") => self.grow_again(Kind::ByteLevel, AS_BYTES),
            // It puts spaces around some characters.
            Some("BertNormalizer") => self.grow_again(Kind::Bert, CANONICAL),
            Some("NFC" | "NFD") => self.grow_again(Kind::NormalForm, CANONICAL),
            Some("NFKC" | "NFKD") => self.grow_again(Kind::NormalForm, COMPATIBLE),
            // A space is put between any two characters, and at both ends.
            Some("BPEDecoder") if text("suffix") == Some("") => self.grow(3),
            _ => {}
        }
    }

    /// Grows by a part unless it is the first of its kind.
    fn grow_again(&mut self, kind: Kind, times: u64) {
        if !self.known.insert(kind) {
            self.grow(times);
        }
    }

    fn grow(&mut self, times: u64) {
        self.growth = self.growth.saturating_mul(times.max(1));
    }
}

/// A part as its file has it.
fn document(part: &impl Serialize) -> Result<Value, CodecError> {
    serde_json::to_value(part)
        .map_err(|error| CodecError::invalid(format!("it cannot be checked: {error}")))
}

/// How often a template repeats a text, at most: processors hold others.
fn copies(processor: &Value) -> usize {
    let list = |name: &str| processor[name].as_array().map_or(&[][..], Vec::as_slice);
    let is_text = |piece: &&Value| piece.get("Sequence").is_some();
    let own = list("single").iter().filter(is_text).count();
    list("processors").iter().map(copies).fold(own, usize::max)
}

/// How many times longer a text becomes of which each so many bytes become others.
fn replaced(least: usize, content: usize) -> u64 {
    match least {
        // It is put between any two characters.
        0 => content as u64 + 1,
        least => content.div_ceil(least) as u64,
    }
}

fn beyond_small(bytes: usize) -> u64 {
    if bytes <= SMALL { 1 } else { bytes as u64 }
}

/// The longest text that a map of characters to their forms has. It is a trie, its size in front, and the forms behind it.
fn longest_form(map: &str) -> usize {
    let bytes = STANDARD.decode(map).unwrap_or_default();
    let Some((size, rest)) = bytes.split_first_chunk::<4>() else {
        return 0;
    };
    let forms = rest.get(u32::from_le_bytes(*size) as usize..);
    let forms = forms.unwrap_or_default().split(|byte| *byte == 0);
    forms.map(<[u8]>::len).max().unwrap_or(0)
}

/// The fewest bytes that an expression matches, as far as is known.
fn least_match(expression: &str) -> usize {
    let parsed = regex_syntax::parse(expression).ok();
    parsed
        .and_then(|parsed| parsed.properties().minimum_len())
        .unwrap_or(0)
}

/// Whether an expression is matched without backtracking. Only what an automaton cannot do backtracks: looking around, and referring back.
fn is_linear(expression: &str) -> bool {
    // What stands between parentheses would be torn, and be no expression.
    expression.split(LAST_SPACE).all(|alternatives| {
        let alternatives = alternatives.strip_prefix('|').unwrap_or(alternatives);
        regex_syntax::parse(alternatives).is_ok()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GPT_2: &str =
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
    const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    #[test]
    fn expressions_in_use_are_linear_and_those_that_backtrack_are_not() {
        for expression in [GPT_2, LLAMA_3, " {2,}", r"\s+", "(a+)+b"] {
            assert!(is_linear(expression), "{expression}");
        }
        for expression in [
            "(a+)+(?=b)",
            r"(a|\s+(?!\S))+b",
            r"(a)\1",
            r"(?<=a)b",
            r"x|\s+(?!\S)(?=y)",
        ] {
            assert!(!is_linear(expression), "{expression}");
        }
    }

    #[test]
    fn replacements_grow_a_text_by_what_they_put_in_place_of_what() {
        assert_eq!(least_match(" {2,}"), 2);
        assert_eq!(least_match("a*"), 0);
        assert_eq!((replaced(1, 3), replaced(2, 1), replaced(0, 5)), (3, 1, 6));
        assert_eq!(
            (replaced(1, 0), beyond_small(64), beyond_small(65)),
            (0, 1, 65)
        );
    }

    #[test]
    fn small_maps_count_from_the_second_on() {
        let mut map = 0_u32.to_le_bytes().to_vec();
        map.extend(b"four\0");
        let map = json!({"type": "Precompiled", "precompiled_charsmap": STANDARD.encode(&map)});
        for (count, growth) in [(1, 1), (2, 4), (3, 16)] {
            let mut parts = Parts::default();
            parts.walk(&vec![map.clone(); count].into());
            assert_eq!(parts.growth, growth);
        }
    }

    #[test]
    fn the_longest_form_of_a_map_is_found() {
        let mut map = 8_u32.to_le_bytes().to_vec();
        map.extend([0; 8]);
        map.extend(b"a\0form\0of\0");
        assert_eq!(longest_form(&STANDARD.encode(&map)), 4);
        for broken in ["", "!", "/////w=="] {
            assert_eq!(longest_form(broken), 0, "{broken}");
        }
    }
}
