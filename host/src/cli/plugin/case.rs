//! A case: a folder that says what a stage gets and what must come out.
//!
//! `request.json` is the request, `input.json` tensors or `input.bin` a body, `models.json` what models answer, `expected.json` what
//! must come out. A recorded request is a case without `expected.json`, and says in other files what came of it.

mod answers;
mod compare;
mod outcome;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use wharf_core::{
    Body, Candidate, Headers, ModelLoad, Name, Payload, RequestContext, Scheduling, Stage, Token,
};

use super::tensors;
pub(super) use answers::{Answer, Answers};
pub(super) use outcome::{Filtered, Outcome};

const REQUEST: &str = "request.json";
const TENSORS: &str = "input.json";
const BODY: &str = "input.bin";
const EXPECTED: &str = "expected.json";

/// The time that a request has where its case says nothing: that of a route that says nothing.
const TIMEOUT_MS: u64 = 10_000;

/// `request.json`. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RequestFile {
    /// The stage, where the plugin has several.
    stage: Option<String>,
    id: Option<String>,
    route: Option<String>,
    tenant: Option<String>,
    headers: BTreeMap<String, Values>,
    timeout_ms: Option<u64>,
    /// The file with the body, where it is not `input.bin`.
    input: Option<String>,
    /// The media type of the body, or of the one that comes in chunks.
    media_type: Option<String>,
    /// What stands in for `[settings]` of the plugin's settings file.
    pub(super) settings: Option<serde_json::Map<String, Value>>,
    /// What a router chooses from.
    candidates: Vec<CandidateFile>,
    /// What a token filter is given, a list a call. No call at all, where the filter is only opened and ended.
    tokens: Option<Vec<Vec<TokenFile>>>,
    /// What a chunk filter is given, one a call, or none as for tokens.
    chunks: Option<Vec<ChunkFile>>,
}

impl RequestFile {
    fn media_type(&self) -> &str {
        let media_type = self.media_type.as_deref();
        media_type.unwrap_or("application/octet-stream")
    }
}

/// The value of a header field, or the values of one that is there several times.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
enum Values {
    One(String),
    Many(Vec<String>),
}

/// A candidate of a router.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
struct CandidateFile {
    model: String,
    version: u64,
    labels: Vec<String>,
    queue_depth: u32,
    in_flight: u32,
    latency_us: u64,
    free_memory: Option<u64>,
}

/// A token of a generated text.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenFile {
    id: u32,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    logprob: Option<f32>,
}

impl From<&Token> for TokenFile {
    fn from(token: &Token) -> Self {
        Self {
            id: token.id,
            text: token.text.clone(),
            logprob: token.logprob,
        }
    }
}

impl From<&TokenFile> for Token {
    fn from(token: &TokenFile) -> Self {
        Self {
            id: token.id,
            text: token.text.clone(),
            logprob: token.logprob,
        }
    }
}

/// A piece of a body: text, or what is none.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum ChunkFile {
    Text(String),
    Bytes { base64: String },
}

impl From<&Bytes> for ChunkFile {
    fn from(chunk: &Bytes) -> Self {
        match std::str::from_utf8(chunk) {
            Ok(text) => Self::Text(text.to_owned()),
            Err(_) => Self::Bytes {
                base64: STANDARD.encode(chunk),
            },
        }
    }
}

impl ChunkFile {
    fn bytes(&self) -> Result<Bytes> {
        match self {
            Self::Text(text) => Ok(text.clone().into()),
            Self::Bytes { base64 } => {
                let bytes = STANDARD.decode(base64);
                Ok(bytes
                    .with_context(|| format!("{base64:?} is no base64"))?
                    .into())
            }
        }
    }
}

/// A case that was read.
pub(super) struct Case {
    pub(super) name: String,
    folder: PathBuf,
    pub(super) request: RequestFile,
    /// What preprocess and postprocess get.
    pub(super) input: Option<Payload>,
    /// What models answer.
    pub(super) models: Vec<Answer>,
    expected: Option<Value>,
}

