//! The port of plugin hosts.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use super::{BoxFuture, Filter, Token};
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

    /// Leaves a call behind that nobody waits for: a task of the host makes it, with the tenant, headers and trace of the request
    /// that a plugin works for, and the time of the target. Must be called within a runtime.
    ///
    /// # Errors
    /// Where the call is not made: `Unavailable` where as many are under way as may be, and else as [`ModelCalls::call`] before
    /// the target is asked.
    fn mirror(
        &self,
        request: &Arc<RequestContext>,
        target: &str,
        version: Option<&str>,
        input: Payload,
    ) -> Result<()>;
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
    pub component: Bytes,
    /// The digest of the component alone.
    pub content: Digest,
    /// The text of `plugins/NAME.toml`; empty where there is none.
    pub settings: Arc<str>,
    /// The other files that the settings name, each once.
    pub files: Arc<[SiteFile]>,
    /// What it belongs to, where that is not the site itself.
    pub owner: Option<PluginOwner>,
}

/// What a plugin belongs to that came with a bundle.
#[derive(Clone)]
pub struct PluginOwner {
    /// The bundle. What a plugin keeps under its name is kept apart from what plugins of other bundles and of the site keep.
    pub bundle: Name,
    /// What its calls of models and routes go through: the release that it came with.
    pub models: Weak<dyn ModelCalls>,
}

/// A file that a plugin's settings name, as it was read.
#[derive(Clone)]
pub struct SiteFile {
    /// Its path inside the site, or an absolute one, as the settings have it.
    pub path: Arc<str>,
    /// Its content; or why there is none, for the operator. A missing file is no error until the plugin is loaded, so that its coming is a
    /// change of the plugin.
    pub content: Result<Arc<[u8]>, Arc<str>>,
    /// The digest of the content; none where there is none.
    pub digest: Option<Digest>,
}

impl SiteFile {
    /// The file of this path.
    ///
    /// # Errors
    /// Where it is not among those that were read; for the operator.
    pub fn named<'a>(path: &str, files: &'a [Self]) -> Result<&'a Self, String> {
        let mut files = files.iter();
        files
            .find(|file| &*file.path == path)
            .ok_or_else(|| format!("{path} was not read; reload the site"))
    }

    /// What is in the file.
    ///
    /// # Errors
    /// Why there is nothing; for the operator.
    pub fn content(&self) -> Result<&[u8], String> {
        match &self.content {
            Ok(content) => Ok(content),
            Err(reason) => Err(format!("{} {reason}", self.path)),
        }
    }
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
    fn filter_tokens<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Vec<Token>>>>>;

    /// Begins the filter of one body that comes in chunks, of this media type.
    ///
    /// # Errors
    /// As [`Plugin::preprocess`].
    fn filter_chunks<'a>(
        &'a self,
        request: &'a Arc<RequestContext>,
        media_type: &'a str,
    ) -> BoxFuture<'a, Result<Box<dyn Filter<Bytes>>>>;

    /// How the plugin has done since it was loaded.
    fn health(&self) -> PluginHealth;
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
    /// Sees a body that comes in chunks.
    ChunkFilter,
}

impl Stage {
    /// Every stage, in the order of a pipeline.
    pub const ALL: [Self; 5] = [
        Self::Router,
        Self::Preprocess,
        Self::Postprocess,
        Self::TokenFilter,
        Self::ChunkFilter,
    ];

    /// The name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Router => "router",
            Self::Preprocess => "preprocess",
            Self::Postprocess => "postprocess",
            Self::TokenFilter => "token-filter",
            Self::ChunkFilter => "chunk-filter",
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
