//! The closed loop: each connection sends a request when the one before it is answered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Shard;
use super::line::Line;
use crate::cli::bench::statistics::{Failure, Verdict};

/// How long a line rests when it gets no connection: a loop without an answer would only burn the processor.
const REST: Duration = Duration::from_millis(50);

/// Keeps every line busy until the end; gives how many there were.
pub(super) async fn run(shard: &Arc<Shard>, stop: &CancellationToken) -> u32 {
    let mut lines = JoinSet::new();
    for _ in 0..shard.load.connections {
        lines.spawn(keep_busy(Arc::clone(shard)));
    }
    tokio::select! {
        () = stop.cancelled() => {}
        () = async { while lines.join_next().await.is_some() {} } => {}
    }
    shard.load.connections
}

async fn keep_busy(shard: Arc<Shard>) {
    let mut line = Line::new(&shard);
    loop {
        let now = Instant::now();
        if now >= shard.window.end {
            break;
        }
        let sample = line.call(now).await;
        let unconnected = matches!(sample.verdict, Verdict::Failed(Failure::Connect, _));
        shard.record(sample);
        if unconnected {
            tokio::time::sleep(REST).await;
        }
    }
}
