//! What stands in for the host in native tests: answers that the test gives for images, and tokenizers that split at spaces. What a test does not
//! give is `denied`, as without a grant.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use super::{Encoding, EncodingOptions, ImageInfo, ImageTensor};
use crate::{Body, Error, Result, Tensor};

type Inspect = Rc<dyn Fn(&Body) -> Result<ImageInfo>>;
type Decode = Rc<dyn Fn(&Body, &ImageTensor) -> Result<Tensor>>;

thread_local! {
    static INSPECT: RefCell<Option<Inspect>> = const { RefCell::new(None) };
    static DECODE: RefCell<Option<Decode>> = const { RefCell::new(None) };
    static TOKENIZERS: RefCell<HashMap<String, Rc<[String]>>> = RefCell::default();
}

/// Says what images are that this thread inspects from now on. Native tests only.
pub fn answer_inspect(answer: impl Fn(&Body) -> Result<ImageInfo> + 'static) {
    INSPECT.set(Some(Rc::new(answer)));
}

/// Gives the tensors of images that this thread decodes from now on. Native tests only.
pub fn answer_decode(answer: impl Fn(&Body, &ImageTensor) -> Result<Tensor> + 'static) {
    DECODE.set(Some(Rc::new(answer)));
}

/// Grants this thread a tokenizer with these tokens, whose ids are their places. Native tests only.
///
/// It splits at spaces. A word that is no token becomes `[UNK]`, special ids are `[CLS]` before a text and `[SEP]` after it, and padding is
/// `[PAD]`: each where it is among the tokens.
pub fn grant_tokenizer(name: &str, tokens: &[&str]) {
    let tokens = tokens.iter().map(|token| (*token).to_owned()).collect();
    TOKENIZERS.with_borrow_mut(|tokenizers| tokenizers.insert(name.to_owned(), tokens));
}

pub(super) fn inspect_image(image: &Body) -> Result<ImageInfo> {
    match INSPECT.with_borrow(Clone::clone) {
        Some(answer) => answer(image),
        None => Err(Error::denied(
            "the plugin has no grant codec: a native test answers by `codec::answer_inspect`",
        )),
    }
}

pub(super) fn decode_image(image: &Body, target: &ImageTensor) -> Result<Tensor> {
    match DECODE.with_borrow(Clone::clone) {
        Some(answer) => answer(image, target),
        None => Err(Error::denied(
            "the plugin has no grant codec: a native test answers by `codec::answer_decode`",
        )),
    }
}

/// The tokens that are special.
const SPECIAL: [&str; 4] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"];

#[derive(Debug)]
pub(super) struct Tokenizer {
    tokens: Rc<[String]>,
}

impl Tokenizer {
    pub(super) fn open(name: &str) -> Result<Self> {
        let tokens = TOKENIZERS.with_borrow(|tokenizers| tokenizers.get(name).cloned());
        match tokens {
            Some(tokens) => Ok(Self { tokens }),
            None => Err(Error::denied(format!(
                "the grant codec names no tokenizer {name:?}: a native test grants it by `codec::grant_tokenizer`"
            ))),
        }
    }

    pub(super) fn encode(&self, texts: &[String], options: &EncodingOptions) -> Result<Encoding> {
        let rows = texts
            .iter()
            .map(|text| self.ids(text, options))
            .collect::<Result<Vec<Vec<u32>>>>()?;
        let longest = rows.iter().map(Vec::len).max().unwrap_or(0);
        let length = longest.max(options.pad_to.unwrap_or(0) as usize);
        let padding = self.token_id("[PAD]").unwrap_or(0);
        let padded = |value: &dyn Fn(u32) -> i64, padding: i64| -> Vec<i64> {
            let row = |row: &Vec<u32>| -> Vec<i64> {
                let values = row.iter().map(|id| value(*id));
                let padding = std::iter::repeat_n(padding, length - row.len());
                values.chain(padding).collect()
            };
            rows.iter().flat_map(row).collect()
        };
        let shape = [rows.len() as u64, length as u64];
        Ok(Encoding {
            ids: Tensor::new("input_ids", &shape, &padded(&i64::from, padding.into()))?,
            mask: Tensor::new("attention_mask", &shape, &padded(&|_| 1, 0))?,
            segments: Tensor::new("token_type_ids", &shape, &padded(&|_| 0, 0))?,
        })
    }

