//! The stages, a trait each. A plugin implements [`Plugin`] and those that it exports.

use serde::de::DeserializeOwned;

use crate::{Metric, Payload, Request, Result};

/// What every plugin is: a value made from settings, once an instance.
///
/// How long an instance lives is the operator's choice (`isolation`): one request by default, so nothing that a plugin
/// keeps in itself may be needed by a later request.
pub trait Plugin: Sized + 'static {
    /// The settings, by serde: [`crate::NoSettings`] where there are none. Use `#[serde(deny_unknown_fields)]`, so that
    /// a misspelt setting is refused by its name.
    type Settings: DeserializeOwned;

    /// Makes the plugin.
    ///
    /// # Errors
    /// [`crate::Error::invalid_field`] with the setting's name where a setting makes no sense. It keeps the plugin from
    /// being loaded.
    fn new(settings: Self::Settings) -> Result<Self>;
}

/// A stage before the model: turns what the client sent into what the model takes.
pub trait Preprocess: Plugin {
    /// Takes the client's payload, or the one of the preprocess stage before, and gives the one for the next stage. The
    /// last one before the model gives tensors with the names, datatypes and shapes of the model's inputs.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn preprocess(&self, request: &Request, input: Payload) -> Result<Payload>;
}

/// A stage after the model: turns what the model gave into what the client gets.
pub trait Postprocess: Plugin {
    /// Takes the model's outputs, or the payload of the postprocess stage before, and gives the one for the next stage.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn postprocess(&self, request: &Request, output: Payload) -> Result<Payload>;
}

/// A model that a request may go to, with how it does at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    /// The name of the model.
    pub model: String,
    /// The version of the model.
    pub version: u64,
    /// The labels that the route file gives the candidate, such as `stable` or `canary`.
    pub labels: Vec<String>,
    /// Requests that wait in its batch queue.
    pub queue_depth: u32,
    /// Requests that it runs now.
    pub in_flight: u32,
    /// The moving average of the time that it takes for a run, in microseconds; 0 before the first.
    pub latency_us: u64,
    /// The bytes free on its device; `None` where the host cannot tell.
    pub free_memory: Option<u64>,
}

/// Chooses the model that a request goes to.
pub trait Router: Plugin {
    /// Gives the index of the chosen candidate. The list is never empty, and keeps the order of the route file.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn route(&self, request: &Request, candidates: &[Candidate]) -> Result<usize>;
}

/// One token of a generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its number in the model's vocabulary.
    pub id: u32,
    /// Its text; a part of a character may wait for the tokens after it, and is empty until then.
    pub text: String,
    /// The natural logarithm of its probability, where the model tells.
    pub logprob: Option<f32>,
}

/// What becomes of the tokens given so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// These go to the client now: those given, others, or none. Tokens that the filter keeps back it gives later.
    Emit(Vec<Token>),
    /// These go to the client, and the text ends here.
    Stop {
        /// The last tokens that the client gets.
        tokens: Vec<Token>,
        /// Why the text ends. The client reads it.
        reason: String,
    },
}

/// Sees the tokens of a generated text as they come, and may hold, change or stop them.
pub trait TokenFilter: Plugin {
    /// The filter of one text.
    type Filter: Filter;

    /// Begins a text.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn open(&self, request: &Request) -> Result<Self::Filter>;
}

/// The filter of one text. It sees all the tokens of the text, in their order.
pub trait Filter: 'static {
    /// Takes the tokens that came since the last call, at least one.
    ///
    /// # Errors
    /// Any; it ends the text.
    fn push(&mut self, tokens: Vec<Token>) -> Result<Verdict>;

    /// Ends the text: gives the tokens still kept back.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn finish(&mut self) -> Result<Vec<Token>> {
        Ok(Vec::new())
    }
}

/// The life of an instance. `impl Lifecycle for MyPlugin {}` is enough to have the settings checked when the plugin is
/// loaded rather than at the first request; name, version and summary are those of the plugin's `Cargo.toml`.
pub trait Lifecycle: Plugin {
    /// The metrics that the plugin may report. The host drops any other.
    const METRICS: &'static [Metric] = &[];

    /// Tests the plugin, once when it is loaded.
    ///
    /// # Errors
    /// Any; it keeps the plugin from being loaded, and the operator reads it.
    fn self_test(&self) -> Result<()> {
        Ok(())
    }
}
