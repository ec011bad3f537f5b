//! What came of a case.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use wharf_core::{Body, Error, Payload, Portion, Token, Verdict};

use super::{ChunkFile, TokenFile};
use crate::cli::plugin::tensors;

/// The longest text of a body that is written into the document, in bytes.
const TEXT_BYTES: usize = 64 << 10;

/// What a stage came to.
#[derive(Debug)]
pub(in crate::cli::plugin) enum Outcome {
    /// What preprocess or postprocess gave.
    Payload(Payload),
    /// The index of the candidate that a router chose.
    Chosen(usize),
    /// What a token filter said.
    Tokens(Filtered<Vec<Token>>),
    /// What a chunk filter said.
    Chunks(Filtered<Bytes>),
    /// The error that the client gets.
    Refused(Error),
}

/// What a filter said, call by call, and what it still had in the end.
#[derive(Debug)]
pub(in crate::cli::plugin) struct Filtered<P> {
    pub(in crate::cli::plugin) verdicts: Vec<Verdict<P>>,
    pub(in crate::cli::plugin) rest: P,
}

impl<P: Portion> Filtered<P> {
    /// The document, where `given` writes a portion, and the last one of a stop stands under `key`.
    fn document(&self, key: &str, given: impl Fn(&P) -> Value) -> Value {
        let verdict = |verdict: &Verdict<P>| match verdict {
            Verdict::Emit(portion) => json!({ "emit": given(portion) }),
            Verdict::Stop { last, reason } => {
                json!({ "stop": { key: given(last), "reason": reason } })
            }
        };
        let verdicts: Vec<Value> = self.verdicts.iter().map(verdict).collect();
        let mut document = json!({ "verdicts": verdicts });
        if !self.rest.is_empty() {
            document["rest"] = given(&self.rest);
        }
        document
    }
}

impl Outcome {
    /// The document that `expected.json` is. What is too large for it becomes files, whose names begin with `prefix`.
    pub(in crate::cli::plugin) fn document(
        &self,
        prefix: &str,
        files: &mut Vec<(String, Bytes)>,
    ) -> Value {
        match self {
            Self::Payload(Payload::Tensors(list)) => {
                json!({ "outputs": tensors::write(list, prefix, files) })
            }
            Self::Payload(Payload::Body(body)) => {
                json!({ "body": body_document(body, prefix, files) })
            }
            Self::Chosen(index) => json!({ "chosen": index }),
            Self::Tokens(filtered) => filtered.document("tokens", |list| tokens(list)),
            Self::Chunks(filtered) => {
                filtered.document("chunk", |chunk| json!(ChunkFile::from(chunk)))
            }
            Self::Refused(error) => {
                let mut object = Map::new();
                object.insert("kind".to_owned(), error.kind().name().into());
                object.insert("message".to_owned(), error.message().into());
                if let Some(field) = error.field() {
                    object.insert("field".to_owned(), field.into());
                }
                json!({ "error": object })
            }
        }
    }
}

fn tokens(tokens: &[Token]) -> Value {
    json!(tokens.iter().map(TokenFile::from).collect::<Vec<_>>())
}

fn body_document(body: &Body, prefix: &str, files: &mut Vec<(String, Bytes)>) -> Value {
    let mut document = json!({ "media_type": &*body.media_type });
    let text = std::str::from_utf8(&body.data)
        .ok()
        .filter(|text| text.len() <= TEXT_BYTES);
    let essence = body.media_type.split(';').next().unwrap_or_default().trim();
    let is_json = essence == "application/json" || essence.ends_with("+json");
    match text {
        Some(text) => match serde_json::from_str::<Value>(text) {
            Ok(value) if is_json => document["json"] = value,
            _ => document["text"] = text.into(),
        },
        None => {
            let name = format!("{prefix}.bin");
            files.push((name.clone(), body.data.clone()));
            document["file"] = name.into();
        }
    }
    document
}
