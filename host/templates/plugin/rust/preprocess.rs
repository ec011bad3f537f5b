//! Multiplies every element of FP32 tensors by a factor before the model sees them.

use serde::Deserialize;
use wharf_plugin_sdk::{Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, Tensor};

struct Scale {
    settings: Settings,
}

/// `[settings]` of the plugin's settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    factor: f32,
}

impl Plugin for Scale {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if !settings.factor.is_finite() {
            return Err(Error::invalid_field("factor", "give a finite number"));
        }
        Ok(Self { settings })
    }
}

impl Preprocess for Scale {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let mut scaled = Vec::new();
        for tensor in input.tensors()? {
            let mut values = tensor.fp32()?;
            for value in &mut values {
                *value *= self.settings.factor;
            }
            scaled.push(Tensor::new(&tensor.name(), &tensor.shape(), &values)?);
        }
        Ok(scaled.into())
    }
}

impl Lifecycle for Scale {}

wharf_plugin_sdk::export!(Scale: preprocess, lifecycle);

#[cfg(test)]
mod tests {
    use wharf_plugin_sdk::testing;

    use super::*;

    #[test]
    fn every_element_is_multiplied() {
        let plugin: Scale = testing::plugin(r#"{"factor": 0.5}"#).unwrap();
        let input = Tensor::new("x", &[1, 3], &[1.0f32, 2.0, 3.0]).unwrap();
        let output = plugin.preprocess(&Request::new("demo"), input.into()).unwrap();
        assert_eq!(output.tensor("x").unwrap().fp32().unwrap(), [0.5, 1.0, 1.5]);
    }

    #[test]
    fn a_wrong_setting_is_refused_by_its_name() {
        let error = testing::plugin::<Scale>(r#"{"faktor": 1.0}"#).err().unwrap();
        assert_eq!(error.field(), Some("faktor"));
    }
}
