//! The files of a recording: a case of `wharf plugin test`, and beside it what came of the call.
//!
//! `request.json` and `input.json` or `input.bin` are what the stage was given, `models.json` what models answered. `outcome.json`
//! has the form of a case's `expected.json`; `recording.json` says what was recorded, `stderr.txt`, `log.json` and `backtrace.txt`
//! what was seen of it. Elements of tensors are files of their own, so that they come back to the bit.

mod private;

use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Map, Value, json};
use wharf_core::{Body, Candidate, Payload, Tensor, Token, Verdict};

use self::private::Private;
use super::call::{Call, End};
use super::journal::{ModelAnswer, Refused};
use super::tape::Input;
use crate::bindings::v1::Piece;
use crate::fault::Fault;

/// The largest backtrace that is kept, in bytes.
const BACKTRACE_BYTES: usize = 256 << 10;

/// A part of the call would show a secret that the plugin was granted.
#[derive(Debug)]
pub(super) struct HoldsSecret;

/// The files, by their names. None of these is made of what a client sent.
pub(super) type Files = Vec<(String, Bytes)>;

/// Makes the files of a recording.
///
/// # Errors
/// Where what the stage was given or gave has a secret in it. Texts about the call are shown without.
pub(super) fn files(call: &Call) -> Result<Files, HoldsSecret> {
    let document = Document {
        private: Private::of(&call.plugin),
        call,
    };
    let mut files = Files::new();
    document.input(&mut files)?;
    document.models(&mut files)?;
    document.outcome(&mut files)?;
    document.seen(&mut files);
    Ok(files)
}

struct Document<'a> {
    private: Private<'a>,
    call: &'a Call,
}

