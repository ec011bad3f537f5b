//! The threads that run what waits.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use ort::session::RunOptions;
use wharf_core::{Error, ErrorKind, Inference, Result, Tensor, Timings};

use super::dispatch::Batch;
use super::join;
use super::pace::Ran;
use super::queue::Job;
use super::scheduler::{Scheduler, deadline_passed};
use crate::ort::{RunError, Session};

/// Runs batches until the scheduler closes.
pub(super) fn work(scheduler: &Scheduler) {
    while let Some(batch) = scheduler.wait_for_batch() {
        run(scheduler, batch);
    }
}

fn run(scheduler: &Scheduler, batch: Batch<'_>) {
    let Batch {
        mut instance,
        seat,
        jobs,
        run,
    } = batch;
    let started = Instant::now();
    for job in &jobs {
        scheduler.metrics.waited(queued(job, started));
    }
    let running = scheduler.running(jobs.len());
    let mut results = match jobs.as_slice() {
        [_] => Vec::new(),
        jobs => {
            run_joined(scheduler, &mut instance.session, jobs, &run.options).unwrap_or_default()
        }
    };
    // One alone, or a batch that failed: one request's data must not fail its neighbours.
    if results.len() != jobs.len() {
        results = jobs
            .iter()
            .map(|job| run_alone(scheduler, &mut instance.session, job, &run.options))
            .collect();
    }
    drop(running);
    seat.leave(started.elapsed());
    // The session first: an answer brings the next request, which should find it idle.
    scheduler.give_back(instance, jobs.len());
    for (job, result) in jobs.into_iter().zip(results) {
        // Where nobody waits any more, nobody misses it.
        let _gone = job.reply.send(result);
    }
}

fn run_joined(
    scheduler: &Scheduler,
    session: &mut Session,
    jobs: &[Job],
    options: &RunOptions,
) -> Option<Vec<Result<Inference>>> {
    let rows: Vec<u64> = jobs.iter().map(|job| job.rows.unwrap_or(1)).collect();
    let total = rows.iter().sum();
    let inputs: Vec<&[Tensor]> = jobs.iter().map(|job| job.inputs.as_slice()).collect();
    let begun = Instant::now();
    let joined = join::join(&inputs, total)?;
    let started = Instant::now();
    match session.run(&joined, options) {
        Ok(outputs) => {
            let ended = Instant::now();
            scheduler.ran(Ran {
                time: ended - started,
                requests: jobs.len(),
                rows: total,
                bytes: jobs.iter().map(|job| job.bytes).sum(),
            });
            let Some(split) = join::split(&outputs, &rows, total) else {
                scheduler.stop_joining();
                return None;
            };
            let timings = Timings {
                compute_input: started - begun,
                compute_infer: ended - started,
                compute_output: ended.elapsed(),
                ..Timings::default()
            };
            let answers = jobs.iter().zip(split).enumerate();
            Some(
                answers
                    .map(|(index, (job, outputs))| {
                        let timings = Timings {
                            queue: queued(job, begun),
                            run_rows: (index == 0).then_some(total),
                            ..timings
                        };
                        Ok(Inference { outputs, timings })
                    })
                    .collect(),
            )
        }
        Err(RunError::Terminated) => Some(jobs.iter().map(|_| Err(cancelled())).collect()),
        Err(error) => {
            tracing::debug!(%error, jobs = jobs.len(), "a batch failed; its requests run apart");
            None
        }
    }
}

fn run_alone(
    scheduler: &Scheduler,
    session: &mut Session,
    job: &Job,
    options: &RunOptions,
) -> Result<Inference> {
    if job.reply.is_closed() {
        return Err(cancelled());
    }
    let started = Instant::now();
    if job.patience.deadline <= started {
        return Err(deadline_passed());
    }
    let outputs = session.run(&job.inputs, options).map_err(explain)?;
    let time = started.elapsed();
    let rows = job
        .rows
        .unwrap_or_else(|| job.inputs.first().map_or(1, Tensor::rows));
    scheduler.ran(Ran {
        time,
        requests: 1,
        rows,
        bytes: job.bytes,
    });
    Ok(Inference {
        outputs,
        timings: Timings {
            queue: queued(job, started),
            compute_infer: time,
            run_rows: Some(rows),
            ..Timings::default()
        },
    })
}

fn queued(job: &Job, until: Instant) -> Duration {
    until.saturating_duration_since(job.enqueued)
}

fn cancelled() -> Error {
    Error::new(ErrorKind::Cancelled, "the request was cancelled")
}

/// What a failed run is to the client. The inputs fit what the model says of them, so what fails beyond is in their values,
/// or in dimensions that the model leaves free and yet needs; ONNX Runtime's own words go to the log.
pub(super) fn explain(error: RunError) -> Error {
    match error {
        RunError::Terminated => cancelled(),
        RunError::Panicked => Error::internal(error),
        RunError::Value(_) => Error::internal(error),
        RunError::Failed(ref cause) => {
            let text = cause.to_string();
            if text.contains("CUDA") || text.contains("CUDNN") || text.contains("CUBLAS") {
                Error::internal(error)
            } else if text.contains("Failed to allocate") || text.contains("bad_alloc") {
                Error::new(
                    ErrorKind::Unavailable,
                    "there is no memory for this request now; send fewer rows",
                )
                .with_source(error)
            } else {
                Error::new(
                    ErrorKind::Unprocessable,
                    "the model cannot work on these inputs; check their values and the dimensions that it leaves free",
                )
                .with_source(error)
            }
        }
    }
}

/// Whether requests are still joined; turned off where a model's outputs turn out not to have the rows of its inputs.
pub(super) struct Joining(AtomicBool);

impl Joining {
    pub(super) fn new(on: bool) -> Self {
        Self(AtomicBool::new(on))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.load(Relaxed)
    }

    /// Turns it off, and says whether it was on.
    pub(super) fn turn_off(&self) -> bool {
        self.0.swap(false, Relaxed)
    }
}