impl Case {
    /// Reads every case below a folder, in the order of their names.
    ///
    /// # Errors
    /// Where there is none, or one cannot be read.
    pub(super) fn all(folder: &Path) -> Result<Vec<Self>> {
        let listed = fs::read_dir(folder).with_context(|| {
            format!("there are no cases: {} cannot be listed", folder.display())
        })?;
        let mut folders = Vec::new();
        for entry in listed {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            }
        }
        folders.sort();
        ensure!(
            !folders.is_empty(),
            "there are no cases in {}: make a folder there for each",
            folder.display()
        );
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    /// Those of these names, or all where no name is given.
    ///
    /// # Errors
    /// The first name that no case has, in words.
    pub(super) fn chosen(mut cases: Vec<Self>, names: &[String]) -> Result<Vec<Self>, String> {
        if let Some(unknown) = names
            .iter()
            .find(|wanted| !cases.iter().any(|case| case.name == **wanted))
        {
            return Err(format!("there is no case {unknown:?} in cases/"));
        }
        if !names.is_empty() {
            cases.retain(|case| names.contains(&case.name));
        }
        Ok(cases)
    }

    /// Reads one.
    ///
    /// # Errors
    /// Where a file of it cannot be read; the text names the file.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let name = folder
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_else(|| folder.display().to_string());
        let case = || -> Result<Self> {
            ensure!(folder.is_dir(), "{} is no folder", folder.display());
            let request: RequestFile = match read_json(&folder.join(REQUEST))? {
                Some(document) => serde_json::from_value(document).context(REQUEST)?,
                None => RequestFile::default(),
            };
            Ok(Self {
                name: name.clone(),
                folder: folder.to_owned(),
                input: read_input(folder, &request)?,
                models: answers::read(read_json(&folder.join(answers::FILE))?, folder)?,
                expected: read_json(&folder.join(EXPECTED))?,
                request,
            })
        };
        case().with_context(|| format!("the case {name}"))
    }

    /// The stage that it is for: the one that it names, or the only one that there is.
    pub(super) fn stage(&self, stages: &[Stage]) -> Result<Stage> {
        let names = || {
            let names: Vec<_> = stages.iter().map(|stage| stage.name()).collect();
            names.join(", ")
        };
        match (&self.request.stage, stages) {
            (None, [only]) => Ok(*only),
            (None, _) => bail!("{REQUEST} needs a \"stage\": the plugin has {}", names()),
            (Some(name), stages) => stages
                .iter()
                .copied()
                .find(|stage| stage.name() == name)
                .with_context(|| format!("the plugin has no stage {name:?}: it has {}", names())),
        }
    }

    /// The request that the stage works for. Its time runs from now.
    pub(super) fn context(&self) -> Result<Arc<RequestContext>> {
        let request = &self.request;
        let mut headers = HeaderMap::new();
        for (name, values) in &request.headers {
            let field = HeaderName::try_from(name.as_str())
                .with_context(|| format!("{name:?} cannot be a header's name"))?;
            for value in values.list() {
                let value = HeaderValue::try_from(value.as_str())
                    .with_context(|| format!("the header {name} cannot have this value"))?;
                headers.append(&field, value);
            }
        }
        let timeout = Duration::from_millis(request.timeout_ms.unwrap_or(TIMEOUT_MS));
        Ok(Arc::new(RequestContext {
            id: request.id.as_deref().unwrap_or(&self.name).into(),
            route: request.route.as_deref().unwrap_or("case").into(),
            tenant: request.tenant.as_deref().map(Arc::from),
            headers: Headers::new(headers),
            deadline: Instant::now() + timeout,
            timeout,
            scheduling: Scheduling::default(),
            depth: 0,
        }))
    }

    /// What a router chooses from.
    pub(super) fn candidates(&self) -> Result<Vec<Candidate>> {
        ensure!(
            !self.request.candidates.is_empty(),
            "{REQUEST} needs \"candidates\" for a router"
        );
        let candidate = |file: &CandidateFile| {
            Ok(Candidate {
                model: Name::new(&file.model)
                    .with_context(|| format!("{:?} cannot be a model's name", file.model))?,
                version: file.version,
                labels: file.labels.clone().into(),
                load: ModelLoad {
                    queue_depth: file.queue_depth,
                    in_flight: file.in_flight,
                    latency: Duration::from_micros(file.latency_us),
                    free_memory: file.free_memory,
                    rests: false,
                },
            })
        };
        self.request.candidates.iter().map(candidate).collect()
    }

    /// What a token filter is given, a list a call.
    pub(super) fn tokens(&self) -> Result<Vec<Vec<Token>>> {
        let calls = (self.request.tokens.as_ref())
            .filter(|calls| calls.iter().all(|call| !call.is_empty()))
            .with_context(|| {
                format!(
                    "{REQUEST} needs \"tokens\" for a token filter: a list of lists, none of them empty"
                )
            })?;
        let tokens = |call: &Vec<TokenFile>| call.iter().map(Token::from).collect();
        Ok(calls.iter().map(tokens).collect())
    }

    /// What a chunk filter is given, one a call, and the media type of the body.
    pub(super) fn chunks(&self) -> Result<(String, Vec<Bytes>)> {
        let needed = || {
            format!(
                "{REQUEST} needs \"chunks\" for a chunk filter: a list of texts, or of {{\"base64\": ..}}, none of them empty"
            )
        };
        let chunks = self.request.chunks.as_ref().with_context(needed)?;
        let chunks: Vec<Bytes> = chunks.iter().map(ChunkFile::bytes).collect::<Result<_>>()?;
        ensure!(chunks.iter().all(|chunk| !chunk.is_empty()), needed());
        Ok((self.request.media_type().to_owned(), chunks))
    }

    /// What preprocess and postprocess get.
    pub(super) fn payload(&self) -> Result<Payload> {
        self.input.clone().with_context(|| {
            format!("the stage needs an input: {TENSORS} with tensors, or {BODY} with a body")
        })
    }

    /// How an outcome differs from what is expected, a line each. Nothing where it is as expected.
    pub(super) fn differences(&self, outcome: &Outcome) -> Result<Vec<String>> {
        match &self.expected {
            Some(expected) => compare::differences(expected, outcome, &self.folder)
                .with_context(|| format!("the case {}: {EXPECTED}", self.name)),
            None => Ok(vec![format!(
                "there is no {EXPECTED}; `wharf plugin test --update` writes what came out: {}",
                outcome.document("expected", &mut Vec::new())
            )]),
        }
    }

    /// How an outcome differs from a document that has the form of `expected.json`, a line each.
    pub(super) fn compare(&self, document: &Value, outcome: &Outcome) -> Result<Vec<String>> {
        compare::differences(document, outcome, &self.folder)
    }

    /// Writes an outcome as what is expected.
    pub(super) fn expect(&self, outcome: &Outcome) -> Result<()> {
        let mut files = Vec::new();
        let mut document = outcome.document("expected", &mut files);
        if let Some(tolerance) = self.expected.as_ref().and_then(|old| old.get("tolerance")) {
            document["tolerance"] = tolerance.clone();
        }
        for (name, bytes) in files {
            write(&self.folder.join(name), &bytes)?;
        }
        let text = format!("{document:#}\n");
        write(&self.folder.join(EXPECTED), text.as_bytes())
    }
}

