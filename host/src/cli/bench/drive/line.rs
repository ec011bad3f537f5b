//! One line to the server: a connection that is opened when it is needed, and again when it broke.

use std::sync::Arc;
use std::time::Instant;

use hyper::StatusCode;

use super::Shard;
use crate::cli::bench::connection::{Answer, Broken, Connection, Wire};
use crate::cli::bench::statistics::{Failure, Sample, Verdict};

/// What an answer that is no success says fits in so many bytes.
const KEPT: usize = 2048;

/// gRPC's code for a server that sheds load.
const UNAVAILABLE: u32 = 14;

pub(super) struct Line {
    shard: Arc<Shard>,
    connection: Option<Connection>,
}

impl Line {
    /// Makes a line that has no connection yet.
    pub(super) fn new(shard: &Arc<Shard>) -> Self {
        Self {
            shard: Arc::clone(shard),
            connection: None,
        }
    }

    /// Opens the connection ahead of the first request. Where that fails, the request finds out.
    pub(super) async fn connect(&mut self) {
        let load = &self.shard.load;
        let opened = Connection::open(load.address, load.call.wire());
        let opened = tokio::time::timeout_at(self.shard.window.last.into(), opened).await;
        self.connection = opened.ok().and_then(Result::ok);
    }

    /// Sends the request once and waits for its end. The latency counts from `from`.
    pub(super) async fn call(&mut self, from: Instant) -> Sample {
        let window = &self.shard.window;
        let deadline = (Instant::now() + self.shard.load.timeout).min(window.last);
        let (verdict, received) = tokio::time::timeout_at(deadline.into(), self.attempt())
            .await
            .unwrap_or_else(|_| {
                let timeout = self.shard.load.timeout;
                let message = format!("no answer within {timeout:?}");
                (Verdict::Failed(Failure::Timeout, message), 0)
            });
        Sample {
            from,
            done: Instant::now(),
            received,
            verdict,
        }
    }

    /// The verdict, and the bytes of the answer.
    async fn attempt(&mut self) -> (Verdict, u64) {
        let load = &self.shard.load;
        let wire = load.call.wire();
        let mut unsent = false;
        loop {
            // Taken out, so that a request that is given up leaves no half-read connection behind.
            let mut connection = match self.connection.take() {
                Some(connection) if !connection.is_closed() => connection,
                _ => match Connection::open(load.address, wire).await {
                    Ok(connection) => connection,
                    Err(message) => return (Verdict::Failed(Failure::Connect, message), 0),
                },
            };
            match connection.exchange(load.call.request(), of_refusals).await {
                Ok(answer) => {
                    self.connection = Some(connection);
                    let received = answer.length;
                    return (verdict(wire, answer), received);
                }
                // The server closed an idle connection: nothing was sent, so nothing is told of it.
                Err(Broken::Unsent) if !unsent => unsent = true,
                Err(Broken::Unsent) => {
                    let message = "the server closes connections at once".to_owned();
                    return (Verdict::Failed(Failure::Broken, message), 0);
                }
                Err(Broken::Lost(message)) => {
                    return (Verdict::Failed(Failure::Broken, message), 0);
                }
            }
        }
    }
}

fn of_refusals(status: StatusCode) -> usize {
    if status.is_success() { 0 } else { KEPT }
}

fn verdict(wire: Wire, answer: Answer) -> Verdict {
    let status = answer.status;
    match (wire, answer.grpc) {
        (Wire::Http1, _) | (Wire::Http2, None) if !status.is_success() => {
            let message = message(&answer.kept);
            if status == StatusCode::SERVICE_UNAVAILABLE {
                Verdict::Refused(message)
            } else {
                Verdict::Failed(Failure::Status(status.as_u16()), message)
            }
        }
        (Wire::Http1, _) | (Wire::Http2, Some((0, _))) => Verdict::Succeeded,
        (Wire::Http2, Some((UNAVAILABLE, message))) => Verdict::Refused(message),
        (Wire::Http2, Some((code, message))) => Verdict::Failed(Failure::Grpc(code), message),
        (Wire::Http2, None) => {
            let message = "the answer has no grpc-status".to_owned();
            Verdict::Failed(Failure::Broken, message)
        }
    }
}

/// What a refusal says: the member `error` of the protocol's documents, or the body as it is.
pub(in crate::cli::bench) fn message(body: &[u8]) -> String {
    let document: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = document
        .as_ref()
        .and_then(|document| document["error"].as_str());
    match error {
        Some(error) => error.to_owned(),
        None => String::from_utf8_lossy(body).trim().to_owned(),
    }
}
