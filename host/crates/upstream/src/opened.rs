//! An upstream that is open: what its model is, asked at first and from then on from time to time.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use wharf_core::{Changed, Digest, Error, LoadError, Model, Upstream};

use crate::health::doubled;
use crate::model::RemoteModel;
use crate::oip::{Metadata, describe};
use crate::peer::Peer;
use crate::service::RemoteService;
use crate::settings::{Protocol, file_of};

/// The longest that a peer may take to say what its model is.
const PATIENCE: Duration = Duration::from_secs(3);

/// The wait before a peer that did not answer is asked again; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The least time between two questions, so that a storm of answers that do not fit is no storm of questions.
const LEAST_WAIT: Duration = Duration::from_millis(250);

/// An upstream that is open.
pub(crate) struct Opened {
    shared: Arc<Shared>,
    /// Asks; none where there is nothing to ask. Ended with this.
    task: Option<JoinHandle<()>>,
    asked: watch::Receiver<bool>,
}

struct Shared {
    peer: Arc<Peer>,
    digest: Digest,
    state: Mutex<State>,
    changed: Changed,
    /// Told of an answer that the metadata does not fit.
    doubt: Arc<Notify>,
}

#[derive(Default)]
struct State {
    model: Option<Arc<dyn Model>>,
    metadata: Option<Metadata>,
    problem: Option<Arc<LoadError>>,
}

impl Opened {
    /// Opens an upstream. Must be called within a runtime.
    pub(crate) fn new(peer: Arc<Peer>, digest: Digest, changed: Changed) -> Self {
        let shared = Arc::new(Shared {
            digest,
            changed,
            state: Mutex::default(),
            doubt: Arc::default(),
            peer,
        });
        let (sender, asked) = watch::channel(false);
        if shared.peer.settings.protocol == Protocol::Http {
            let service = RemoteService::new(Arc::clone(&shared.peer), digest);
            shared.state.lock().model = Some(Arc::new(service));
            sender.send_replace(true);
            return Self {
                shared,
                task: None,
                asked,
            };
        }
        let task = tokio::spawn(Arc::clone(&shared).follow(sender));
        Self {
            shared,
            task: Some(task),
            asked,
        }
    }

    /// Waits until the peer was asked for the first time.
    pub(crate) async fn asked(&self) {
        // It fails where the task ended: then nothing comes of waiting.
        let _ = self.asked.clone().wait_for(|asked| *asked).await;
    }
}

impl Shared {
    /// Asks the peer what its model is, for as long as the upstream is open.
    async fn follow(self: Arc<Self>, asked: watch::Sender<bool>) {
        let mut failures = 0;
        loop {
            let patience = PATIENCE.min(self.peer.settings.timeout);
            let described = describe(&self.peer, Instant::now() + patience).await;
            failures = if described.is_ok() { 0 } else { failures + 1 };
            let is_new = match described {
                Ok(metadata) => self.learnt(metadata),
                Err(error) => self.failed(&error),
            };
            // Whoever waits for the first time looks by itself.
            let waited_for = !asked.send_replace(true);
            if is_new && !waited_for {
                (self.changed)();
            }
            let wait = match failures {
                0 => self.peer.settings.refresh,
                failures => doubled(FIRST_WAIT, failures - 1, LONGEST_WAIT),
            };
            tokio::time::sleep(LEAST_WAIT.min(wait)).await;
            tokio::select! {
                () = self.doubt.notified() => {}
                () = tokio::time::sleep(wait.saturating_sub(LEAST_WAIT)) => {}
            }
        }
    }

    /// Takes what the peer says; whether it is something new.
    fn learnt(&self, metadata: Metadata) -> bool {
        let mut state = self.state.lock();
        let had_problem = state.problem.take().is_some();
        if state.metadata.as_ref() == Some(&metadata) {
            return had_problem;
        }
        let (peer, doubt) = (Arc::clone(&self.peer), Arc::clone(&self.doubt));
        let model = RemoteModel::new(peer, self.digest, &metadata, doubt);
        state.model = Some(Arc::new(model));
        state.metadata = Some(metadata);
        true
    }

    /// Notes why the peer does not say anything; whether that is something new.
    fn failed(&self, error: &Error) -> bool {
        let mut message = error.message().to_owned();
        let mut cause = error.source();
        while let Some(error) = cause {
            // Writing to a String cannot fail.
            let _ = write!(message, ": {error}");
            cause = error.source();
        }
        let mut state = self.state.lock();
        let stays = if state.model.is_some() {
            "; what it had stays in force"
        } else {
            ""
        };
        let message = format!("it does not say what its model is: {message}{stays}");
        if state
            .problem
            .as_ref()
            .is_some_and(|problem| problem.message == message)
        {
            return false;
        }
        let problem = LoadError::new(file_of(&self.peer.settings.name), message)
            .with_key("endpoints")
            .with_text_for_clients("the upstream does not answer");
        state.problem = Some(Arc::new(problem));
        true
    }
}

impl Upstream for Opened {
    fn model(&self) -> Option<Arc<dyn Model>> {
        self.shared.state.lock().model.clone()
    }

    fn problem(&self) -> Option<Arc<LoadError>> {
        self.shared.state.lock().problem.clone()
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}
