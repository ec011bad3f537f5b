//! Medians of calls.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use wharf_core::{Payload, Plugin};

use crate::cli::plugin::case::Case;
use crate::cli::plugin::harness::Work;

/// The fewest calls that a median is taken of, however long they take.
const FEWEST: usize = 10;
/// The most calls that are kept.
const MOST: usize = 200_000;

/// The time between calls with instances made ahead: longer than one takes to be made.
const APART: Duration = Duration::from_micros(200);

/// How fast calls come.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Pace {
    /// One after another.
    BackToBack,
    /// With time between them to make the next instance.
    Ready,
}

/// The median time of a call. The first tenth is not counted.
///
/// # Errors
/// Where a call is refused.
pub(super) async fn median(
    plugin: &Arc<dyn Plugin>,
    case: &Case,
    work: &Work,
    (time, pace): (Duration, Pace),
) -> Result<Duration> {
    let mut times = Vec::new();
    let began = Instant::now();
    while (began.elapsed() < time || times.len() < FEWEST) && times.len() < MOST {
        // A request of its own for each call: a deadline must not pass because there were many before.
        let request = case.context()?;
        let work = work.clone();
        let started = Instant::now();
        let outcome = work.call(plugin, &request).await;
        let took = started.elapsed();
        black_box(outcome.map_err(anyhow::Error::new)?);
        times.push(took);
        // What the runtime does between requests, such as make instances, it may do here.
        tokio::task::yield_now().await;
        while pace == Pace::Ready && started.elapsed() < APART {
            tokio::task::yield_now().await;
        }
    }
    let warm = times.len() / 10;
    Ok(middle(times.split_off(warm)))
}

/// The median time to copy the payload once into fresh memory; a router gets none.
pub(super) fn copy(work: &Work) -> Duration {
    let copied = || -> Vec<Vec<u8>> {
        match work {
            Work::Preprocess(payload) | Work::Postprocess(payload) => match payload {
                Payload::Body(body) => vec![body.data.to_vec()],
                Payload::Tensors(tensors) => {
                    let copies = tensors.iter().map(|tensor| tensor.data().to_vec());
                    copies.collect()
                }
            },
            Work::TokenFilter(pushes) => {
                let tokens = pushes.iter().flatten();
                tokens.map(|token| token.text.clone().into()).collect()
            }
            Work::ChunkFilter(_, chunks) => chunks.iter().map(|chunk| chunk.to_vec()).collect(),
            Work::Router(_) => Vec::new(),
        }
    };
    let times = (0..200).map(|_| {
        let began = Instant::now();
        let copies = black_box(copied());
        let took = began.elapsed();
        drop(copies);
        took
    });
    middle(times.collect())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_is_a_median() {
        let times = [9, 1, 5].map(Duration::from_micros);
        assert_eq!(middle(times.to_vec()), Duration::from_micros(5));
        assert_eq!(middle(Vec::new()), Duration::ZERO);
    }
}
