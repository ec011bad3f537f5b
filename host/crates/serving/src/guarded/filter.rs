//! Filters through the breaker of their plugin.
//!
//! A text or a body is one call to the breaker, however often its filter is called: a plugin that opens every text and fails at
//! its first token fails at every text. So it is refused at its begin, where the plugin is not called for a while, and never in
//! the middle. One that is left says nothing, as a call that is left does not.

use std::mem;
use std::sync::Arc;

use bytes::Bytes;
use wharf_core::{BoxFuture, Error, Filter, Portion, RequestContext, Result, Token, Verdict};

use super::Guarded;
use crate::breaker::{Fate, Permit};

/// A filter that is called through its plugin's guard.
struct GuardedFilter<P> {
    filter: Box<dyn Filter<P>>,
    passage: Passage,
}

/// A text or a body. Its end is noted when it is dropped, also where the request leaves.
struct Passage {
    guarded: Arc<Guarded>,
    request: Arc<RequestContext>,
    permit: Permit,
    fate: Option<Fate>,
}

impl Guarded {
    /// Begins the filter of a text.
    pub(crate) async fn filter_tokens(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
    ) -> Result<Box<dyn Filter<Vec<Token>>>> {
        let passage = self.begin_passage(request)?;
        passage.open(self.plugin.filter_tokens(request)).await
    }

    /// Begins the filter of a body.
    pub(crate) async fn filter_chunks(
        self: &Arc<Self>,
        request: &Arc<RequestContext>,
        media_type: &str,
    ) -> Result<Box<dyn Filter<Bytes>>> {
        let passage = self.begin_passage(request)?;
        let opened = self.plugin.filter_chunks(request, media_type);
        passage.open(opened).await
    }

    fn begin_passage(self: &Arc<Self>, request: &Arc<RequestContext>) -> Result<Passage> {
        Ok(Passage {
            permit: self.permit(request)?,
            guarded: Arc::clone(self),
            request: Arc::clone(request),
            fate: None,
        })
    }
}

impl Passage {
    async fn open<P: Portion>(
        mut self,
        opened: BoxFuture<'_, Result<Box<dyn Filter<P>>>>,
    ) -> Result<Box<dyn Filter<P>>> {
        match opened.await {
            Ok(filter) => Ok(Box::new(GuardedFilter {
                filter,
                passage: self,
            })),
            Err(error) => {
                self.failed(&error);
                Err(error)
            }
        }
    }

    /// It works. Where it was the call that is tried after a pause, it is no longer waited for: a text may last for minutes.
    fn proved(&mut self) {
        if mem::replace(&mut self.permit, Permit::Call) == Permit::Probe {
            let (request, probe) = (&self.request, &Permit::Probe);
            self.guarded.ended(request, probe, Fate::Ended);
        }
    }

    fn ended(&mut self) {
        self.fate.get_or_insert(Fate::Ended);
    }

    /// The first failure is the one that counts: after it a filter gives nothing more.
    fn failed(&mut self, error: &Error) {
        let fate = self.guarded.fate(Some(error));
        self.fate.get_or_insert(fate);
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let (guarded, request) = (&self.guarded, &self.request);
        let fate = self.fate.unwrap_or_else(|| guarded.fate_of_left(request));
        guarded.ended(request, &self.permit, fate);
    }
}

impl<P: Portion> Filter<P> for GuardedFilter<P> {
    fn push(&mut self, portion: P) -> BoxFuture<'_, Result<Verdict<P>>> {
        Box::pin(async {
            let verdict = self.filter.push(portion).await;
            match &verdict {
                Ok(Verdict::Emit(_)) => self.passage.proved(),
                Ok(Verdict::Stop { .. }) => self.passage.ended(),
                Err(error) => self.passage.failed(error),
            }
            verdict
        })
    }

    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<P>> {
        let Self {
            filter,
            mut passage,
        } = *self;
        Box::pin(async move {
            let last = filter.finish().await;
            match &last {
                Ok(_) => passage.ended(),
                Err(error) => passage.failed(error),
            }
            last
        })
    }
}
