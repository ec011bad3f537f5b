//! Turns texts into the ids and the mask that a language model takes, by a tokenizer of the host. `README.md` has the settings.

mod settings;
#[cfg(test)]
mod tests;
mod texts;

use wharf_plugin_sdk::codec::{Encoding, EncodingOptions, Tokenizer};
use wharf_plugin_sdk::{
    Error, Lifecycle, Metric, Payload, Plugin, Preprocess, Request, Result, Tensor,
};

use settings::{Datatype, Settings};

/// Texts that became ids.
const TEXTS: Metric = Metric::counter("tokenize_texts_total", "Texts that became ids.");
/// The ids of a text of a request, padding included: all of a request have as many.
const LENGTH: Metric = Metric::histogram(
    "tokenize_length",
    "Ids of each text of a request, padding included.",
);

struct Tokenize {
    settings: Settings,
    options: EncodingOptions,
    /// Opened once an instance: before a request comes.
    tokenizer: Tokenizer,
}

impl Plugin for Tokenize {
    type Settings = Settings;

    fn new(settings: Settings) -> Result<Self> {
        settings.check()?;
        let tokenizer = Tokenizer::open(&settings.tokenizer)
            .map_err(|error| Error::invalid_field("tokenizer", error.message()))?;
        Ok(Self {
            options: settings.options(),
            settings,
            tokenizer,
        })
    }
}

impl Preprocess for Tokenize {
    fn preprocess(&self, _request: &Request, input: Payload) -> Result<Payload> {
        let texts = texts::read(&self.settings, input)?;
        let encoding = self.tokenizer.encode(&texts, &self.options)?;
        TEXTS.add(texts.len() as u64);
        if let [_, length] = encoding.ids.shape()[..] {
            LENGTH.observe(length as f64);
        }
        self.outputs(encoding)
    }
}

impl Lifecycle for Tokenize {
    const METRICS: &'static [Metric] = &[TEXTS, LENGTH];

    /// Options that leave no room for ids are found here, and not by a request.
    fn self_test(&self) -> Result<()> {
        self.tokenizer.encode(&["a"], &self.options).map(drop)
    }
}

wharf_plugin_sdk::export!(Tokenize: preprocess, lifecycle);

impl Tokenize {
    /// The tensors that the settings name, under the names that they give.
    fn outputs(&self, encoding: Encoding) -> Result<Payload> {
        let settings = &self.settings;
        let tensors = [
            (&settings.ids, encoding.ids),
            (&settings.mask, encoding.mask),
            (&settings.segments, encoding.segments),
        ];
        let named = tensors.into_iter().filter(|(name, _)| !name.is_empty());
        let outputs = named.map(|(name, tensor)| match settings.datatype {
            // The codec's own names are the usual ones: then the handle goes on as it is.
            Datatype::Int64 if tensor.name() == *name => Ok(tensor),
            Datatype::Int64 => Ok(tensor.with_name(name)),
            Datatype::Int32 => narrowed(&tensor, name),
        });
        Ok(outputs.collect::<Result<Vec<Tensor>>>()?.into())
    }
}

/// The tensor as INT32, which every id fits: a vocabulary has far fewer tokens than that.
fn narrowed(tensor: &Tensor, name: &str) -> Result<Tensor> {
    let ids: Vec<i32> = tensor.int64()?.iter().map(|id| *id as i32).collect();
    Tensor::new(name, &tensor.shape(), &ids)
}
