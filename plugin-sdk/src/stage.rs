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

impl Candidate {
    /// Whether a label in a plugin's settings means this candidate: it is one of its labels, or its version as text.
    pub fn is_called(&self, label: &str) -> bool {
        self.labels.iter().any(|own| own == label) || self.version.to_string() == label
    }
}

/// Chooses the model that a request goes to.
pub trait Router: Plugin {
    /// Gives the index of the chosen candidate. The list is never empty, and keeps the order of the route file; a model of
    /// another server that keeps failing is left out while there is another candidate.
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

/// What becomes of what a filter was given so far: tokens, or bytes of a body.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict<P = Vec<Token>> {
    /// This goes to the client now: what was given, something else, or nothing. What the filter keeps back it gives later.
    Emit(P),
    /// This goes to the client, and the text or body ends here.
    Stop {
        /// The last that the client gets.
        last: P,
        /// Why it ends. The client reads it.
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

/// Sees a body that comes in chunks, and may hold, change or stop it: a streamed answer, an upload, server-sent events.
///
/// How a body is cut into chunks says nothing of what is in it: a word, and even a character, may go on in the next one.
///
/// ```
/// use wharf_plugin_sdk::{ChunkFilter, Filter, NoSettings, Plugin, Request, Result, Verdict};
///
/// struct Loud;
/// # impl Plugin for Loud {
/// #     type Settings = NoSettings;
/// #     fn new(_: NoSettings) -> Result<Self> { Ok(Self) }
/// # }
///
/// impl ChunkFilter for Loud {
///     type Filter = Self;
///
///     fn open_body(&self, _request: &Request, _media_type: &str) -> Result<Self> {
///         Ok(Self)
///     }
/// }
///
/// impl Filter<Vec<u8>> for Loud {
///     fn push(&mut self, mut chunk: Vec<u8>) -> Result<Verdict<Vec<u8>>> {
///         chunk.make_ascii_uppercase();
///         Ok(Verdict::Emit(chunk))
///     }
/// }
///
/// wharf_plugin_sdk::export!(Loud: chunk_filter);
///
/// let mut body = Loud.open_body(&Request::new("news"), "text/plain")?;
/// assert_eq!(body.push(b"gr\xc3".to_vec())?, Verdict::Emit(b"GR\xc3".to_vec()));
/// assert_eq!(body.push(b"\xbcn".to_vec())?, Verdict::Emit(b"\xbcN".to_vec()));
/// assert_eq!(body.finish()?, b"");
/// # Ok::<(), wharf_plugin_sdk::Error>(())
/// ```
pub trait ChunkFilter: Plugin {
    /// The filter of one body.
    type Filter: Filter<Vec<u8>>;

    /// Begins a body of this media type, with its parameters.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn open_body(&self, request: &Request, media_type: &str) -> Result<Self::Filter>;
}

/// The filter of one text, whose tokens are a `Vec<Token>` at a time, or of one body: a `Vec<u8>`. It sees all of it, in its order.
pub trait Filter<P: Default = Vec<Token>>: 'static {
    /// Takes what came since the last call, at least one token or byte.
    ///
    /// # Errors
    /// Any; it ends the text or body.
    fn push(&mut self, portion: P) -> Result<Verdict<P>>;

    /// Ends it: gives what is still kept back.
    ///
    /// # Errors
    /// Any; the client gets it.
    fn finish(&mut self) -> Result<P> {
        Ok(P::default())
    }
}

/// The life of an instance. `impl Lifecycle for MyPlugin {}` is enough to have the settings checked when the plugin is
/// loaded rather than at the first request; name, version and summary are those of the plugin's `Cargo.toml`.
pub trait Lifecycle: Plugin {
    /// The metrics that the plugin may report. The host drops any other.
    const METRICS: &'static [Metric] = &[];

    /// The metrics that the plugin may report with these settings, where it is they that decide: [`Lifecycle::METRICS`], and more.
    ///
    /// A name is a text that lives as long as the instance, such as `format!("{label}_chosen_total").leak()`: make it once, in
    /// [`Plugin::new`], to report it.
    fn metrics(_settings: &Self::Settings) -> Vec<Metric> {
        Self::METRICS.to_vec()
    }

    /// Tests the plugin, once when it is loaded.
    ///
    /// # Errors
    /// Any; it keeps the plugin from being loaded, and the operator reads it.
    fn self_test(&self) -> Result<()> {
        Ok(())
    }
}
