//! A call that has ended, with all that a recording is made of.

use std::sync::Arc;
use std::time::Duration;

use wharf_core::{Error, Payload, Result, Verdict};

use super::journal::{Journal, Refused};
use super::tape::Tape;
use crate::bindings::v1::{Answer, Piece};
use crate::fault::Fault;
use crate::guest::PluginFacts;
use crate::metrics::Outcome;

/// A call that has ended.
pub(crate) struct Call {
    pub(crate) plugin: Arc<PluginFacts>,
    pub(crate) tape: Box<Tape>,
    pub(crate) journal: Journal,
    pub(crate) outcome: Outcome,
    pub(crate) end: End,
    pub(crate) took: Duration,
}

/// How it ended.
pub(crate) enum End {
    /// What preprocess or postprocess gave.
    Payload(Payload),
    /// The index that a router chose.
    Chosen(usize),
    /// The text or body that a filter saw has ended. This was still kept back; nothing where the filter stopped it.
    Filtered(Option<Piece>),
    /// The guest refused.
    Refused(Refused),
    /// It did not come to an end of its own.
    Fault {
        /// The stage, or `init`.
        during: &'static str,
        fault: Fault,
        /// What the guest wrote to standard output and error, without secrets.
        output: String,
        /// What the client gets.
        refused: Refused,
    },
}

impl End {
    /// The end that an answer is. None where a filter goes on.
    pub(crate) fn of(answer: &Result<Answer>) -> Option<Self> {
        Some(match answer {
            Ok(Answer::Payload(payload)) => Self::Payload(payload.clone()),
            Ok(Answer::Index(index)) => Self::Chosen(*index),
            Ok(Answer::Last(rest)) => Self::Filtered(Some(rest.clone())),
            Ok(Answer::Verdict(Verdict::Stop { .. })) => Self::Filtered(None),
            Ok(Answer::Verdict(_) | Answer::Filter(_)) => return None,
            Err(error) => Self::Refused(error.into()),
        })
    }

    /// A fault.
    pub(crate) fn fault(
        during: &'static str,
        (fault, output): (Fault, String),
        error: &Error,
    ) -> Self {
        Self::Fault {
            during,
            fault,
            output,
            refused: error.into(),
        }
    }
}

impl Call {
    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let end = match &self.end {
            End::Payload(payload) => payload.byte_len(),
            End::Fault { output, .. } => output.len(),
            End::Chosen(_) | End::Filtered(_) | End::Refused(_) => 0,
        };
        self.tape.input.bytes() + self.journal.bytes() + end as u64
    }
}
