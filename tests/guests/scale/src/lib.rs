//! Multiplies the elements of `FP32` tensors; everything else passes through.

use serde::Deserialize;
use wharf_plugin_sdk::{
    Datatype, Error, Lifecycle, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

struct Scale {
    factor: f32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    factor: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { factor: 2.0 }
    }
}

impl Plugin for Scale {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        if !settings.factor.is_finite() {
            return Err(Error::invalid_field("factor", "give a finite number"));
        }
        Ok(Self {
            factor: settings.factor,
        })
    }
}

impl Preprocess for Scale {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        match input {
            Payload::Tensors(tensors) => {
                let scaled: Result<Vec<Tensor>> = tensors
                    .into_iter()
                    .map(|tensor| self.scale(tensor))
                    .collect();
                Ok(scaled?.into())
            }
            body @ Payload::Body(_) => Ok(body),
        }
    }
}

impl Scale {
    fn scale(&self, tensor: Tensor) -> Result<Tensor> {
        if tensor.datatype() != Datatype::Fp32 {
            return Ok(tensor);
        }
        let mut values = tensor.fp32()?;
        values.iter_mut().for_each(|value| *value *= self.factor);
        Tensor::new(&tensor.name(), &tensor.shape(), &values)
    }
}

impl Lifecycle for Scale {}

wharf_plugin_sdk::export!(Scale: preprocess, lifecycle);
