//! What the task of the site is asked for, and how long whoever asks waits for its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use wharf_core::{Name, Result};

use crate::bundle::BundleOrder;
use crate::lifecycle::{Author, ModelChange, SiteChange};
use crate::serving::ending;
use crate::status::ReloadReport;

/// What the task of the site is asked for, and where the answer goes.
pub(crate) enum Ask {
    /// To look at everything.
    Reload(oneshot::Sender<ReloadReport>),
    /// To load a model, after a change or as it is.
    Load(Name, ModelChange, Reply),
    /// To take a model out of force.
    Unload(Name, Author, Reply),
    /// To change a file of the site.
    Change(SiteChange, Reply),
    /// To do something with a bundle.
    Bundle(Name, BundleOrder, Reply),
}

/// Where the answer to an ask goes.
pub(crate) struct Reply {
    sender: oneshot::Sender<Result<()>>,
    is_settled: Arc<AtomicBool>,
}

/// What whoever asked waits for: until the ask is begun for a time, and from then on to its end.
pub(crate) struct Answer {
    receiver: oneshot::Receiver<Result<()>>,
    is_settled: Arc<AtomicBool>,
}

impl Reply {
    pub(crate) fn new() -> (Self, Answer) {
        let (sender, receiver) = oneshot::channel();
        let is_settled = Arc::<AtomicBool>::default();
        let reply = Self {
            sender,
            is_settled: Arc::clone(&is_settled),
        };
        (
            reply,
            Answer {
                receiver,
                is_settled,
            },
        )
    }

    /// Whether what is asked for is to be done: not where nobody waits for it any more.
    pub(super) fn begin(&self) -> bool {
        !self.sender.is_closed() && !self.is_settled.swap(true, Ordering::Relaxed)
    }

    pub(super) fn send(self, answer: Result<()>) {
        // Whoever asked may have left.
        let _ = self.sender.send(answer);
    }
}

impl Answer {
    /// The answer; none where the ask is not begun within a time, and then it never is.
    pub(crate) async fn within(mut self, patience: Duration) -> Option<Result<()>> {
        let answered = match timeout(patience, &mut self.receiver).await {
            Ok(answered) => answered,
            // Whichever comes first of this and the beginning settles it.
            Err(_) if !self.is_settled.swap(true, Ordering::Relaxed) => return None,
            Err(_) => self.receiver.await,
        };
        Some(answered.unwrap_or_else(|_dropped| Err(ending())))
    }
}
