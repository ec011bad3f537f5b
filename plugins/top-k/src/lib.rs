//! Turns logits or probabilities into the best labels, as JSON. `README.md` has the settings.

#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use wharf_plugin_sdk::{
    Body, Datatype, Error, Lifecycle, Payload, Plugin, Postprocess, Request, Result, Tensor,
};

struct TopK {
    settings: Settings,
}

/// `[settings]` of `plugins/top-k.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    k: usize,
    softmax: bool,
    labels: Vec<String>,
    name: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            k: 5,
            softmax: false,
            labels: Vec::new(),
            name: String::new(),
        }
    }
}

/// What the client gets for one row.
#[derive(Serialize)]
struct Answer {
    label: String,
    predictions: Vec<Prediction>,
}

#[derive(Serialize)]
struct Prediction {
    label: String,
    score: f64,
}

/// What the client gets for several rows.
#[derive(Serialize)]
struct Answers {
    results: Vec<Answer>,
}

impl Plugin for TopK {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.k == 0 {
            return Err(Error::invalid_field(
                "k",
                "give the number of predictions, 1 or more",
            ));
        }
        Ok(Self { settings })
    }
}

impl Postprocess for TopK {
    fn postprocess(&self, _request: &Request, output: Payload) -> Result<Payload> {
        let tensor = self.input(output)?;
        let (rows, classes) = self.shape(&tensor)?;
        let scores = scores(&tensor)?;
        let mut results = scores
            .chunks_exact(classes)
            .map(|row| self.answer(row))
            .collect::<Result<Vec<_>>>()?;
        let body = match (rows, results.pop()) {
            (1, Some(answer)) => Body::json(&answer),
            (_, last) => {
                results.extend(last);
                Body::json(&Answers { results })
            }
        };
        Ok(body?.into())
    }
}

impl Lifecycle for TopK {}

wharf_plugin_sdk::export!(TopK: postprocess, lifecycle);

impl TopK {
    /// The tensor with the scores. What is wrong with it is the model's or the operator's doing, never the client's.
    fn input(&self, output: Payload) -> Result<Tensor> {
        let hint = "name the model's output in the setting `name`";
        output
            .tensor(&self.settings.name)
            .map_err(|error| Error::failed(format!("{}; {hint}", error.message())))
    }

    /// Rows and classes: `[classes]` is one row, and `[rows, classes]` any number.
    fn shape(&self, tensor: &Tensor) -> Result<(u64, usize)> {
        let shape = tensor.shape();
        let (rows, classes) = match shape[..] {
            [classes] => (1, classes),
            [rows, classes] => (rows, classes),
            _ => (0, 0),
        };
        if rows == 0 || classes == 0 {
            return Err(Error::failed(format!(
                "the tensor `{}` has the shape {shape:?}, and [classes] or [rows, classes] is needed",
                tensor.name()
            )));
        }
        let labels = self.settings.labels.len() as u64;
        if labels != 0 && labels != classes {
            return Err(Error::failed(format!(
                "the tensor `{}` has {classes} classes, and the setting `labels` has {labels}",
                tensor.name()
            )));
        }
        let classes = usize::try_from(classes)
            .map_err(|_| Error::failed("the tensor has too many classes"))?;
        Ok((rows, classes))
    }

    fn answer(&self, row: &[f64]) -> Result<Answer> {
        if let Some(class) = row.iter().position(|score| score.is_nan()) {
            return Err(Error::failed(format!(
                "the model gave no number for the class `{}`",
                self.label(class)
            )));
        }
        let mut order: Vec<usize> = (0..row.len()).collect();
        // The better score first; of equal ones the lower class.
        let better = |a: &usize, b: &usize| row[*b].total_cmp(&row[*a]).then(a.cmp(b));
        let k = self.settings.k.min(row.len());
        if k < order.len() {
            order.select_nth_unstable_by(k, better);
            order.truncate(k);
        }
        order.sort_unstable_by(better);
        let scale = if self.settings.softmax {
            Softmax::of(row, row[order[0]])
        } else {
            Softmax::none()
        };
        let predictions: Vec<Prediction> = order
            .into_iter()
            .map(|class| Prediction {
                label: self.label(class),
                score: scale.apply(row[class]),
            })
            .collect();
        Ok(Answer {
            label: predictions[0].label.clone(),
            predictions,
        })
    }

    fn label(&self, class: usize) -> String {
        self.settings
            .labels
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    }
}

/// The softmax of a row. The largest logit is taken off first, so that no exponential overflows.
struct Softmax {
    terms: Option<(f64, f64)>,
}

impl Softmax {
    fn of(row: &[f64], largest: f64) -> Self {
        Self {
            terms: Some((
                largest,
                row.iter().map(|logit| (logit - largest).exp()).sum(),
            )),
        }
    }

    fn none() -> Self {
        Self { terms: None }
    }

    fn apply(&self, logit: f64) -> f64 {
        match self.terms {
            Some((largest, sum)) => (logit - largest).exp() / sum,
            None => logit,
        }
    }
}

/// The scores as `f64`.
fn scores(tensor: &Tensor) -> Result<Vec<f64>> {
    let read = match tensor.datatype() {
        Datatype::Fp64 => tensor.fp64(),
        _ => tensor
            .fp32()
            .map(|scores| scores.into_iter().map(f64::from).collect()),
    };
    read.map_err(|error| {
        Error::failed(format!(
            "the tensor `{}`: {}",
            tensor.name(),
            error.message()
        ))
    })
}
