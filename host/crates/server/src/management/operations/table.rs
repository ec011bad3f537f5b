//! The operations that are known, and the tasks that do them.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;
use wharf_core::{Error, ErrorKind, Name, Result};
use wharf_serving::Progress;

use super::document::OperationDocument;
use crate::problem::Problem;

/// How many operations are known at one time, how many of them may run, and how long one is known after it ended.
const KEPT: usize = 256;
const RUNNING: usize = 32;
const AGE: Duration = Duration::from_secs(3600);

/// The operations of a listener.
pub(crate) struct Operations {
    /// Said before the number in every id: another process, or this one started anew, has another, and nobody takes its operations for these.
    process: u64,
    next: AtomicU64,
    known: Mutex<BTreeMap<u64, Arc<Operation>>>,
    tasks: TaskTracker,
}

/// What an operation does, and for which request.
pub(super) struct Work {
    pub(super) kind: &'static str,
    pub(super) model: Name,
    /// Whose client asked for it; none where they belong to no tenant.
    pub(super) tenant: Option<Arc<str>>,
    pub(super) request: Arc<str>,
}

/// A piece of work that goes on after its request was answered.
pub(crate) struct Operation {
    process: u64,
    number: u64,
    work: Work,
    state: watch::Sender<State>,
}

enum State {
    Running(f64),
    Ended(Instant, Result<Value, Value>),
}

impl Default for Operations {
    fn default() -> Self {
        Self {
            // Seeded by the system for each process.
            process: RandomState::new().build_hasher().finish(),
            next: AtomicU64::new(0),
            known: Mutex::default(),
            tasks: TaskTracker::default(),
        }
    }
}

impl Operations {
    /// Begins an operation.
    ///
    /// # Errors
    /// `Unavailable` where too many run.
    pub(super) fn begin<W, F>(&self, what: Work, work: W) -> Result<Arc<Operation>>
    where
        W: FnOnce(Progress) -> F + Send + 'static,
        F: Future<Output = Result<Value>> + Send + 'static,
    {
        let operation = {
            let mut known = self.known.lock();
            make_room(&mut known)?;
            // They are listed by it, and are not meant to be guarded by it.
            let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
            let operation = Arc::new(Operation {
                process: self.process,
                number,
                work: what,
                state: watch::Sender::new(State::Running(0.0)),
            });
            known.insert(number, Arc::clone(&operation));
            operation
        };
        let doing = Arc::clone(&operation);
        self.run(async move {
            let told = Arc::clone(&doing);
            let progress: Progress = Arc::new(move |progress| {
                told.state.send_replace(State::Running(progress));
            });
            let done = std::panic::AssertUnwindSafe(async { work(progress).await });
            let done = done.catch_unwind().await;
            let done = done.unwrap_or_else(|_| Err(Error::internal("an operation panicked")));
            doing.end(done);
        });
        Ok(operation)
    }

    /// Does what goes on though nobody waits for it. The end of the server waits.
    pub(in crate::management) fn run<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(work)
    }

    pub(super) fn get(&self, id: &Name) -> Option<Arc<Operation>> {
        let (_, number) = id.as_str().rsplit_once('-')?;
        let found = self.known.lock().get(&number.parse().ok()?).cloned();
        found.filter(|operation| operation.id() == id.as_str())
    }

    /// Every operation that is known, the latest first.
    pub(super) fn all(&self) -> Vec<Arc<Operation>> {
        let mut known = self.known.lock();
        forget_old(&mut known);
        known.values().rev().cloned().collect()
    }

    /// Waits for what runs, up to a time. A load cannot be interrupted; what it has not committed by the end is undone at the next start.
    pub(crate) async fn end(&self, patience: Duration) {
        self.tasks.close();
        if tokio::time::timeout(patience, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                operations = self.tasks.len(),
                "operations still run at shutdown; they are left behind"
            );
        }
    }
}

impl Operation {
    /// The model that it changes.
    pub(super) fn model(&self) -> &Name {
        &self.work.model
    }

    pub(super) fn tenant(&self) -> Option<&Arc<str>> {
        self.work.tenant.as_ref()
    }

    /// Where it is asked for.
    pub(crate) fn path(&self) -> String {
        format!("/v1/operations/{}", self.id())
    }

    fn id(&self) -> String {
        format!("{:016x}-{}", self.process, self.number)
    }

