//! The filter of one generated text: one instance sees all its tokens, from the first to the last.
//!
//! An instance works for one text at a time, also where instances are shared: texts that run at once have one each, so
//! that a filter which traps ends no other text. A text that ends well gives its instance back, where the isolation
//! allows. One that fails, or is left before its end, throws it away: what the filter holds in there would stay otherwise,
//! and freeing it is the guest's work, which nobody would wait for.

use std::sync::Arc;

use wasmtime::component::ResourceAny;
use wharf_core::{BoxFuture, Error, RequestContext, Result, Stage, Token, TokenFilter, Verdict};

use crate::bindings::v1::{Answer, Job, types};
use crate::calls::Calls;
use crate::limits::{LimitBroken, Limits};
use crate::pool::{Pool, TextLease};

/// What a token takes beside its text, in bytes.
const TOKEN_BYTES: u64 = size_of::<Token>() as u64;

/// What a filter did that takes many tokens and gives none.
const HELD: &str = "the filter keeps too much of the text back";

/// A text in a guest.
pub(crate) struct GuestFilter {
    calls: Arc<Calls>,
    request: Arc<RequestContext>,
    /// None once the text has ended, and while a call runs: a call that is left has no instance to give back.
    open: Option<Open>,
    flow: Flow,
}

struct Open {
    lease: TextLease,
    filter: ResourceAny,
}

/// What went into the filter and came out of it, over the whole text.
#[derive(Default)]
struct Flow {
    /// Taken since the filter last gave something.
    held_tokens: u64,
    held_bytes: u64,
    /// Given in all.
    given_bytes: u64,
}

impl GuestFilter {
    /// Begins a text.
    pub(crate) async fn open(
        calls: &Arc<Calls>,
        pool: &Pool,
        request: &Arc<RequestContext>,
    ) -> Result<Self> {
        let mut record = calls.begin(Stage::TokenFilter)?;
        let mut lease = match pool.take_for_text(request).await {
            Ok(lease) => lease,
            Err(error) => {
                let (outcome, error) = calls.without_instance(error, request);
                record.outcome = outcome;
                return Err(error);
            }
        };
        let answer = lease.instance().call(request, Job::Open, record.began);
        let answer = answer.await;
        let stage = Stage::TokenFilter;
        let (outcome, answer) = calls.judge(answer, stage, request, lease.instance());
        record.waited = lease.instance().waited();
        record.outcome = outcome;
        match answer {
            Ok(Answer::Filter(filter)) => Ok(Self {
                calls: Arc::clone(calls),
                request: Arc::clone(request),
                open: Some(Open { lease, filter }),
                flow: Flow::default(),
            }),
            Ok(_) => Err(no_filter()),
            Err(error) => {
                if outcome.is_sound() {
                    lease.ended();
                }
                Err(error)
            }
        }
    }

    /// Calls the filter, and keeps the instance where the text goes on.
    async fn call(&mut self, job: impl FnOnce(ResourceAny) -> Job<'static>) -> Result<Answer> {
        let Some(mut open) = self.open.take() else {
            return Err(Error::internal(
                "a token filter was called after its text had ended",
            ));
        };
        let mut record = self.calls.begin(Stage::TokenFilter)?;
        let instance = open.lease.instance();
        let answer = instance
            .call(&self.request, job(open.filter), record.began)
            .await
            .and_then(|answer| self.flow.check(answer, &self.calls.facts().limits));
        let (outcome, answer) =
            self.calls
                .judge(answer, Stage::TokenFilter, &self.request, instance);
        record.waited = instance.waited();
        record.outcome = outcome;
        match &answer {
            Ok(Answer::Verdict(Verdict::Emit(_))) => self.open = Some(open),
            // The guest's filter was dropped with the end of its text.
            _ if outcome.is_sound() => open.lease.ended(),
            _ => {}
        }
        answer
    }

    async fn give(&mut self, tokens: Vec<Token>) -> Result<Verdict> {
        // The contract promises the guest at least one token.
        if tokens.is_empty() {
            return Ok(Verdict::Emit(tokens));
        }
        self.flow.take(&tokens);
        match self.call(|filter| Job::Push(filter, tokens)).await? {
            Answer::Verdict(verdict) => Ok(verdict),
            _ => Err(no_filter()),
        }
    }

    async fn end(mut self: Box<Self>) -> Result<Vec<Token>> {
        match self.call(Job::Finish).await? {
            Answer::Tokens(tokens) => Ok(tokens),
            _ => Err(no_filter()),
        }
    }
}

impl TokenFilter for GuestFilter {
    fn push(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<Verdict>> {
        Box::pin(self.give(tokens))
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Vec<Token>>> {
        Box::pin(self.end())
    }
}

impl Flow {
    fn take(&mut self, tokens: &[Token]) {
        self.held_tokens += tokens.len() as u64;
        self.held_bytes += bytes(tokens);
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
            Some(Ok(Answer::Verdict(Verdict::Emit(tokens) | Verdict::Stop { tokens, .. }))) => {
                tokens
            }
            Some(Ok(Answer::Tokens(tokens))) => tokens,
            _ => return Ok(answer),
        };
        self.given_bytes += bytes(given);
        within(
            self.given_bytes,
            u64::from(limits.output_mb) << 20,
            (
                "the filter gave too much text",
                "output_mb",
                limits.output_mb,
            ),
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

fn bytes(tokens: &[Token]) -> u64 {
    let bytes = |token: &Token| token.text.len() as u64 + TOKEN_BYTES;
    tokens.iter().map(bytes).sum()
}

/// What a job gives is said by its kind.
fn no_filter() -> Error {
    Error::internal("a token filter gave something else than tokens")
}
