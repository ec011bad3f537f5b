//! Makes one embedding a text of the embeddings of its tokens: their mean, where the attention mask says so, brought to unit
//! length. `README.md` has the settings.

mod pool;
mod settings;
#[cfg(test)]
mod tests;

use half::f16;
use wharf_plugin_sdk::{
    Datatype, Error, Lifecycle, Payload, Plugin, Postprocess, Request, Result, Tensor,
};

use pool::Shape;
use settings::{Answer, Settings};

struct MeanPool {
    settings: Settings,
}

impl Plugin for MeanPool {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        Ok(Self { settings })
    }
}

impl Postprocess for MeanPool {
    fn postprocess(&self, _request: &Request, output: Payload) -> Result<Payload> {
        let outputs = output.tensors().map_err(of_the_model)?;
        let tokens = self.tokens(&outputs)?;
        let shape = Shape::of(tokens)?;
        let mask = self.mask(&outputs, shape)?;
        let values = tokens.floats().map_err(of_the_model)?;
        let mut embeddings = pool::mean(shape, &values, mask.as_deref());
        for (text, embedding) in embeddings.chunks_exact_mut(shape.width).enumerate() {
            let length = pool::length(embedding);
            if !length.is_finite() {
                let name = tokens.name();
                return Err(Error::failed(format!(
                    "the tensor `{name}` has an element of text {text} that is no finite number"
                )));
            }
            if self.settings.normalise {
                pool::scale_to_unit(embedding, length);
            }
        }
        Ok(self.answer(shape, &embeddings)?.into())
    }
}

impl Lifecycle for MeanPool {}

wharf_plugin_sdk::export!(MeanPool: postprocess, lifecycle);

impl MeanPool {
    /// The tensor with the embeddings of the tokens: the one that is named, or the only one of three dimensions.
    fn tokens<'a>(&self, outputs: &'a [Tensor]) -> Result<&'a Tensor> {
        let name = &self.settings.name;
        if !name.is_empty() {
            return named(outputs, name, "name");
        }
        let mut fitting = outputs.iter().filter(|tensor| tensor.shape().len() == 3);
        match (fitting.next(), fitting.next()) {
            (Some(tensor), None) => Ok(tensor),
            (None, _) => Err(Error::failed(
                "no output of the model has the shape [texts, tokens, width]",
            )),
            (Some(_), Some(_)) => Err(Error::failed(
                "several outputs of the model have three dimensions: name one in the setting `name`",
            )),
        }
    }

    /// Which tokens count; none where all do.
    fn mask(&self, outputs: &[Tensor], shape: Shape) -> Result<Option<Vec<bool>>> {
        let name = &self.settings.mask;
        if name.is_empty() {
            return Ok(None);
        }
        let mask = named(outputs, name, "mask")?;
        let wanted = [shape.texts as u64, shape.tokens as u64];
        if mask.shape() != wanted {
            return Err(Error::failed(format!(
                "the tensor `{name}` has the shape {:?}, and {wanted:?} is needed",
                mask.shape()
            )));
        }
        let counts = match mask.datatype() {
            Datatype::Int64 => nonzero(&mask.int64()?),
            Datatype::Int32 => nonzero(&mask.int32()?),
            Datatype::Fp32 => nonzero(&mask.fp32()?),
            Datatype::Boolean | Datatype::Uint8 | Datatype::Int8 => nonzero(&mask.bytes()),
            other => {
                return Err(Error::failed(format!(
                    "the tensor `{name}` is {other}, and a mask is INT64, INT32, FP32, BOOL, INT8 or UINT8"
                )));
            }
        };
        Ok(Some(counts))
    }

    fn answer(&self, shape: Shape, embeddings: &[f32]) -> Result<Tensor> {
        let (name, dimensions) = (
            &self.settings.output,
            [shape.texts as u64, shape.width as u64],
        );
        match self.settings.datatype {
            Answer::Fp32 => Tensor::new(name, &dimensions, embeddings),
            Answer::Fp16 => {
                let halves = embeddings
                    .iter()
                    .flat_map(|value| f16::from_f32(*value).to_le_bytes());
                let bytes: Vec<u8> = halves.collect();
                Tensor::from_bytes(name, Datatype::Fp16, &dimensions, &bytes)
            }
        }
    }
}

/// What is wrong with an output is the model's or the operator's doing, never the client's.
fn of_the_model(error: Error) -> Error {
    Error::failed(error.to_string())
}

fn named<'a>(outputs: &'a [Tensor], name: &str, setting: &str) -> Result<&'a Tensor> {
    let found = outputs.iter().find(|tensor| tensor.name() == name);
    found.ok_or_else(|| {
        let names: Vec<String> = outputs.iter().map(Tensor::name).collect();
        Error::failed(format!(
            "the model gives no output `{name}`, which the setting `{setting}` names; it gives: {}",
            names.join(", ")
        ))
    })
}

fn nonzero<T: PartialEq + Default>(values: &[T]) -> Vec<bool> {
    values.iter().map(|value| *value != T::default()).collect()
}
