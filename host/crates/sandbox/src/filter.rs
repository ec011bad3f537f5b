//! The filter of one generated text, or of one body that comes in chunks: one instance sees all of it, from the first piece to the
//! last.
//!
//! An instance works for one text or body at a time, also where instances are shared: those that run at once have one each, so
//! that a filter which traps ends no other. One that ends well gives its instance back, where the isolation allows. One that
//! fails, or is left before its end, throws it away: what the filter holds in there would stay otherwise, and freeing it is the
//! guest's work, which nobody would wait for.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::ResourceAny;
use wharf_core::{BoxFuture, Error, Filter, RequestContext, Result, Stage, Token, Verdict};

use crate::bindings::v1::{Answer, Filtering, Job, Piece, types};
use crate::calls::Calls;
use crate::limits::{LimitBroken, Limits};
use crate::pool::{Pool, TextLease};
use crate::recording::{Journal, Tape};

/// What a token takes beside its text, in bytes.
const TOKEN_BYTES: u64 = size_of::<Token>() as u64;

/// What a filter did that takes much and gives nothing.
const HELD: &str = "the filter keeps too much back";

/// A text or a body in a guest.
pub(crate) struct GuestFilter {
    calls: Arc<Calls>,
    request: Arc<RequestContext>,
    stage: Stage,
    /// None once it has ended, and while a call runs: a call that is left has no instance to give back.
    open: Option<Open>,
    flow: Flow,
    /// What was given so far, where calls are recorded.
    tape: Option<Box<Tape>>,
}

struct Open {
    lease: TextLease,
    filter: ResourceAny,
}

/// What went into the filter and came out of it, from the begin on.
#[derive(Default)]
struct Flow {
    /// Taken since the filter last gave something.
    held_tokens: u64,
    held_bytes: u64,
    /// Given in all.
    given_bytes: u64,
}

impl GuestFilter {
    /// Begins a text or a body.
    pub(crate) async fn open(
        calls: &Arc<Calls>,
        pool: &Pool,
        request: &Arc<RequestContext>,
        filtering: Filtering<'_>,
    ) -> Result<Self> {
        let stage = filtering.stage();
        let mut record = calls.begin(stage)?;
        let job = Job::Open(filtering);
        let mut tape = calls.tape(&job, request, record.began);
        let mut lease = match pool.take_for_text(request).await {
            Ok(lease) => lease,
            Err(error) => {
                let mut judged = calls.without_instance(error, request);
                record.end(judged.outcome);
                if let Some(tape) = tape {
                    calls.keep(tape, &mut judged, &record, Journal::default());
                }
                return judged.answer.and_then(|_| Err(no_filter()));
            }
        };
        let instance = lease.instance();
        if tape.is_some() {
            instance.begin_journal();
        }
        let answer = instance.call(request, job, record.began).await;
        let mut judged = calls.judge(answer, stage, request, instance);
        record.waited = instance.waited();
        let now = record.end(judged.outcome);
        if judged.answer.is_err()
            && let Some(tape) = tape.take()
        {
            calls.keep(tape, &mut judged, &record, instance.end_journal());
        }
        match judged.answer {
            Ok(Answer::Filter(filter)) => Ok(Self {
                calls: Arc::clone(calls),
                request: Arc::clone(request),
                stage,
                open: Some(Open { lease, filter }),
                flow: Flow::default(),
                tape,
            }),
            Ok(_) => Err(no_filter()),
            Err(error) => {
                if judged.outcome.is_sound() {
                    lease.ended(now);
                }
                Err(error)
            }
        }
    }

    /// Calls the filter, and keeps the instance where it goes on.
    async fn call(&mut self, job: impl FnOnce(ResourceAny) -> Job<'static>) -> Result<Answer> {
        let Some(mut open) = self.open.take() else {
            return Err(Error::internal(
                "a filter was called after its text or body had ended",
            ));
        };
        let mut record = self.calls.begin(self.stage)?;
        let instance = open.lease.instance();
        let answer = instance
            .call(&self.request, job(open.filter), record.began)
            .await
            .and_then(|answer| self.flow.check(answer, &self.calls.facts().limits));
        let mut judged = self
            .calls
            .judge(answer, self.stage, &self.request, instance);
        record.waited = instance.waited();
        let now = record.end(judged.outcome);
        if let (Some(tape), Ok(Answer::Verdict(verdict))) = (&mut self.tape, &judged.answer)
            && self.calls.records_sound()
        {
            tape.verdict(verdict);
        }
        let goes_on = matches!(&judged.answer, Ok(Answer::Verdict(Verdict::Emit(_))));
        if !goes_on && let Some(tape) = self.tape.take() {
            let journal = instance.end_journal();
            self.calls.keep(tape, &mut judged, &record, journal);
        }
        if goes_on {
            self.open = Some(open);
        } else if judged.outcome.is_sound() {
            // The guest's filter was dropped with the end.
            open.lease.ended(now);
        }
        judged.answer
    }

