//! What is sent to Redis without anybody waiting for it: places and tokens that are given back.

use std::sync::Arc;

use redis::Pipeline;
use tokio::sync::mpsc;

use super::super::metrics::Metrics;
use super::script;

/// The errands that may wait. Those beyond are dropped: a place is free when its lease ends, tokens count as used.
const MOST: usize = 16_384;

pub(super) enum Errand {
    /// Takes a lease out of its sets.
    Release { name: Arc<str>, sets: Arc<[String]> },
    /// Changes debts by so many nanoseconds each.
    Settle {
        keys: Vec<String>,
        differences: Vec<i64>,
    },
}

impl Errand {
    pub(super) fn add_to(&self, pipeline: &mut Pipeline) {
        match self {
            Self::Release { name, sets } => {
                for set in sets.iter() {
                    pipeline.cmd("ZREM").arg(set).arg(&**name).ignore();
                }
            }
            Self::Settle { keys, differences } => {
                script::settle(pipeline, keys, differences, script::OWN_TIME);
            }
        }
    }
}

/// Where errands are handed in.
#[derive(Clone)]
pub(super) struct Errands {
    sender: mpsc::Sender<Errand>,
    metrics: Metrics,
}

impl Errands {
    pub(super) fn new(metrics: Metrics) -> (Self, mpsc::Receiver<Errand>) {
        let (sender, receiver) = mpsc::channel(MOST);
        (Self { sender, metrics }, receiver)
    }

    pub(super) fn send(&self, errand: Errand) {
        if self.sender.try_send(errand).is_err() {
            self.metrics.errand_dropped();
        }
    }
}