impl Document<'_> {
    /// The request and the input: what a case is.
    fn input(&self, files: &mut Files) -> Result<(), HoldsSecret> {
        let tape = &self.call.tape;
        let request = &tape.request;
        let (headers, left_out) = self.private.headers(&request.headers);
        let mut document = json!({
            "stage": tape.stage.name(),
            "id": self.private.text(&request.id),
            "route": self.private.text(&request.route),
            "headers": headers,
            // Rounded up: a request that had a part of a millisecond left had time.
            "timeout_ms": u64::try_from(tape.left().as_micros().div_ceil(1000)).unwrap_or(u64::MAX).max(1),
        });
        if let Some(tenant) = &request.tenant {
            document["tenant"] = self.private.text(tenant).into();
        }
        match &tape.input {
            Input::Payload(Payload::Tensors(tensors)) => {
                let list = self.tensors(tensors, "input", files)?;
                add(files, "input.json", &json!({ "inputs": list }));
            }
            Input::Payload(Payload::Body(body)) => {
                self.private.check_body(body)?;
                document["media_type"] = (&*body.media_type).into();
                files.push(("input.bin".to_owned(), body.data.clone()));
            }
            Input::Candidates(candidates) => {
                document["candidates"] = candidates.iter().map(candidate).collect();
            }
            Input::Pieces(pieces) => {
                self.private.check_pieces(&pieces.calls)?;
                let calls = pieces.calls.iter().map(piece_of).collect();
                match &pieces.media_type {
                    Some(media_type) => {
                        self.private.check(media_type.as_bytes())?;
                        document["media_type"] = media_type.as_str().into();
                        document["chunks"] = calls;
                    }
                    None => document["tokens"] = calls,
                }
            }
        }
        add(files, "request.json", &document);
        let unrecorded: Map<String, Value> = (self.call.journal.unrecorded())
            .map(|(name, times)| (name.to_owned(), times.into()))
            .collect();
        let recording = json!({
            "plugin": self.call.plugin.name.as_str(),
            "digest": self.call.plugin.digest,
            "host": env!("CARGO_PKG_VERSION"),
            "recorded_ms": milliseconds(tape.at),
            "took_us": u64::try_from(self.call.took.as_micros()).unwrap_or(u64::MAX),
            "outcome": self.call.outcome.name(),
            "fault": self.fault(),
            "headers_left_out": left_out,
            "not_recorded": unrecorded,
            "lines_left_out": self.call.journal.lines_left_out,
        });
        add(files, "recording.json", &recording);
        Ok(())
    }

    /// What models answered, in the order of the calls.
    fn models(&self, files: &mut Files) -> Result<(), HoldsSecret> {
        let answers = (self.call.journal.answers().enumerate())
            .map(|(index, answered)| self.model(index, answered, files))
            .collect::<Result<Vec<_>, _>>()?;
        if !answers.is_empty() {
            add(files, "models.json", &answers.into());
        }
        Ok(())
    }

    fn model(
        &self,
        index: usize,
        (model, answer): (&ModelAnswer, &Result<Payload, Refused>),
        files: &mut Files,
    ) -> Result<Value, HoldsSecret> {
        // Texts of the guest's. A replay compares them, so they cannot be shown without.
        self.private.check(model.target.as_bytes())?;
        self.private
            .check(model.version.as_deref().unwrap_or_default().as_bytes())?;
        let mut document = match answer {
            Ok(payload) => self.payload(payload, &format!("model-{index}"), files)?,
            Err(refused) => self.error(refused),
        };
        document["target"] = model.target.as_str().into();
        if let Some(version) = &model.version {
            document["version"] = version.as_str().into();
        }
        Ok(document)
    }

    /// What came of the call, in the form of `expected.json`.
    fn outcome(&self, files: &mut Files) -> Result<(), HoldsSecret> {
        let document = match &self.call.end {
            End::Payload(payload) => self.payload(payload, "output", files)?,
            End::Chosen(index) => json!({ "chosen": index }),
            End::Filtered(rest) => self.verdicts(rest.as_ref())?,
            End::Refused(refused) | End::Fault { refused, .. } => self.error(refused),
        };
        add(files, "outcome.json", &document);
        Ok(())
    }

    fn verdicts(&self, rest: Option<&Piece>) -> Result<Value, HoldsSecret> {
        let Input::Pieces(pieces) = &self.call.tape.input else {
            return Ok(json!({}));
        };
        let key = match pieces.media_type {
            Some(_) => "chunk",
            None => "tokens",
        };
        let given = |verdict: &Verdict<Piece>| match verdict {
            Verdict::Emit(piece) => json!({ "emit": piece_of(piece) }),
            Verdict::Stop { last, reason } => {
                json!({ "stop": { key: piece_of(last), "reason": self.private.text(reason) } })
            }
        };
        let all = pieces.verdicts.iter().map(Verdict::given);
        self.private.check_pieces(all.chain(rest))?;
        let mut document =
            json!({ "verdicts": pieces.verdicts.iter().map(given).collect::<Vec<_>>() });
        if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
            document["rest"] = piece_of(rest);
        }
        Ok(document)
    }

    /// What was seen of the call.
    fn seen(&self, files: &mut Files) {
        let journal = &self.call.journal;
        let mut output = journal.output.clone();
        if let End::Fault {
            fault,
            output: last,
            ..
        } = &self.call.end
        {
            if !output.is_empty() && !last.is_empty() {
                output.push('\n');
            }
            output.push_str(last);
            if let Fault::Limit(_, error) | Fault::Trap(error) = fault {
                let text = self.private.cut(&format!("{error:?}"), BACKTRACE_BYTES);
                files.push(("backtrace.txt".to_owned(), text.into()));
            }
        }
        if !output.is_empty() {
            files.push(("stderr.txt".to_owned(), output.into()));
        }
        let lines: Vec<Value> = journal
            .lines
            .iter()
            .map(|line| {
                let fields: Map<String, Value> = line
                    .fields
                    .iter()
                    .map(|(name, value)| (self.private.text(name), self.private.text(value).into()))
                    .collect();
                let message = self.private.text(&line.message);
                json!({ "level": line.level, "message": message, "fields": fields })
            })
            .collect();
        if !lines.is_empty() {
            add(files, "log.json", &lines.into());
        }
    }

    fn fault(&self) -> Value {
        let End::Fault { during, fault, .. } = &self.call.end else {
            return Value::Null;
        };
        match fault {
            Fault::Limit(limit, _) => json!({
                "during": during, "reason": limit.to_string(),
                "setting": format!("limits.{}", limit.setting), "value": limit.value,
            }),
            Fault::Deadline => {
                json!({ "during": during, "reason": "the request's deadline passed" })
            }
            Fault::Trap(error) => {
                let reason = self.private.text(&error.root_cause().to_string());
                json!({ "during": during, "reason": reason })
            }
        }
    }

    fn payload(
        &self,
        payload: &Payload,
        prefix: &str,
        files: &mut Files,
    ) -> Result<Value, HoldsSecret> {
        match payload {
            Payload::Tensors(tensors) => {
                Ok(json!({ "outputs": self.tensors(tensors, prefix, files)? }))
            }
            Payload::Body(body) => {
                self.private.check_body(body)?;
                let Body { media_type, data } = body;
                let file = format!("{prefix}.bin");
                let document = json!({ "body": { "media_type": &**media_type, "file": file } });
                files.push((file, data.clone()));
                Ok(document)
            }
        }
    }

    fn tensors(
        &self,
        tensors: &[Tensor],
        prefix: &str,
        files: &mut Files,
    ) -> Result<Value, HoldsSecret> {
        let mut list = Vec::with_capacity(tensors.len());
        for (index, tensor) in tensors.iter().enumerate() {
            self.private.check(tensor.name().as_bytes())?;
            self.private.check(tensor.data())?;
            let file = format!("{prefix}-{index}.bin");
            list.push(json!({
                "name": tensor.name(), "datatype": tensor.datatype().name(),
                "shape": &**tensor.shape(), "file": file,
            }));
            files.push((file, tensor.data().clone()));
        }
        Ok(list.into())
    }

    fn error(&self, refused: &Refused) -> Value {
        let mut error = json!({
            "kind": refused.kind.name(), "message": self.private.text(&refused.message),
        });
        if let Some(field) = &refused.field {
            error["field"] = self.private.text(field).into();
        }
        json!({ "error": error })
    }
}

fn add(files: &mut Files, name: &str, document: &Value) {
    files.push((name.to_owned(), format!("{document:#}\n").into()));
}

fn candidate(candidate: &Candidate) -> Value {
    let load = &candidate.load;
    json!({
        "model": candidate.model.as_str(), "version": candidate.version, "labels": &*candidate.labels,
        "queue_depth": load.queue_depth, "in_flight": load.in_flight,
        "latency_us": u64::try_from(load.latency.as_micros()).unwrap_or(u64::MAX),
        "free_memory": load.free_memory,
    })
}

/// What a filter was given or gave, as a case has it: bytes are a text where they can be one.
fn piece_of(piece: &Piece) -> Value {
    match piece {
        Piece::Tokens(tokens) => tokens_of(tokens),
        Piece::Chunk(chunk) => match std::str::from_utf8(chunk) {
            Ok(text) => text.into(),
            Err(_) => json!({ "base64": STANDARD.encode(chunk) }),
        },
    }
}

fn tokens_of(tokens: &[Token]) -> Value {
    tokens
        .iter()
        .map(|token| {
            let mut document = json!({ "id": token.id, "text": token.text });
            if let Some(logprob) = token.logprob {
                document["logprob"] = logprob.into();
            }
            document
        })
        .collect()
}

pub(super) fn milliseconds(at: SystemTime) -> u64 {
    let since = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
