//! The time of a stage call.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Payload, Plugin, RequestContext};

use crate::ground;

/// How many calls there are, after a tenth of them to warm up, and how long from the start of one to that of the next at least.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) calls: usize,
    pub(crate) every: Duration,
}

/// The median time of a call. Between calls the runtime may do what it does between requests, such as make instances.
pub(crate) async fn median_call(
    plugin: &Arc<dyn Plugin>,
    request: &Arc<RequestContext>,
    input: &dyn Fn() -> Payload,
    pace: Pace,
) -> Duration {
    let warm_up = pace.calls / 10;
    let mut times = Vec::with_capacity(pace.calls);
    for call in 0..pace.calls + warm_up {
        let input = input();
        let started = Instant::now();
        let output = plugin.preprocess(request, input).await;
        let time = started.elapsed();
        black_box(output.expect("the guest answers"));
        if call >= warm_up {
            times.push(time);
        }
        tokio::task::yield_now().await;
        while started.elapsed() < pace.every {
            tokio::task::yield_now().await;
        }
    }
    ground::median(times)
}
