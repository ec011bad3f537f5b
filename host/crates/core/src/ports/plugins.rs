//! The port of plugin hosts.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use super::BoxFuture;
use crate::{Digest, LoadError, ModelLoad, Name, Payload, RequestContext, Result};

/// A host that loads plugins. Its methods read files and compile: they block, and are never called on a thread that
/// serves requests.
pub trait PluginHost: Send + Sync + 'static {
    /// Reads a plugin's component and settings, without compiling them.
    ///
    /// # Errors
    /// Where a file cannot be read, or `plugins/NAME.toml` is wrong.
    fn read(&self, file: &PluginFile) -> Result<PluginRelease, LoadError>;

    /// Verifies, compiles, type-checks, instantiates, initialises and self-tests a plugin.
    ///
    /// # Errors
    /// Where any of these fails.
    fn load(&self, release: &PluginRelease) -> Result<Arc<dyn Plugin>, LoadError>;

    /// Says what plugins that are granted it call models and routes through. Until then such a call is `Unavailable`.
    fn connect(&self, models: Weak<dyn ModelCalls>);
}

/// Calls of models and routes by plugins, without a network between.
pub trait ModelCalls: Send + Sync + 'static {
    /// Calls a route or a model that is in force, as a client's request would, for the request that a plugin works for: with its
    /// deadline, tenant, headers and trace. `version` is a number or a label. Dropping the future cancels the call.
    ///
    /// # Errors
    /// As the target's; `NotFound` where it is not there; `PluginFault` where calls are nested too deep.
    fn call<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        target: &'a str,
        version: Option<&'a str>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>>;
}

/// A plugin's place in the site: `plugins/NAME.wasm` and `plugins/NAME.toml`.
#[derive(Clone, Debug)]
pub struct PluginFile {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the plugin.
    pub name: Name,
}

/// A plugin as it was read: the very bytes that will be loaded, whatever becomes of the files meanwhile.
#[derive(Clone)]
pub struct PluginRelease {
    /// The site folder.
    pub site: PathBuf,
    /// The name of the plugin.
    pub name: Name,
    /// The digest of component, settings and files together. An equal digest is no reason to reload.
    pub digest: Digest,
    /// The component.
    pub component: Arc<[u8]>,
    /// The text of `plugins/NAME.toml`; empty where there is none.
    pub settings: Arc<str>,
    /// The other files of the site that the settings name, each once.
    pub files: Arc<[SiteFile]>,
}

/// A file of the site that a plugin's settings name, as it was read.
#[derive(Clone)]
pub struct SiteFile {
    /// Its path inside the site.
    pub path: Arc<str>,
    /// Its content; or why there is none, for the operator. A missing file is no error until the plugin is loaded, so that its coming is a
    /// change of the plugin.
    pub content: Result<Arc<[u8]>, Arc<str>>,
    /// The digest of the content; none where there is none.
    pub digest: Option<Digest>,
}

impl fmt::Debug for PluginRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PluginRelease")
            .field("name", &self.name)
            .field("digest", &self.digest)
            .finish_non_exhaustive()
    }
}

/// A loaded plugin. Calling a stage that it does not have is an `Internal` error: routes check stages when they load.
pub trait Plugin: Send + Sync + 'static {
    /// What the plugin is.
    fn info(&self) -> &PluginInfo;

    /// Calls the preprocess stage. Dropping the future cancels the call, as for every stage.
    ///
    /// # Errors
    /// What the guest refuses with, by the contract's error variant; `PluginFault` for a trap or a broken limit;
    /// `Deadline` where the request's deadline passes during the call; `Unavailable` where no instance is free.
    fn preprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        input: Payload,
    ) -> BoxFuture<'a, Result<Payload>>;

    /// Calls the postprocess stage.
    ///
    /// # Errors
    /// As [`Plugin::preprocess`].
    fn postprocess<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        output: Payload,
    ) -> BoxFuture<'a, Result<Payload>>;

    /// Calls the router stage: gives the index of the chosen candidate, always inside the slice.
    ///
    /// # Errors
    /// As [`Plugin::preprocess`]; an index outside the slice is a `PluginFault`.
    fn route<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        candidates: &'a [Candidate],
    ) -> BoxFuture<'a, Result<usize>>;

    /// Begins the filter of one generated text.
    ///
    /// # Errors
    /// As [`Plugin::preprocess`].
    fn filter<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn TokenFilter>>>;

    /// How the plugin has done since it was loaded.
    fn health(&self) -> PluginHealth;
}

/// The filter of one generated text. Dropping it ends its instance's work for the text.
pub trait TokenFilter: Send {
    /// Takes the tokens that came since the last call, at least one.
    ///
    /// # Errors
    /// As [`Plugin::preprocess`]. After an error the filter gives nothing more.
    fn push(&mut self, tokens: Vec<Token>) -> BoxFuture<'_, Result<Verdict>>;

    /// Ends the text: gives the tokens still kept back.
    ///
    /// # Errors
    /// As [`TokenFilter::push`].
    fn finish(self: Box<Self>) -> BoxFuture<'static, Result<Vec<Token>>>;
}

/// One token of a generated text.
#[derive(Clone, Debug, PartialEq)]
pub struct Token {
    /// Its number in the model's vocabulary.
    pub id: u32,
    /// Its text; empty while a part of a character waits for the tokens after it.
    pub text: String,
    /// The natural logarithm of its probability, where the model tells.
    pub logprob: Option<f32>,
}

/// What becomes of the tokens that a filter was given so far.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// These go to the client now.
    Emit(Vec<Token>),
    /// These go to the client, and the text ends here.
    Stop {
        /// The last tokens.
        tokens: Vec<Token>,
        /// Why it ends, for the client.
        reason: String,
    },
}

/// What a loaded plugin is.
#[derive(Clone, Debug)]
pub struct PluginInfo {
    /// The name.
    pub name: Name,
    /// The digest of component and settings together.
    pub digest: Digest,
    /// The version that it gives itself; empty where it exports no lifecycle.
    pub version: String,
    /// What it says of itself; empty where it exports no lifecycle.
    pub summary: String,
    /// The contract that it was built against: `1.0.0`.
    pub contract: String,
    /// The stages that it exports, in the order of a pipeline.
    pub stages: Vec<Stage>,
    /// Who may share an instance.
    pub isolation: Isolation,
}

/// A stage that a plugin can export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Chooses the model.
    Router,
    /// Before the model.
    Preprocess,
    /// After the model.
    Postprocess,
    /// Sees generated tokens.
    TokenFilter,
}

impl Stage {
    /// The name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Preprocess => "preprocess",
            Self::Postprocess => "postprocess",
            Self::TokenFilter => "token-filter",
        }
    }
}

/// Who may share an instance of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Isolation {
    /// Nobody: each request has an instance of its own, which is then thrown away.
    #[default]
    Request,
    /// Requests of the same tenant.
    Tenant,
    /// Every request.
    Shared,
}

impl Isolation {
    /// The name in settings.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Tenant => "tenant",
            Self::Shared => "shared",
        }
    }
}

/// A model that a router may choose.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The name of the model.
    pub model: Name,
    /// The version.
    pub version: u64,
    /// The labels that the route gives it.
    pub labels: Arc<[String]>,
    /// How it does at this moment.
    pub load: ModelLoad,
}

/// How a plugin has done since it was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PluginHealth {
    /// Calls that ended, well or not.
    pub calls: u64,
    /// Calls that trapped or broke a limit.
    pub faults: u64,
    /// Faults since the last call that ended without one.
    pub consecutive_faults: u64,
}