    async fn give(&mut self, piece: Piece) -> Result<Verdict<Piece>> {
        // The contract promises the guest at least something.
        if piece.is_empty() {
            return Ok(Verdict::Emit(piece));
        }
        self.flow.take(&piece);
        let recorded = self.tape.is_some();
        self.calls.follow(&mut self.tape, &piece);
        if recorded
            && self.tape.is_none()
            && let Some(open) = &mut self.open
        {
            // Nobody asks for the notes any more.
            drop(open.lease.instance().end_journal());
        }
        match self.call(|filter| Job::Push(filter, piece)).await? {
            Answer::Verdict(verdict) => Ok(verdict),
            _ => Err(no_filter()),
        }
    }

    async fn end(mut self: Box<Self>) -> Result<Piece> {
        let stage = self.stage;
        match self.call(|filter| Job::Finish(filter, stage)).await? {
            Answer::Last(piece) => Ok(piece),
            _ => Err(no_filter()),
        }
    }
}

impl Filter<Vec<Token>> for GuestFilter {
    fn push(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<Verdict<Vec<Token>>>> {
        Box::pin(async {
            let verdict = self.give(Piece::Tokens(tokens)).await?;
            Ok(verdict.map(Piece::tokens))
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Vec<Token>>> {
        Box::pin(async { Ok(self.end().await?.tokens()) })
    }
}

impl Filter<Bytes> for GuestFilter {
    fn push(&mut self, chunk: Bytes) -> BoxFuture<'_, Result<Verdict<Bytes>>> {
        Box::pin(async {
            let verdict = self.give(Piece::Chunk(chunk)).await?;
            Ok(verdict.map(Piece::chunk))
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Bytes>> {
        Box::pin(async { Ok(self.end().await?.chunk()) })
    }
}

impl Piece {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Self::Tokens(tokens) => tokens.is_empty(),
            Self::Chunk(chunk) => chunk.is_empty(),
        }
    }

    /// How many tokens it has; a chunk has none.
    fn count(&self) -> u64 {
        match self {
            Self::Tokens(tokens) => tokens.len() as u64,
            Self::Chunk(_) => 0,
        }
    }

    pub(crate) fn bytes(&self) -> u64 {
        let of_token = |token: &Token| token.text.len() as u64 + TOKEN_BYTES;
        match self {
            Self::Tokens(tokens) => tokens.iter().map(of_token).sum(),
            Self::Chunk(chunk) => chunk.len() as u64,
        }
    }

    /// The tokens of a token filter, which gives nothing else.
    fn tokens(self) -> Vec<Token> {
        match self {
            Self::Tokens(tokens) => tokens,
            Self::Chunk(_) => Vec::new(),
        }
    }

    /// The bytes of a chunk filter, which gives nothing else.
    fn chunk(self) -> Bytes {
        match self {
            Self::Chunk(chunk) => chunk,
            Self::Tokens(_) => Bytes::new(),
        }
    }
}

impl Flow {
    fn take(&mut self, piece: &Piece) {
        self.held_tokens += piece.count();
        self.held_bytes += piece.bytes();
    }

    /// Counts what a call gave.
    ///
    /// # Errors
    /// Where the filter gave too much in all, or keeps too much back.
    fn check(
        &mut self,
        answer: Option<Result<Answer, types::Error>>,
        limits: &Limits,
    ) -> wasmtime::Result<Option<Result<Answer, types::Error>>> {
        let given = match &answer {
            Some(Ok(Answer::Verdict(verdict))) => verdict.given(),
            Some(Ok(Answer::Last(last))) => last,
            _ => return Ok(answer),
        };
        self.given_bytes += given.bytes();
        within(
            self.given_bytes,
            u64::from(limits.output_mb) << 20,
            ("the filter gave too much", "output_mb", limits.output_mb),
        )?;
        if !given.is_empty() {
            (self.held_tokens, self.held_bytes) = (0, 0);
        }
        let (tokens, kib) = (limits.held_tokens, limits.held_kb);
        within(
            self.held_tokens,
            tokens.into(),
            (HELD, "held_tokens", tokens),
        )?;
        within(
            self.held_bytes,
            u64::from(kib) << 10,
            (HELD, "held_kb", kib),
        )?;
        Ok(answer)
    }
}

fn within(
    count: u64,
    most: u64,
    (what, setting, value): (&'static str, &'static str, u32),
) -> wasmtime::Result<()> {
    if count > most {
        return Err(LimitBroken {
            what,
            setting,
            value,
        }
        .into());
    }
    Ok(())
}

/// What a job gives is said by its kind.
fn no_filter() -> Error {
    Error::internal("a filter gave something else than what it filters")
}
