//! Clients that send the same request again and again while a test changes the server under them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hyper::header::CONTENT_TYPE;
use tokio::task::JoinSet;

use crate::{Client, Protocol, Request, Response, grpc, wait_for};

/// At most so many failures are kept word for word.
const KEPT_FAILURES: usize = 5;

/// Clients at work.
pub struct Load {
    state: Arc<State>,
    clients: JoinSet<()>,
}

struct State {
    stopping: AtomicBool,
    /// Goes up with each answer that is waited for, so that a client knows whether its latest answer is new enough.
    round: AtomicU64,
    latest: Vec<Mutex<(u64, Option<Response>)>>,
    report: Mutex<Report>,
}

/// What the clients saw.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Requests that succeeded.
    pub answered: u64,
    /// Requests that did not.
    pub failed: u64,
    /// The first failures, word for word.
    pub failures: Vec<String>,
    /// How long each request took, in no order.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Starts clients, each with a connection of its own.
    #[must_use]
    pub fn start(address: SocketAddr, clients: usize, request: &Request) -> Self {
        Self::start_over(Protocol::Http1, address, clients, request)
    }

    /// Starts clients that speak a protocol. Over HTTP/2 the requests may be gRPC calls.
    #[must_use]
    pub fn start_over(
        protocol: Protocol,
        address: SocketAddr,
        clients: usize,
        request: &Request,
    ) -> Self {
        let state = Arc::new(State {
            stopping: AtomicBool::new(false),
            round: AtomicU64::new(0),
            latest: (0..clients).map(|_| Mutex::default()).collect(),
            report: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for index in 0..clients {
            tasks.spawn(hammer(
                Client::with_protocol(address, protocol),
                request.clone(),
                Arc::clone(&state),
                index,
            ));
        }
        Self {
            state,
            clients: tasks,
        }
    }

    /// Waits until every client has had an answer, begun after this call, that `wanted` accepts.
    ///
    /// # Errors
    /// Where that does not come about, with the answers as they are.
    pub async fn wait_for_answer(&self, wanted: impl Fn(&str) -> bool) -> Result<()> {
        self.wait_for_response(|response| wanted(&response.text()))
            .await
    }

    /// Waits until every client has had a response, begun after this call, that `wanted` accepts.
    ///
    /// # Errors
    /// As [`Load::wait_for_answer`].
    pub async fn wait_for_response(&self, wanted: impl Fn(&Response) -> bool) -> Result<()> {
        let round = self.state.round.fetch_add(1, Ordering::SeqCst) + 1;
        let all_accepted = || {
            self.state.latest.iter().all(|latest| {
                let latest = lock(latest);
                latest.0 >= round && latest.1.as_ref().is_some_and(&wanted)
            })
        };
        let waited = wait_for("the new answer", async || all_accepted().then_some(())).await;
        waited.with_context(|| {
            let answers: Vec<_> = self
                .state
                .latest
                .iter()
                .map(|latest| lock(latest).1.as_ref().map(Response::text))
                .collect();
            format!(
                "the clients' latest answers are {answers:?}; failures: {:?}",
                lock(&self.state.report).failures
            )
        })
    }

    /// Ends the load, when every request that is under way has its answer.
    ///
    /// # Errors
    /// Where a client panicked.
    pub async fn stop(mut self) -> Result<Report> {
        self.state.stopping.store(true, Ordering::SeqCst);
        while let Some(ended) = self.clients.join_next().await {
            ended?;
        }
        Ok(lock(&self.state.report).clone())
    }
}

impl Report {
    /// Checks that there were requests, and that none failed.
    ///
    /// # Errors
    /// Where one did, or there were none.
    pub fn without_failure(&self) -> Result<()> {
        ensure!(self.answered > 0, "no request was answered");
        ensure!(
            self.failed == 0,
            "{} of {} requests failed: {:#?}",
            self.failed,
            self.failed + self.answered,
            self.failures
        );
        Ok(())
    }

    /// The latency that 99% of the requests did not exceed.
    #[must_use]
    pub fn p99(&self) -> Duration {
        let mut latencies = self.latencies.clone();
        latencies.sort_unstable();
        let rank = latencies.len() * 99 / 100;
        latencies.get(rank).copied().unwrap_or_default()
    }
}

async fn hammer(mut client: Client, request: Request, state: Arc<State>, index: usize) {
    while !state.stopping.load(Ordering::SeqCst) {
        let round = state.round.load(Ordering::SeqCst);
        let begun = Instant::now();
        let failure = match client.send(&request).await {
            Ok(response) => match failure_of(&response) {
                None => {
                    *lock(&state.latest[index]) = (round, Some(response));
                    None
                }
                failure => failure,
            },
            Err(error) => Some(format!("{error:#}")),
        };
        let mut report = lock(&state.report);
        report.latencies.push(begun.elapsed());
        match failure {
            None => report.answered += 1,
            Some(failure) => {
                report.failed += 1;
                if report.failures.len() < KEPT_FAILURES {
                    report.failures.push(failure);
                }
            }
        }
    }
}

fn failure_of(response: &Response) -> Option<String> {
    let is_grpc = response
        .headers
        .get(CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if response.status != 200 {
        return Some(format!("{}: {}", response.status, response.text()));
    }
    match is_grpc.then(|| grpc::status(response)) {
        None | Some(Ok((0, _))) => None,
        Some(Ok((code, message))) => Some(format!("gRPC status {code}: {message}")),
        Some(Err(error)) => Some(format!("{error:#}")),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
