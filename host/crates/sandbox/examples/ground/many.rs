//! Medians of many.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crate::ground;

/// The median time of some calls, after a tenth of them to warm up.
pub(crate) fn median_of<T>(calls: usize, mut call: impl FnMut() -> T) -> Duration {
    for _ in 0..calls / 10 {
        black_box(call());
    }
    let times = (0..calls)
        .map(|_| {
            let started = Instant::now();
            let result = call();
            let time = started.elapsed();
            black_box(result);
            time
        })
        .collect();
    ground::median(times)
}
