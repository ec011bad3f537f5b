//! A call while it lasts: what it belongs to, and what it is counted in.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use wharf_core::{Error, ErrorKind};

use super::method::Method;
use super::refusal::Refusal;
use crate::app::App;
use crate::connection::Watch;
use crate::problem::status;

/// A connection that calls come over.
pub(crate) struct Connected {
    pub(crate) app: Arc<App>,
    pub(crate) watch: Arc<Watch>,
    /// Told when the server stops: streams end then, that would go on for ever.
    pub(crate) drain: CancellationToken,
}

/// A call while it lasts. What it comes to is recorded when it goes, however that happens.
pub(super) struct Call {
    pub(super) connected: Arc<Connected>,
    pub(super) id: Arc<str>,
    pub(super) started: Instant,
    /// None for what no service has.
    pub(super) method: Option<Method>,
    /// The client's own, where it has one.
    pub(super) timeout: Option<Duration>,
    code: u8,
}

impl Call {
    pub(super) fn begin(connected: Arc<Connected>, id: Arc<str>, method: Option<Method>) -> Self {
        connected.watch.enter();
        connected.app.metrics.enter();
        Self {
            connected,
            id,
            started: Instant::now(),
            method,
            timeout: None,
            // What a call comes to whose client leaves.
            code: status(ErrorKind::Cancelled).grpc,
        }
    }

    pub(super) fn ended(&mut self, code: u8) {
        self.code = code;
    }

    pub(super) fn app(&self) -> &App {
        &self.connected.app
    }

    /// What is left of the client's own time.
    pub(super) fn remaining(&self) -> Option<Duration> {
        let timeout = self.timeout?;
        Some(timeout.saturating_sub(self.started.elapsed()))
    }

    /// Works within the client's own time. The work is pinned where it is: a future that takes another one has it twice.
    pub(super) async fn within<T>(
        &self,
        mut work: Pin<&mut impl Future<Output = Result<T, Refusal>>>,
    ) -> Result<T, Refusal> {
        let Some(remaining) = self.remaining() else {
            return work.await;
        };
        // Most is done at once, and needs no timer.
        if !remaining.is_zero()
            && let std::task::Poll::Ready(result) = futures_util::poll!(work.as_mut())
        {
            return result;
        }
        tokio::time::timeout(remaining, work)
            .await
            .unwrap_or_else(|_| Err(past_deadline()))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let app = &self.connected.app;
        app.metrics.leave();
        app.metrics
            .call(self.method, self.code, self.started.elapsed());
        self.connected.watch.leave();
    }
}

pub(super) fn past_deadline() -> Refusal {
    let message = "the deadline passed before the answer was ready";
    Error::new(ErrorKind::Deadline, message).into()
}
