//! A tensor that is made of a field of the JSON.

mod elements;
mod leaves;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use wharf_plugin_sdk::{Error, Result, Tensor};

use elements::{ElementType, Vocabulary};
use leaves::Leaves;

use crate::place;

/// One of `[[settings.fields]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldSettings {
    name: String,
    pointer: Option<String>,
    datatype: ElementType,
    shape: Vec<i64>,
    default: Option<Value>,
    vocabulary: Option<VocabularySettings>,
    unknown: Option<i64>,
}

/// Texts by their ids: a list whose places are the ids, or a table.
#[derive(Deserialize)]
#[serde(untagged)]
enum VocabularySettings {
    List(Vec<String>),
    Table(BTreeMap<String, i64>),
}

/// A field that was checked.
pub(crate) struct Field {
    name: String,
    pointer: String,
    /// The parts of the pointer, unescaped.
    parts: Vec<String>,
    datatype: ElementType,
    /// None for a dimension of any length.
    shape: Vec<Option<u64>>,
    default: Option<Value>,
    vocabulary: Option<Vocabulary>,
}

impl FieldSettings {
    pub(crate) fn check(self, index: usize) -> Result<Field> {
        let wrong = |key: &str, message: &str| {
            Error::invalid_field(format!("fields[{index}].{key}"), message)
        };
        if self.name.is_empty() {
            return Err(wrong("name", "give the name of the model's input"));
        }
        let pointer = self
            .pointer
            .unwrap_or_else(|| format!("/{}", self.name.replace('~', "~0").replace('/', "~1")));
        let parts = parts(&pointer).ok_or_else(|| {
            wrong("pointer", "give a JSON pointer: empty for the whole, or `/` before each key, with ~0 for ~ and ~1 for /")
        })?;
        let dimension = |side: &i64| match *side {
            -1 => Ok(None),
            side => u64::try_from(side)
                .map(Some)
                .map_err(|_| wrong("shape", "give lengths, and -1 for any")),
        };
        let shape = self
            .shape
            .iter()
            .map(dimension)
            .collect::<Result<Vec<_>>>()?;
        if self.vocabulary.is_some() && !self.datatype.is_integer() {
            return Err(wrong(
                "vocabulary",
                "makes integers: give such a `datatype`",
            ));
        }
        if self.unknown.is_some() && self.vocabulary.is_none() {
            return Err(wrong(
                "unknown",
                "is for texts outside of `vocabulary`: give one",
            ));
        }
        let vocabulary = self.vocabulary.map(|settings| {
            let ids = match settings {
                VocabularySettings::List(texts) => texts.into_iter().zip(0..).collect(),
                VocabularySettings::Table(ids) => ids,
            };
            Vocabulary::new(ids, self.unknown)
        });
        if let Some(vocabulary) = &vocabulary
            && let Some(id) = vocabulary.ids().find(|id| !self.datatype.holds(*id))
        {
            return Err(wrong(
                "vocabulary",
                &format!(
                    "has the id {id}, which {} does not hold",
                    self.datatype.datatype()
                ),
            ));
        }
        let field = Field {
            name: self.name,
            pointer,
            parts,
            datatype: self.datatype,
            shape,
            default: self.default,
            vocabulary,
        };
        if let Some(default) = &field.default {
            field
                .convert(default)
                .map_err(|error| wrong("default", error.message()))?;
        }
        Ok(field)
    }
}

impl Field {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes the tensor of its field in a document.
    pub(crate) fn tensor(&self, document: &Value) -> Result<Tensor> {
        let found = self.find(document).filter(|value| !value.is_null());
        let value = found.or(self.default.as_ref()).ok_or_else(|| {
            Error::invalid_field(
                place(&self.pointer),
                format!("is missing: the tensor `{}` is made of it", self.name),
            )
        })?;
        let (shape, data) = self.convert(value)?;
        Tensor::from_bytes(&self.name, self.datatype.datatype(), &shape, &data)
    }

    fn find<'a>(&self, document: &'a Value) -> Option<&'a Value> {
        self.parts
            .iter()
            .try_fold(document, |value, part| match value {
                Value::Object(members) => members.get(part),
                // An index has no sign and no leading zero.
                Value::Array(items) if part == "0" || !part.starts_with(['0', '+']) => {
                    items.get(part.parse::<usize>().ok()?)
                }
                _ => None,
            })
    }

    /// The shape, and the elements one after another.
    fn convert(&self, value: &Value) -> Result<(Vec<u64>, Vec<u8>)> {
        let refuse = |(path, message): (String, String)| {
            let pointer = format!("{}{path}", self.pointer);
            Error::invalid_field(place(&pointer), message)
        };
        let leaves = Leaves::of(value, &self.shape).map_err(refuse)?;
        let mut data = Vec::with_capacity(leaves.values.len() * self.datatype.width());
        for (index, leaf) in leaves.values.iter().enumerate() {
            elements::append(self.datatype, self.vocabulary.as_ref(), leaf, &mut data)
                .map_err(|message| refuse((leaves.path(index), message)))?;
        }
        Ok((leaves.shape, data))
    }
}

/// The parts of a JSON pointer (RFC 6901); none where it is not one.
fn parts(pointer: &str) -> Option<Vec<String>> {
    if pointer.is_empty() {
        return Some(Vec::new());
    }
    let unescape = |part: &str| {
        let mut rest = part;
        while let Some((_, after)) = rest.split_once('~') {
            rest = after.strip_prefix(['0', '1'])?;
        }
        Some(part.replace("~1", "/").replace("~0", "~"))
    };
    pointer
        .strip_prefix('/')?
        .split('/')
        .map(unescape)
        .collect()
}
