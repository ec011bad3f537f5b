//! The port of plugin hosts.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The digest of component and settings together. An equal digest is no reason to reload.
    pub digest: Digest,
    /// The component.
    pub component: Arc<[u8]>,
    /// The text of `plugins/NAME.toml`; empty where there is none.
    pub settings: Arc<str>,
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

    /// How the plugin has done since it was loaded: what a roll-back is decided by.
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
