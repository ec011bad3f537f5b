//! Asks several models, and gives the mean of their answers: the preprocess stage as tensors, and the error of the first that
//! fails as its own. The postprocess stage reports instead what each of them said, a line each.
//!
//! Header fields say what is asked: `x-targets` names the models, with commas between and a version after `@`; `x-times`
//! repeats them; `x-way: one` asks one after the other, `x-way: mirror` leaves the calls behind and takes the input for their answers;
//! `x-then: spin` never comes to an end afterwards.

use serde::Deserialize;
use wharf_plugin_sdk::model::{self, Call};
use wharf_plugin_sdk::{
    Body, Error, Lifecycle, Payload, Plugin, Postprocess, Preprocess, Request, Result, Tensor,
};

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Whom to ask where the request does not say it.
    targets: Vec<String>,
    /// When to ask outside of a stage call: `init` or `self-test`.
    ask: String,
}

struct Ensemble {
    settings: Settings,
}

impl Plugin for Ensemble {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        let ensemble = Self { settings };
        if ensemble.settings.ask == "init" {
            ensemble.ask_first()?;
        }
        Ok(ensemble)
    }
}

impl Preprocess for Ensemble {
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload> {
        let given = self.ask(request, input)?;
        mean(given.into_iter().collect::<Result<Vec<Payload>>>()?)
    }
}

impl Postprocess for Ensemble {
    fn postprocess(&self, request: &Request, output: Payload) -> Result<Payload> {
        let given = self.ask(request, output)?;
        let lines: Vec<String> = given.into_iter().map(report).collect();
        Ok(Body::new("text/plain", lines.join("\n").as_bytes()).into())
    }
}

impl Lifecycle for Ensemble {
    fn self_test(&self) -> Result<()> {
        if self.settings.ask == "self-test" {
            self.ask_first()?;
        }
        Ok(())
    }
}

wharf_plugin_sdk::export!(Ensemble: preprocess, postprocess, lifecycle);

impl Ensemble {
    fn ask(&self, request: &Request, input: Payload) -> Result<Vec<Result<Payload>>> {
        let targets = match request.header("x-targets") {
            Some(targets) => targets.split(',').map(str::to_owned).collect(),
            None => self.settings.targets.clone(),
        };
        let times: usize = match request.header("x-times") {
            Some(times) => times
                .parse()
                .map_err(|_| Error::invalid_field("x-times", "give a number"))?,
            None => 1,
        };
        let calls: Vec<Call> = std::iter::repeat_n(&targets, times)
            .flatten()
            .map(|target| {
                let input = again(&input);
                match target.split_once('@') {
                    Some((target, version)) => Call::new(target, input).with_version(version),
                    None => Call::new(target.as_str(), input),
                }
            })
            .collect();
        let mirror = |call: Call| call.mirror().map(|()| again(&input));
        let given = match request.header("x-way").as_deref() {
            Some("one") => calls.into_iter().map(Call::infer).collect(),
            Some("mirror") => calls.into_iter().map(mirror).collect(),
            _ => model::infer_all(calls),
        };
        if request.header("x-then").as_deref() == Some("spin") {
            loop {
                std::hint::black_box(&given);
            }
        }
        Ok(given)
    }

    fn ask_first(&self) -> Result<()> {
        let target = self.settings.targets.first();
        let target = target.ok_or_else(|| Error::invalid_field("targets", "name one"))?;
        model::infer(target, Tensor::new("x", &[1], &[1.0f32])?).map(drop)
    }
}

/// The same payload once more: other handles of tensors, a copy of a body.
fn again(payload: &Payload) -> Payload {
    match payload {
        Payload::Tensors(tensors) => {
            let another = |tensor: &Tensor| tensor.with_name(&tensor.name());
            Payload::Tensors(tensors.iter().map(another).collect())
        }
        Payload::Body(body) => Body::new(&body.media_type(), &body.bytes()).into(),
    }
}

/// The mean of the first tensors, under the name `x`. A single answer passes on without being read.
fn mean(mut given: Vec<Payload>) -> Result<Payload> {
    if given.len() == 1 {
        return Ok(match given.remove(0) {
            Payload::Tensors(tensors) => again_as(&tensors, "x").into(),
            body @ Payload::Body(_) => body,
        });
    }
    let count = given.len() as f32;
    let mut sum: Option<(Vec<u64>, Vec<f32>)> = None;
    for payload in given {
        let tensors = payload.tensors()?;
        let tensor = tensors
            .first()
            .ok_or_else(|| Error::failed("a model gave no tensor"))?;
        let values = tensor.fp32()?;
        match &mut sum {
            None => sum = Some((tensor.shape(), values)),
            Some((shape, sum)) if *shape == tensor.shape() => {
                sum.iter_mut()
                    .zip(values)
                    .for_each(|(sum, value)| *sum += value);
            }
            Some(_) => return Err(Error::failed("the models' answers differ in their shapes")),
        }
    }
    let (shape, mut values) = sum.ok_or_else(|| Error::invalid("nobody is asked"))?;
    values.iter_mut().for_each(|value| *value /= count);
    Ok(Tensor::new("x", &shape, &values)?.into())
}

fn again_as(tensors: &[Tensor], name: &str) -> Vec<Tensor> {
    tensors
        .iter()
        .map(|tensor| tensor.with_name(name))
        .collect()
}

fn report(given: Result<Payload>) -> String {
    let case = match &given {
        Ok(Payload::Body(body)) => return format!("ok {}", String::from_utf8_lossy(&body.bytes())),
        Ok(Payload::Tensors(tensors)) => {
            let values = tensors.first().and_then(|tensor| tensor.fp32().ok());
            return format!("ok {:?}", values.unwrap_or_default());
        }
        Err(Error::InvalidInput(_)) => "invalid-input",
        Err(Error::NotFound(_)) => "not-found",
        Err(Error::Unavailable(_)) => "unavailable",
        Err(Error::Denied(_)) => "denied",
        Err(Error::Failed(_)) => "failed",
    };
    match given {
        Err(error) => format!("{case} {error}"),
        Ok(_) => case.to_owned(),
    }
}
