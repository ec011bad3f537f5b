//! Requests that plugins mirror: a task each, which nobody waits for.
//!
//! A mirrored request is worth less than any other. Its number is bounded, one more is refused at once, and the end of serving ends those
//! that are under way.

use std::any::Any;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::task::{JoinError, JoinSet};
use wharf_core::{Error, ErrorKind, Payload, RequestContext, Result};

use crate::metrics::MirrorCounters;
use crate::route::Route;

/// The tasks of mirrored requests.
pub(crate) struct Mirrors {
    /// None once serving has ended.
    tasks: Mutex<Option<JoinSet<()>>>,
}

/// What a route was taken from, a snapshot or a release. It keeps all that the route leads to.
pub(crate) type Origin = Arc<dyn Any + Send + Sync>;

/// A request that is mirrored, with all that its task keeps. The route is given up before its origin, so that the reaper, and
/// never a request, drops the last reference to a plugin or a model.
pub(crate) struct Mirrored {
    pub(crate) route: Arc<Route>,
    pub(crate) origin: Origin,
    pub(crate) request: Arc<RequestContext>,
    pub(crate) input: Payload,
}

impl Default for Mirrors {
    fn default() -> Self {
        Self {
            tasks: Mutex::new(Some(JoinSet::new())),
        }
    }
}

impl Mirrors {
    /// Begins a mirrored request, where fewer than so many are under way.
    ///
    /// # Errors
    /// `Unavailable` where they are not.
    pub(crate) fn begin(
        &self,
        most: u32,
        counters: Arc<MirrorCounters>,
        work: impl Future<Output = Result<()>> + Send + 'static,
    ) -> Result<()> {
        let unavailable = |message: &'static str| Error::new(ErrorKind::Unavailable, message);
        let mut tasks = self.tasks.lock();
        let tasks = tasks
            .as_mut()
            .ok_or_else(|| unavailable("the server is shutting down"))?;
        while let Some(ended) = tasks.try_join_next() {
            report(ended);
        }
        if tasks.len() >= most as usize {
            counters.full();
            return Err(full());
        }
        // Counted also where the task is ended before it begins.
        let ending = counters.begin();
        tasks.spawn(async move {
            let ended = work.await;
            ending.end(ended.err().map(|error| error.kind()));
        });
        Ok(())
    }

    /// Ends those that are under way, and takes no more.
    pub(crate) async fn stop(&self) {
        let Some(mut tasks) = self.tasks.lock().take() else {
            return;
        };
        tasks.abort_all();
        while let Some(ended) = tasks.join_next().await {
            report(ended);
        }
    }
}

impl Mirrored {
    /// Takes the request through its route.
    pub(crate) async fn run(self) -> Result<()> {
        let Self {
            origin: _origin,
            route,
            request,
            input,
        } = self;
        let outcome = route.run(&request, input).await;
        outcome.map(drop).inspect_err(|error| {
            let (request_id, endpoint) = (&request.id, route.name());
            match error.kind() {
                ErrorKind::Internal => {
                    tracing::error!(%request_id, %endpoint, ?error, "a mirrored request failed");
                }
                _ => tracing::debug!(%request_id, %endpoint, %error, "a mirrored request failed"),
            }
        })
    }
}

/// What a plugin gets whose request is not mirrored.
pub(crate) fn full() -> Error {
    let message = "many requests are under way already; this one is not mirrored";
    Error::new(ErrorKind::Unavailable, message)
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a mirrored request panicked");
    }
}
