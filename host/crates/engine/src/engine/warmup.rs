//! The trial runs of a new version, on every instance, before any request.

pub(super) mod sample;

use std::sync::Arc;
use std::time::{Duration, Instant};

use wharf_core::{Cancel, LoadError, Tensor, TensorSpec};

use crate::batching::{Ran, Watchdog};
use crate::ort::{RunError, Session};
use crate::site::Source;
use sample::{Input, MAX_BYTES};

/// Runs of the warm-up on each instance where no samples are given: the first makes its memory, the others tell its pace.
const RUNS: u32 = 3;

/// A request of the warm-up.
struct Trial<'a> {
    /// Each with its key in `model.toml`.
    inputs: Vec<(String, Input<'a>)>,
    runs: u32,
    /// Its key in `model.toml`; none for the one that is made where no samples are given.
    key: Option<String>,
}

/// Runs every instance. Gives the runs, but for the first of each.
///
/// # Errors
/// Where a sample does not fit the model, the model fails on one, or all of it takes too long; the error names the key. Where
/// the load is cancelled.
pub(super) fn warm_up(
    source: &Source,
    sessions: &mut [Session],
    watchdog: &Watchdog,
    cancel: &Cancel,
) -> Result<Vec<Ran>, LoadError> {
    let specs = sessions[0].inputs.clone();
    let trials = trials(source, &specs)?;
    let warmup = &source.settings.warmup;
    if !warmup.enabled {
        return Ok(Vec::new());
    }
    let until = Instant::now() + Duration::from_millis(warmup.timeout_ms);
    let mut runs = Vec::new();
    for trial in &trials {
        // What one request takes is given back before the next one is made.
        let inputs = trial.make(source)?;
        let bytes = inputs.iter().map(|tensor| tensor.data().len() as u64).sum();
        let rows = inputs.first().map_or(1, Tensor::rows);
        for session in &mut *sessions {
            for run in 0..trial.runs {
                let started = Instant::now();
                if cancel.is_cancelled() {
                    return Err(Cancel::error(source.label.clone()));
                }
                if started >= until {
                    return Err(too_long(source));
                }
                let options = ort::session::RunOptions::new()
                    .map(Arc::new)
                    .map_err(|error| LoadError::new(source.label.clone(), error.to_string()))?;
                // A model may loop for ever, on zeros too.
                let watch = watchdog.watch_load(until, cancel.clone(), Arc::clone(&options));
                let outcome = session.run(&inputs, &options);
                drop(watch);
                outcome.map_err(|error| match error {
                    RunError::Terminated if cancel.is_cancelled() => {
                        Cancel::error(source.label.clone())
                    }
                    RunError::Terminated => too_long(source),
                    error => refuse(source, trial, &error),
                })?;
                if run > 0 {
                    runs.push(Ran {
                        time: started.elapsed(),
                        requests: 1,
                        rows,
                        bytes,
                    });
                }
            }
        }
    }
    Ok(runs)
}

impl Trial<'_> {
    fn make(&self, source: &Source) -> Result<Vec<Tensor>, LoadError> {
        let inputs = self.inputs.iter();
        let make = |(key, input): &(String, Input<'_>)| {
            let made = input.make();
            made.map_err(|why| wrong(source, key.clone(), why))
        };
        inputs.map(make).collect()
    }
}

/// Prepares the requests, and checks that what the settings name is there.
fn trials<'a>(source: &Source, specs: &'a [TensorSpec]) -> Result<Vec<Trial<'a>>, LoadError> {
    let warmup = &source.settings.warmup;
    let unknown = |key: String| wrong(source, key, "the model has no such input".to_owned());
    let has = |name: &str| specs.iter().any(|spec| *spec.name == *name);
    if let Some(name) = warmup.shapes.keys().find(|name| !has(name)) {
        return Err(unknown(shape_key(name)));
    }
    let zeros = |spec: &'a TensorSpec| {
        let (key, shape) = (shape_key(&spec.name), warmup.shapes.get(&*spec.name));
        match Input::zeros(spec, shape.map(Vec::as_slice)) {
            Ok(input) => Ok((key, input)),
            Err(why) => Err(wrong(source, key, why)),
        }
    };
    if warmup.samples.is_empty() {
        let required = specs.iter().filter(|spec| !spec.optional);
        // Where it is off, shapes that would be needed need not be given.
        let inputs = if warmup.enabled {
            required.map(zeros).collect::<Result<_, _>>()?
        } else {
            Vec::new()
        };
        check_size(source, "warmup.shapes", &inputs)?;
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
                    let key = input_key(&spec.name);
                    let default = warmup.shapes.get(&*spec.name);
                    let shape = input.shape.as_ref().or(default).map(Vec::as_slice);
                    match Input::of(spec, shape, &input.data, &source.files) {
                        Ok(input) => inputs.push((key, input)),
                        Err(why) => return Err(wrong(source, key, why)),
                    }
                }
                None if spec.optional => {}
                None => inputs.push(zeros(spec)?),
            }
        }
        check_size(source, &key, &inputs)?;
        trials.push(Trial {
            inputs,
            runs: given.count.get(),
            key: Some(key),
        });
    }
    Ok(trials)
}

/// Refuses a request that takes more memory than one may.
fn check_size(source: &Source, key: &str, inputs: &[(String, Input<'_>)]) -> Result<(), LoadError> {
    let bytes: usize = inputs.iter().map(|(_, input)| input.bytes()).sum();
    if bytes <= MAX_BYTES {
        return Ok(());
    }
    let message = format!(
        "the inputs of one request take {bytes} bytes together, and {MAX_BYTES} are the most; give smaller shapes"
    );
    Err(wrong(source, key.to_owned(), message))
}

fn wrong(source: &Source, key: String, message: String) -> LoadError {
    LoadError::new(source.settings_label.clone(), message).with_key(key)
}

fn too_long(source: &Source) -> LoadError {
    let message =
        "the warm-up took too long; raise the timeout, run fewer samples, or set enabled = false";
    wrong(source, "warmup.timeout_ms".to_owned(), message.to_owned())
}

fn shape_key(name: &str) -> String {
    format!("warmup.shapes.{}", LoadError::key_part(name))
}

fn refuse(source: &Source, trial: &Trial<'_>, error: &RunError) -> LoadError {
    match &trial.key {
        Some(key) => wrong(
            source,
            key.clone(),
            format!("the model failed on this sample: {error}; mend the sample or the model"),
        ),
        None => LoadError::new(
            source.label.clone(),
            format!(
                "the warm-up on zeros failed: {error}; give [warmup] shapes in model.toml where free dimensions cannot be \
                 1, or set enabled = false"
            ),
        ),
    }
}
