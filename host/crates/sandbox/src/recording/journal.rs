//! What is noted while a recorded call runs: what the guest says, what models answer it, and what it asked for that no
//! recording has.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use wharf_core::{ErrorKind, Payload, Result};

use crate::logging::{Line, Severity};

/// The most text of log lines that is noted, in bytes.
const TEXT_BYTES: usize = 256 << 10;

/// What a line takes beside its text, in bytes.
const LINE_BYTES: usize = 64;

/// What a call of a model takes beside its texts and its answer.
const CALL_BYTES: usize = 128;

/// What a guest uses whose answers are not recorded. They are other ones when the call is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    Http,
    Secret,
    State,
}

impl Unrecorded {
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Secret, Self::State];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Secret => "secret",
            Self::State => "state",
        }
    }
}

/// The notes of one call. Where they become more than they have room for, all of them go, and no more are taken.
#[derive(Default)]
pub(crate) struct Journal {
    room: Arc<Room>,
    pub(super) lines: Vec<KeptLine>,
    pub(super) lines_left_out: u64,
    text_bytes: usize,
    /// What the guest wrote to standard output and error, without secrets.
    pub(super) output: String,
    models: Vec<ModelAnswer>,
    unrecorded: [AtomicU32; Unrecorded::ALL.len()],
}

/// How much may be noted, and how much there was to note, in bytes.
#[derive(Default)]
struct Room {
    most: u64,
    used: AtomicU64,
}

impl Room {
    /// Says whether so many bytes more are within it. After they once were not, none are.
    fn take(&self, bytes: usize) -> bool {
        let bytes = bytes as u64;
        self.used.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.most
    }

    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
}

/// A line of the guest's, as it wrote it.
pub(super) struct KeptLine {
    pub(super) level: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(String, String)>,
}

/// A call of a model or a route.
pub(super) struct ModelAnswer {
    pub(super) target: String,
    pub(super) version: Option<String>,
    answer: Arc<OnceLock<Result<Payload, Refused>>>,
}

/// Where the answer of one call belongs.
pub(crate) struct AnswerSlot {
    room: Arc<Room>,
    answer: Arc<OnceLock<Result<Payload, Refused>>>,
}

/// An error as a document tells it.
pub(crate) struct Refused {
    pub(super) kind: ErrorKind,
    pub(super) message: String,
    pub(super) field: Option<String>,
}

impl From<&wharf_core::Error> for Refused {
    fn from(error: &wharf_core::Error) -> Self {
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            field: error.field().map(str::to_owned),
        }
    }
}

impl AnswerSlot {
    /// Notes an answer: of what it holds, handles. Nothing where there is no room.
    pub(crate) fn fill(self, answer: &Result<Payload>) {
        let bytes = match answer {
            Ok(payload) => kept_bytes(payload),
            Err(error) => error.message().len(),
        };
        if self.room.take(bytes) {
            let answer = match answer {
                Ok(payload) => Ok(payload.clone()),
                Err(error) => Err(error.into()),
            };
            // It is filled once.
            drop(self.answer.set(answer));
        }
    }
}

/// What a payload takes, also where its tensors are small.
fn kept_bytes(payload: &Payload) -> usize {
    let tensors = match payload {
        Payload::Tensors(tensors) => size_of_val(tensors.as_slice()),
        Payload::Body(_) => 0,
    };
    payload.byte_len() + tensors
}

impl Journal {
    /// One for notes of so many bytes.
    pub(crate) fn new(most: u64) -> Self {
        Self {
            room: Arc::new(Room {
                most,
                used: AtomicU64::new(0),
            }),
            ..Self::default()
        }
    }

    /// Notes a line.
    pub(crate) fn line(&mut self, line: &Line<'_>) {
        let fields: usize = (line.fields.iter())
            .map(|(name, value)| name.len() + value.len())
            .sum();
        let bytes = line.message.len() + fields + LINE_BYTES;
        if self.text_bytes + bytes > TEXT_BYTES {
            self.lines_left_out += 1;
            return;
        }
        if !self.take(bytes) {
            return;
        }
        self.text_bytes += bytes;
        self.lines.push(KeptLine {
            level: match line.severity {
                Severity::Debug => "debug",
                Severity::Info => "info",
                Severity::Warn => "warn",
                Severity::Error => "error",
            },
            message: line.message.to_owned(),
            fields: line.fields.to_vec(),
        });
    }