impl Values {
    fn list(&self) -> &[String] {
        match self {
            Self::One(value) => std::slice::from_ref(value),
            Self::Many(values) => values,
        }
    }
}

fn write(file: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(file, bytes).with_context(|| format!("{} cannot be written", file.display()))
}

/// Reads a JSON document; none where there is no such file.
pub(super) fn read_json(file: &Path) -> Result<Option<Value>> {
    let name = || {
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    match fs::read(file) {
        Ok(bytes) => Ok(Some(
            serde_json::from_slice(&bytes).with_context(|| format!("{} is no JSON", name()))?,
        )),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", name())),
    }
}

fn read_input(folder: &Path, request: &RequestFile) -> Result<Option<Payload>> {
    let body = match &request.input {
        Some(name) => Some(tensors::read_file(folder, &name.as_str().into())?),
        None => match fs::read(folder.join(BODY)) {
            Ok(bytes) => Some(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error).context(BODY),
        },
    };
    if let Some(data) = body {
        return Ok(Some(Payload::Body(Body {
            media_type: request.media_type().into(),
            data: data.into(),
        })));
    }
    let Some(document) = read_json(&folder.join(TENSORS))? else {
        return Ok(None);
    };
    // What a stage gets is the same list, whether a client sent it or a model gave it.
    let list = document
        .get("inputs")
        .or_else(|| document.get("outputs"))
        .with_context(|| format!("{TENSORS} needs the list \"inputs\""))?;
    Ok(Some(Payload::Tensors(
        tensors::read(list, folder).context(TENSORS)?,
    )))
}

#[cfg(test)]
mod tests;
