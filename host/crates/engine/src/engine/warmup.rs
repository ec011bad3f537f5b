//! The trial runs of a new version, on every instance, before any request.

pub(super) mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{LoadError, Tensor, TensorSpec};

use crate::batching::Watchdog;
use crate::ort::{RunError, Session};
use crate::site::Source;

/// Runs of the warm-up on each instance where no samples are given: the first makes its memory, the others tell its pace.
const RUNS: u32 = 3;

/// A request of the warm-up.
struct Trial {
    inputs: Vec<Tensor>,
    runs: u32,
    /// Its key in `model.toml`; none for the one that is made where no samples are given.
    key: Option<String>,
}

/// Runs every instance. Gives the times of runs and the bytes of their inputs.
///
/// # Errors
/// Where a sample does not fit the model, or the model fails on one; the error names the key.
pub(super) fn warm_up(
    source: &Source,
    sessions: &mut [Session],
    watchdog: &Watchdog,
) -> Result<Vec<(Duration, u64)>, LoadError> {
    let trials = trials(source, &sessions[0].inputs)?;
    let warmup = &source.settings.warmup;
    if !warmup.enabled {
        return Ok(Vec::new());
    }
    // An `Instant` cannot hold every number of milliseconds.
    let limit = Duration::from_millis(warmup.timeout_ms.min(24 * 3600 * 1000));
    let mut paces = Vec::new();
    for session in sessions {
        for trial in &trials {
            let bytes = trial
                .inputs
                .iter()
                .map(|tensor| tensor.data().len() as u64)
                .sum();
            for run in 0..trial.runs {
                let started = Instant::now();
                let options = ort::session::RunOptions::new()
                    .map(Arc::new)
                    .map_err(|error| LoadError::new(source.label.clone(), error.to_string()))?;
                // A model may loop for ever, on zeros too.
                let watch = watchdog.watch(started + limit, Arc::clone(&options));
                let outcome = session.run(&trial.inputs, &options);
                drop(watch);
                outcome.map_err(|error| refuse(source, trial, &error))?;
                if run > 0 {
                    paces.push((started.elapsed(), bytes));
                }
            }
        }
    }
    Ok(paces)
}

/// Makes the requests, and checks that what the settings name is there.
fn trials(source: &Source, specs: &[TensorSpec]) -> Result<Vec<Trial>, LoadError> {
    let warmup = &source.settings.warmup;
    let wrong = |key: String, message: String| {
        LoadError::new(source.settings_label.clone(), message).with_key(key)
    };
    let unknown = |key: String| wrong(key, "the model has no such input".to_owned());
    let has = |name: &str| specs.iter().any(|spec| *spec.name == *name);
    if let Some(name) = warmup.shapes.keys().find(|name| !has(name)) {
        return Err(unknown(shape_key(name)));
    }
    let zeros = |spec: &TensorSpec| {
        let shape = warmup.shapes.get(&*spec.name).map(Vec::as_slice);
        sample::zeros(spec, shape).map_err(|message| wrong(shape_key(&spec.name), message))
    };
    if warmup.samples.is_empty() {
        let required = specs.iter().filter(|spec| !spec.optional);
        // Where it is off, shapes that would be needed need not be given.
        let inputs = if warmup.enabled {
            required.map(zeros).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        return Ok(vec![Trial {
            inputs,
            runs: RUNS,
            key: None,
        }]);
    }
    let mut trials = Vec::new();
    for (index, given) in warmup.samples.iter().enumerate() {
        let key = format!("warmup.samples[{index}]");
        let input_key = |name: &str| format!("{key}.inputs.{}", LoadError::key_part(name));
        if let Some(name) = given.inputs.keys().find(|name| !has(name)) {
            return Err(unknown(input_key(name)));
        }
        let mut inputs = Vec::new();
        for spec in specs {
            match given.inputs.get(&*spec.name) {
                Some(input) => {
                    let default = warmup.shapes.get(&*spec.name);
                    let shape = input.shape.as_ref().or(default).map(Vec::as_slice);
                    let tensor = sample::input(spec, shape, &input.data, &source.files)
                        .map_err(|why| wrong(input_key(&spec.name), why))?;
                    inputs.push(tensor);
                }
                None if spec.optional => {}
                None => inputs.push(zeros(spec)?),
            }
        }
        trials.push(Trial {
            inputs,
            runs: given.count.get(),
            key: Some(key),
        });
    }
    Ok(trials)
}

fn shape_key(name: &str) -> String {
    format!("warmup.shapes.{}", LoadError::key_part(name))
}

fn refuse(source: &Source, trial: &Trial, error: &RunError) -> LoadError {
    if matches!(error, RunError::Terminated) {
        let message = "the warm-up took too long; raise the timeout, or set enabled = false";
        return LoadError::new(source.settings_label.clone(), message)
            .with_key("warmup.timeout_ms");
    }
    match &trial.key {
        Some(key) => LoadError::new(
            source.settings_label.clone(),
            format!("the model failed on this sample: {error}; mend the sample or the model"),
        )
        .with_key(key.clone()),
        None => LoadError::new(
            source.label.clone(),
            format!(
                "the warm-up on zeros failed: {error}; give [warmup] shapes in model.toml where free dimensions cannot be \
                 1, or set enabled = false"
            ),
        ),
    }
}