    /// Waits until it ended, up to a time.
    pub(super) async fn ended(&self, patience: Duration) {
        let mut state = self.state.subscribe();
        let ended = state.wait_for(|state| matches!(state, State::Ended(..)));
        // The sender is this operation's own; and it shows in the state whether the time was enough.
        let _in_time = tokio::time::timeout(patience, ended).await.is_ok();
    }

    pub(super) fn document(&self) -> OperationDocument {
        let state = self.state.borrow();
        let (name, progress, outcome) = match &*state {
            State::Running(progress) => ("running", *progress, None),
            State::Ended(_, Ok(result)) => ("succeeded", 1.0, Some(Ok(result.clone()))),
            State::Ended(_, Err(problem)) => ("failed", 1.0, Some(Err(problem.clone()))),
        };
        let (result, error) = match outcome {
            Some(Ok(result)) => (Some(result), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        OperationDocument {
            id: self.id(),
            kind: self.work.kind,
            model: self.work.model.to_string(),
            state: name,
            progress,
            result,
            error,
        }
    }

    fn end(&self, outcome: Result<Value>) {
        let outcome = outcome.map_err(|error| {
            let problem = Problem::from(error).respond(&self.work.request);
            serde_json::from_slice(problem.body()).unwrap_or_default()
        });
        self.state
            .send_replace(State::Ended(Instant::now(), outcome));
    }

    fn ended_at(&self) -> Option<Instant> {
        match *self.state.borrow() {
            State::Running(_) => None,
            State::Ended(at, _) => Some(at),
        }
    }
}

fn forget_old(known: &mut BTreeMap<u64, Arc<Operation>>) {
    known.retain(|_, operation| operation.ended_at().is_none_or(|at| at.elapsed() < AGE));
}

fn make_room(known: &mut BTreeMap<u64, Arc<Operation>>) -> Result<()> {
    forget_old(known);
    let running = known
        .values()
        .filter(|operation| operation.ended_at().is_none());
    if running.count() >= RUNNING {
        let message = "too many operations run; try again when some have ended";
        return Err(Error::new(ErrorKind::Unavailable, message));
    }
    while known.len() >= KEPT {
        let ended = known
            .values()
            .find(|operation| operation.ended_at().is_some());
        let Some(number) = ended.map(|operation| operation.number) else {
            break;
        };
        known.remove(&number);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn work() -> Work {
        Work {
            kind: "load",
            model: Name::new("m").unwrap(),
            tenant: None,
            request: "r".into(),
        }
    }

    #[tokio::test]
    async fn what_came_of_an_operation_is_told() {
        let operations = Operations::default();
        let good = operations.begin(work(), |progress| async move {
            progress(0.5);
            Ok(json!({"version": 1}))
        });
        let good = good.unwrap();
        good.ended(AGE).await;
        let document = good.document();
        assert_eq!(
            (document.state, document.result),
            ("succeeded", Some(json!({"version": 1})))
        );
        let bad = operations.begin(work(), |_| async {
            Err(Error::invalid("model", "is wrong"))
        });
        let bad = bad.unwrap();
        bad.ended(AGE).await;
        let error = bad.document().error.unwrap();
        assert_eq!(
            (&error["status"], &error["field"]),
            (&json!(400), &json!("model"))
        );
        assert_eq!(error["request_id"], "r");
        let ids: Vec<u64> = operations
            .all()
            .iter()
            .map(|operation| operation.number)
            .collect();
        assert_eq!(ids, [2, 1]);
        let id = Name::new(&good.id()).unwrap();
        assert!(Arc::ptr_eq(&operations.get(&id).unwrap(), &good));
        // One of the same number, of another process.
        let id = Name::new(
            &Operations::default()
                .begin(work(), |_| async { Ok(json!(1)) })
                .unwrap()
                .id(),
        );
        assert!(operations.get(&id.unwrap()).is_none());
    }

    #[tokio::test]
    async fn a_panic_is_an_end() {
        let operations = Operations::default();
        let broken = operations.begin(work(), |_| async { panic!("by test") });
        let broken = broken.unwrap();
        broken.ended(AGE).await;
        assert_eq!(broken.document().error.unwrap()["status"], 500);
        operations.end(AGE).await;
    }

    #[tokio::test]
    async fn only_so_many_run() {
        let operations = Operations::default();
        for _ in 0..RUNNING {
            operations
                .begin(work(), |_| std::future::pending())
                .unwrap();
        }
        let refused = operations
            .begin(work(), |_| std::future::pending())
            .err()
            .unwrap();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
    }
}
