//! What a call that may be recorded keeps from its beginning on.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use wharf_core::{Candidate, Payload, RequestContext, Stage, Verdict};

use crate::bindings::v1::{Filtering, Job, Piece};

/// The beginning of a call.
pub(crate) struct Tape {
    pub(super) stage: Stage,
    pub(super) request: Arc<RequestContext>,
    pub(super) input: Input,
    pub(super) began: Instant,
    /// The same, as people tell the time.
    pub(super) at: SystemTime,
}

/// What a stage was given. Of payloads these are handles.
pub(crate) enum Input {
    Payload(Payload),
    Candidates(Vec<Candidate>),
    Pieces(Pieces),
}

/// A text or a body that goes through a filter, call by call.
#[derive(Default)]
pub(crate) struct Pieces {
    /// The media type of a body; a text has none.
    pub(super) media_type: Option<String>,
    pub(super) calls: Vec<Piece>,
    pub(super) verdicts: Vec<Verdict<Piece>>,
    bytes: u64,
}

impl Tape {
    /// Keeps what a call begins with.
    pub(crate) fn begin(job: &Job<'_>, request: &Arc<RequestContext>, now: Instant) -> Self {
        Self {
            stage: job.stage(),
            request: Arc::clone(request),
            input: match job {
                Job::Preprocess(payload) | Job::Postprocess(payload) => {
                    Input::Payload(payload.clone())
                }
                Job::Route(candidates) => Input::Candidates(candidates.to_vec()),
                Job::Open(Filtering::Chunks(media_type)) => Input::Pieces(Pieces {
                    media_type: Some((*media_type).to_owned()),
                    ..Pieces::default()
                }),
                Job::Open(Filtering::Tokens) | Job::Push(..) | Job::Finish(..) => {
                    Input::Pieces(Pieces::default())
                }
            },
            began: now,
            at: SystemTime::now(),
        }
    }

    /// Keeps what one more call of a filter is given. Says whether all of it is still within so many bytes.
    pub(crate) fn push(&mut self, piece: &Piece, most: u64) -> bool {
        let Input::Pieces(pieces) = &mut self.input else {
            return true;
        };
        pieces.bytes += piece.bytes();
        if pieces.bytes > most {
            return false;
        }
        pieces.calls.push(piece.clone());
        true
    }

    /// Keeps what the filter said of it.
    pub(crate) fn verdict(&mut self, verdict: &Verdict<Piece>) {
        if let Input::Pieces(pieces) = &mut self.input {
            pieces.bytes += verdict.given().bytes();
            pieces.verdicts.push(verdict.clone());
        }
    }

    pub(crate) fn began(&self) -> Instant {
        self.began
    }

    /// The time that the request had left.
    pub(super) fn left(&self) -> Duration {
        self.request.deadline.saturating_duration_since(self.began)
    }
}

impl Input {
    /// How much was given, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Payload(payload) => payload.byte_len() as u64,
            Self::Candidates(candidates) => size_of_val(candidates.as_slice()) as u64,
            Self::Pieces(pieces) => pieces.bytes,
        }
    }
}
