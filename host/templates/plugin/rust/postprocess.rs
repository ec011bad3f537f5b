//! Turns the model's FP32 scores into the best class, as JSON.

use serde::{Deserialize, Serialize};
use wharf_plugin_sdk::{Body, Error, Lifecycle, Payload, Plugin, Postprocess, Request, Result};

struct Best {
    settings: Settings,
}

/// `[settings]` of the plugin's settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The names of the classes, in the model's order.
    labels: Vec<String>,
}

/// What the client gets.
#[derive(Serialize)]
struct Answer<'a> {
    label: &'a str,
    score: f32,
}

impl Plugin for Best {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if settings.labels.is_empty() {
            return Err(Error::invalid_field("labels", "name at least one class"));
        }
        Ok(Self { settings })
    }
}

impl Postprocess for Best {
    fn postprocess(&self, _request: &Request, output: Payload) -> Result<Payload> {
        let tensors = output.tensors()?;
        let scores = tensors
            .first()
            .ok_or_else(|| Error::failed("the model gave no tensor"))?
            .fp32()?;
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        let best = best.ok_or_else(|| Error::failed("the model gave no scores"))?;
        let label = self.settings.labels.get(best).ok_or_else(|| {
            Error::failed(format!("class {best} has no name in the setting `labels`"))
        })?;
        let score = scores[best];
        Ok(Body::json(&Answer { label, score })?.into())
    }
}

impl Lifecycle for Best {}

wharf_plugin_sdk::export!(Best: postprocess, lifecycle);

#[cfg(test)]
mod tests {
    use wharf_plugin_sdk::{Tensor, testing};

    use super::*;

    #[test]
    fn the_class_with_the_best_score_is_the_answer() {
        let plugin: Best = testing::plugin(r#"{"labels": ["cat", "dog"]}"#).unwrap();
        let scores = Tensor::new("scores", &[1, 2], &[0.25f32, 0.75]).unwrap();
        let output = plugin.postprocess(&Request::new("demo"), scores.into()).unwrap();
        let answer = output.body().unwrap().bytes();
        assert_eq!(answer, br#"{"label":"dog","score":0.75}"#);
    }

    #[test]
    fn classes_need_names() {
        let error = testing::plugin::<Best>(r#"{"labels": []}"#).err().unwrap();
        assert_eq!(error.field(), Some("labels"));
    }
}
