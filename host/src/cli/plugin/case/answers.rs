//! `models.json` of a case: what models and routes answer a plugin that is granted them. None is loaded where plugins are tried.
//!
//! It is a list. Each answer has a `target`, a `version` where the plugin asks for one, and one of `outputs`, `body` and `error`, as
//! `expected.json` has them. Answers of one target are given in their order, and the last one again and again.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::Value;
use wharf_core::{Body, BoxFuture, Error, ErrorKind, ModelCalls, Payload, RequestContext};

use crate::cli::plugin::tensors;

pub(super) const FILE: &str = "models.json";

/// An answer.
#[derive(Clone, Debug)]
pub(in crate::cli::plugin) struct Answer {
    target: String,
    version: Option<String>,
    given: Given,
}

#[derive(Clone, Debug)]
enum Given {
    Payload(Payload),
    Refused(ErrorKind, Refused),
}

/// An answer as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    target: String,
    version: Option<String>,
    outputs: Option<Value>,
    body: Option<WrittenBody>,
    error: Option<Refused>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenBody {
    #[serde(default)]
    media_type: Option<String>,
    json: Option<Value>,
    text: Option<String>,
    file: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refused {
    kind: String,
    #[serde(default)]
    message: String,
    field: Option<String>,
}

/// Reads the answers of a case. `folder` holds the files that they name.
pub(super) fn read(document: Option<Value>, folder: &Path) -> Result<Vec<Answer>> {
    let Some(document) = document else {
        return Ok(Vec::new());
    };
    let written: Vec<Written> = serde_json::from_value(document).context(FILE)?;
    let answers = written.into_iter().enumerate().map(|(index, written)| {
        written
            .read(folder)
            .with_context(|| format!("{FILE}: answer {index}"))
    });
    answers.collect()
}

impl Written {
    fn read(self, folder: &Path) -> Result<Answer> {
        let given = match (self.outputs, self.body, self.error) {
            (Some(list), None, None) => {
                Given::Payload(Payload::Tensors(tensors::read(&list, folder)?))
            }
            (None, Some(body), None) => Given::Payload(Payload::Body(body.read(folder)?)),
            (None, None, Some(error)) => {
                let kind = ErrorKind::ALL
                    .into_iter()
                    .find(|kind| kind.name() == error.kind)
                    .with_context(|| format!("{:?} is no kind of an error", error.kind))?;
                Given::Refused(kind, error)
            }
            _ => bail!("needs one of \"outputs\", \"body\" and \"error\""),
        };
        Ok(Answer {
            target: self.target,
            version: self.version,
            given,
        })
    }
}

impl WrittenBody {
    fn read(self, folder: &Path) -> Result<Body> {
        let (media_type, data) = match (self.json, self.text, self.file) {
            (Some(json), None, None) => ("application/json", json.to_string().into_bytes()),
            (None, Some(text), None) => ("text/plain", text.into_bytes()),
            (None, None, Some(file)) => (
                "application/octet-stream",
                tensors::read_file(folder, &file)?,
            ),
            _ => bail!("\"body\" needs one of json, text, file"),
        };
        Ok(Body {
            media_type: self.media_type.as_deref().unwrap_or(media_type).into(),
            data: data.into(),
        })
    }
}

/// What plugins that are tried call models through.
#[derive(Default)]
pub(in crate::cli::plugin) struct Answers(Mutex<Vec<Answer>>);

impl Answers {
    /// From here on these are given.
    pub(in crate::cli::plugin) fn set(&self, answers: &[Answer]) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = answers.to_vec();
    }

    fn next(&self, target: &str, version: Option<&str>) -> wharf_core::Result<Payload> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut fitting = answers
            .iter()
            .enumerate()
            .filter(|(_, answer)| answer.target == target && answer.version.as_deref() == version)
            .map(|(index, _)| index);
        let (first, another) = (fitting.next(), fitting.next());
        let Some(first) = first else {
            let version = version.map(|version| format!("@{version}"));
            let message = format!(
                "no model is loaded where a plugin is tried, and {FILE} of the case has no answer of {target}{}",
                version.unwrap_or_default()
            );
            return Err(Error::new(ErrorKind::Unavailable, message));
        };
        let answer = match another {
            Some(_) => answers.remove(first),
            None => answers[first].clone(),
        };
        match answer.given {
            Given::Payload(payload) => Ok(payload),
            Given::Refused(kind, refused) => {
                let error = Error::new(kind, refused.message);
                Err(match refused.field {
                    Some(field) => error.with_field(field),
                    None => error,
                })
            }
        }
    }
}

impl ModelCalls for Answers {
    fn call<'a>(
        &'a self,
        _: &'a Arc<RequestContext>,
        target: &'a str,
        version: Option<&'a str>,
        _: Payload,
    ) -> BoxFuture<'a, wharf_core::Result<Payload>> {
        Box::pin(async move { self.next(target, version) })
    }

    /// Accepted and dropped: nobody waits for an answer, and there is no model that would see it.
    fn mirror(
        &self,
        _: &Arc<RequestContext>,
        target: &str,
        version: Option<&str>,
        _: Payload,
    ) -> wharf_core::Result<()> {
        tracing::info!(
            target = target,
            version,
            "mirrored call dropped: no model is loaded where a plugin is tried"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(document: Value) -> Result<Answers> {
        let read = read(Some(document), Path::new("nowhere"))?;
        let answers = Answers::default();
        answers.set(&read);
        Ok(answers)
    }

    fn text(payload: wharf_core::Result<Payload>) -> String {
        match payload {
            Ok(Payload::Body(body)) => String::from_utf8(body.data.to_vec()).unwrap(),
            Ok(Payload::Tensors(tensors)) => tensors[0].name().to_owned(),
            Err(error) => format!("{}: {error}", error.kind().name()),
        }
    }

    #[test]
    fn answers_are_given_in_order_and_the_last_again() {
        let answers = answers(json!([
            {"target": "a", "body": {"text": "one"}},
            {"target": "a", "version": "2", "body": {"json": [2]}},
            {"target": "a", "error": {"kind": "not-found", "message": "gone", "field": "x"}},
            {"target": "b", "outputs": [{"name": "y", "datatype": "INT8", "shape": [1], "data": [1]}]},
        ]))
        .unwrap();
        for (target, version, expected) in [
            ("a", None, "one"),
            ("a", None, "not-found: x: gone"),
            ("a", None, "not-found: x: gone"),
            ("a", Some("2"), "[2]"),
            ("b", None, "y"),
        ] {
            assert_eq!(text(answers.next(target, version)), expected);
        }
        let none = text(answers.next("c", Some("1")));
        assert!(
            none.starts_with("unavailable") && none.contains("c@1"),
            "{none}"
        );
    }

    #[test]
    fn what_is_no_answer_is_refused_in_words() {
        for (document, words) in [
            (json!([{"target": "a"}]), "needs one of"),
            (json!([{"target": "a", "body": {}}]), "json, text, file"),
            (
                json!([{"target": "a", "error": {"kind": "odd"}}]),
                "no kind",
            ),
            (json!([{"targets": "a"}]), "unknown field"),
            (
                json!([{"target": "a", "body": {"file": "../x"}}]),
                "without folders",
            ),
        ] {
            let error = answers(document).err().unwrap();
            assert!(format!("{error:#}").contains(words), "{error:#}");
        }
    }
}