    fn ids(&self, text: &str, options: &EncodingOptions) -> Result<Vec<u32>> {
        let unknown = self.token_id("[UNK]");
        let mut ids: Vec<u32> = text
            .split_whitespace()
            .filter_map(|word| self.token_id(word).or(unknown))
            .collect();
        let special = |token| self.token_id(token).filter(|_| options.special);
        let (first, last) = (special("[CLS]"), special("[SEP]"));
        let around = usize::from(first.is_some()) + usize::from(last.is_some());
        if let Some(most) = options.max_length {
            if most as usize <= around {
                return Err(Error::failed(format!(
                    "a text gets {around} special ids, and {most} ids leave no room for others"
                )));
            }
            ids.truncate(most as usize - around);
        }
        Ok(first.into_iter().chain(ids).chain(last).collect())
    }

    pub(super) fn decode(&self, ids: &[u32]) -> Result<String> {
        let words: Vec<&str> = self
            .words(ids)
            .filter(|token| !SPECIAL.contains(token))
            .collect();
        Ok(words.join(" "))
    }

    pub(super) fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        Ok(self.words(ids).collect::<Vec<&str>>().join(" "))
    }

    fn words<'a>(&'a self, ids: &'a [u32]) -> impl Iterator<Item = &'a str> {
        ids.iter()
            .filter_map(|id| self.tokens.get(*id as usize))
            .map(String::as_str)
    }

    pub(super) fn token_id(&self, token: &str) -> Option<u32> {
        let place = self.tokens.iter().position(|known| known == token)?;
        u32::try_from(place).ok()
    }

    pub(super) fn vocabulary_size(&self) -> u32 {
        u32::try_from(self.tokens.len()).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::{answer_inspect, grant_tokenizer};
    use crate::{Body, Error};

    #[test]
    fn what_a_test_does_not_give_is_denied() {
        let image = Body::new("image/png", b"");
        assert!(matches!(inspect_image(&image), Err(Error::Denied(_))));
        let target = ImageTensor::new("x", 1, 1);
        assert!(matches!(
            decode_image(&image, &target),
            Err(Error::Denied(_))
        ));
        assert!(matches!(Tokenizer::open("x"), Err(Error::Denied(_))));
        answer_inspect(|image| Err(Error::invalid(image.media_type())));
        assert_eq!(inspect_image(&image), Err(Error::invalid("image/png")));
    }

    #[test]
    fn words_are_cut_padded_and_joined_again() {
        grant_tokenizer("words", &["[PAD]", "[UNK]", "a", "b", "[SEP]"]);
        let words = Tokenizer::open("words").unwrap();
        let options = EncodingOptions::default()
            .with_max_length(2)
            .with_padding_to(3);
        let encoding = words.encode(&["a b c", "x"], &options).unwrap();
        assert_eq!(encoding.ids.int64().unwrap(), [2, 4, 0, 1, 4, 0]);
        assert_eq!(encoding.mask.int64().unwrap(), [1, 1, 0, 1, 1, 0]);
        let plain = words.encode(&["a b c"], &EncodingOptions::default().without_special());
        assert_eq!(plain.unwrap().ids.int64().unwrap(), [2, 3, 1]);
        assert_eq!(words.decode(&[2, 3, 4]).unwrap(), "a b");
        assert_eq!(words.decode_with_special(&[2, 3, 4]).unwrap(), "a b [SEP]");
        assert_eq!((words.token_id("b"), words.vocabulary_size()), (Some(3), 5));
        let error = words.encode(&["a"], &EncodingOptions::default().with_max_length(1));
        assert!(matches!(error, Err(Error::Failed(_))));
    }
}
