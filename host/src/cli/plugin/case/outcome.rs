//! What came of a case.

use bytes::Bytes;
use serde_json::{Map, Value, json};
use wharf_core::{Body, Error, Payload, Token, Verdict};

use super::TokenFile;
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
    /// What a token filter said, call by call, and what it still had in the end.
    Filtered {
        verdicts: Vec<Verdict>,
        rest: Vec<Token>,
    },
    /// The error that the client gets.
    Refused(Error),
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
            Self::Filtered { verdicts, rest } => {
                let verdicts: Vec<Value> = verdicts.iter().map(verdict).collect();
                let mut document = json!({ "verdicts": verdicts });
                if !rest.is_empty() {
                    document["rest"] = tokens(rest);
                }
                document
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

fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Emit(list) => json!({ "emit": tokens(list) }),
        Verdict::Stop {
            tokens: list,
            reason,
        } => json!({ "stop": { "tokens": tokens(list), "reason": reason } }),
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