    /// Notes what the guest wrote to standard output and error.
    pub(crate) fn output(&mut self, text: &str) {
        if !self.take(text.len()) {
            return;
        }
        if !self.output.is_empty() && !text.is_empty() {
            self.output.push('\n');
        }
        self.output.push_str(text);
    }

    /// Notes that a model is called. Its answer is noted where it comes, before it counts as the guest's. None where there is no room.
    pub(crate) fn calls(&mut self, target: &str, version: Option<&str>) -> Option<AnswerSlot> {
        let bytes = target.len() + version.map_or(0, str::len) + CALL_BYTES;
        if !self.take(bytes) {
            return None;
        }
        let answer = Arc::new(OnceLock::new());
        self.models.push(ModelAnswer {
            target: target.to_owned(),
            version: version.map(str::to_owned),
            answer: Arc::clone(&answer),
        });
        Some(AnswerSlot {
            room: Arc::clone(&self.room),
            answer,
        })
    }

    /// The calls of models that were answered, in the order of the calls.
    pub(super) fn answers(
        &self,
    ) -> impl Iterator<Item = (&ModelAnswer, &Result<Payload, Refused>)> {
        self.models
            .iter()
            .filter_map(|model| Some((model, model.answer.get()?)))
    }

    fn take(&mut self, bytes: usize) -> bool {
        let fits = self.room.take(bytes);
        if !fits {
            self.lines.clear();
            self.output.clear();
            self.models.clear();
        }
        fits
    }

    /// Notes a use whose answer is not recorded.
    pub(crate) fn used(&self, what: Unrecorded) {
        self.unrecorded[what as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// What was used whose answers are not recorded, and how often.
    pub(super) fn unrecorded(&self) -> impl Iterator<Item = (&'static str, u32)> {
        Unrecorded::ALL.into_iter().filter_map(|what| {
            let times = self.unrecorded[what as usize].load(Ordering::Relaxed);
            (times > 0).then_some((what.name(), times))
        })
    }

    /// How much there was to note, in bytes: more than its room where it was given up.
    pub(super) fn bytes(&self) -> u64 {
        self.room.used()
    }
}

#[cfg(test)]
mod tests {
    use wharf_core::Body;

    use super::*;

    #[test]
    fn lines_beyond_their_room_are_counted() {
        let mut journal = Journal::new(u64::MAX);
        let message = "x".repeat(TEXT_BYTES / 2);
        for _ in 0..3 {
            journal.line(&Line {
                severity: Severity::Info,
                message: &message,
                fields: &[],
            });
        }
        assert_eq!((journal.lines.len(), journal.lines_left_out), (1, 2));
        assert!(journal.bytes() <= TEXT_BYTES as u64);
    }

    #[test]
    fn what_a_guest_writes_is_one_text_beside_its_lines() {
        let mut journal = Journal::new(u64::MAX);
        journal.output("by the way");
        journal.output("and so on");
        assert_eq!(journal.output, "by the way\nand so on");
        assert!(journal.lines.is_empty());
        let mut full = Journal::new(8);
        full.output("longer than that");
        assert_eq!(full.output, "");
    }

    #[test]
    fn notes_beyond_their_room_are_given_up() {
        let answer = |bytes| {
            Ok(Payload::Body(Body {
                media_type: "text/plain".into(),
                data: vec![b'x'; bytes].into(),
            }))
        };
        let mut journal = Journal::new(1_000);
        journal.output("said");
        for _ in 0..3 {
            journal.calls("a", None).unwrap().fill(&answer(100));
        }
        // One that nobody has answered yet.
        let late = journal.calls("b", None).unwrap();
        assert_eq!(journal.answers().count(), 3);
        late.fill(&answer(900));
        assert_eq!(journal.answers().count(), 3, "the large one is not kept");
        assert!(journal.calls("a", None).is_none());
        journal.output("more");
        assert_eq!((journal.answers().count(), &*journal.output), (0, ""));
        assert!(journal.bytes() > 1_000);
    }

    #[test]
    fn what_is_not_recorded_is_counted() {
        let journal = Journal::default();
        journal.used(Unrecorded::State);
        journal.used(Unrecorded::State);
        journal.used(Unrecorded::Http);
        let used: Vec<_> = journal.unrecorded().collect();
        assert_eq!(used, [("http", 1), ("state", 2)]);
    }
}
