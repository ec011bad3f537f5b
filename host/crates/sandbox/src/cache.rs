//! Compiled components, kept between starts of the host.
//!
//! A compiled component is machine code: loading one is as trusted as the host itself. So the folder belongs to the host
//! alone, and every file carries a MAC, made with a key of the folder, over its name and content. A file that anything
//! else made or changed is refused, and the component compiled afresh.

mod artifact;
mod folder;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use parking_lot::Mutex;
use wasmtime::Engine;
use wasmtime::component::Component;
use wharf_core::Digest;

use crate::metrics::Compilation;
use crate::{Config, SandboxError};
use folder::Folder;

/// Compiles components, and remembers them where it has a folder.
pub(crate) struct CompileCache {
    engine: Engine,
    /// The engine of drafts; none where everything is compiled optimised.
    drafting: Option<Engine>,
    folder: Option<Folder>,
    /// One component that somebody waits for is compiled at a time: each takes all cores and much memory.
    compiling: Mutex<()>,
}

/// How much work was put into machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// One pass of Winch, wasmtime's baseline compiler: it serves soon, and runs slower. It is never kept in the cache.
    Draft,
    /// All that Cranelift can do.
    Optimised,
}

/// A component as machine code.
pub(crate) struct Compiled {
    pub(crate) component: Component,
    pub(crate) tier: Tier,
    pub(crate) compilation: Compilation,
}

impl CompileCache {
    /// Opens the cache; without a folder every component is compiled.
    ///
    /// # Errors
    /// Where the folder cannot be made, is open to other users, or its key cannot be read.
    pub(crate) fn open(engine: &Engine, folder: Option<&Path>, files: u32) -> io::Result<Self> {
        Ok(Self {
            folder: folder
                .map(|path| Folder::open(engine, path, files as usize))
                .transpose()?,
            engine: engine.clone(),
            drafting: None,
            compiling: Mutex::new(()),
        })
    }

    /// Opens the cache as the host's settings say. Without the folder that is set there is no sandbox; without the default one,
    /// only slower starts.
    ///
    /// # Errors
    /// Where the folder that is set cannot be used.
    pub(crate) fn of_host(engine: &Engine, config: &Config) -> Result<Self, SandboxError> {
        let folder = config.cache_folder();
        let opened = Self::open(engine, folder.as_deref(), config.cache_files);
        match (opened, folder) {
            (Ok(cache), Some(_)) => Ok(cache),
            (Ok(cache), None) => {
                tracing::warn!(
                    "there is no home folder to keep compiled plugins in; set plugins.cache_folder to start faster"
                );
                Ok(cache)
            }
            (Err(source), folder) if config.cache_folder.is_some() => Err(SandboxError::Cache {
                folder: folder.unwrap_or_default(),
                source,
            }),
            (Err(error), folder) => {
                tracing::warn!(?folder, %error, "cannot keep compiled plugins; set plugins.cache_folder to start faster");
                Self::open(engine, None, config.cache_files).map_err(|source| SandboxError::Cache {
                    folder: folder.unwrap_or_default(),
                    source,
                })
            }
        }
    }

    /// Compiles drafts where they are asked for, and there is an engine for them.
    #[must_use]
    pub(crate) fn with_drafts(mut self, drafting: Option<Engine>) -> Self {
        self.drafting = drafting;
        self
    }

    /// Compiles a component, or finds it compiled: then it is optimised, whatever is asked for. It is of the engine of its tier.
    ///
    /// # Errors
    /// What the compiler says of a component that is not valid.
    pub(crate) fn component(
        &self,
        digest: &Digest,
        bytes: &[u8],
        tier: Tier,
    ) -> wasmtime::Result<Compiled> {
        let (found, compilation) = self.find(digest);
        let compiled = |component, tier| Compiled {
            component,
            tier,
            compilation,
        };
        if let Some(component) = found {
            return Ok(compiled(component, Tier::Optimised));
        }
        let _compiling = self.compiling.lock();
        if let (Tier::Draft, Some(drafting)) = (tier, &self.drafting) {
            // Winch does not know every proposal that Cranelift does, and panics at what nobody expects it to be given. Of a component
            // that is not valid Cranelift says what is wrong.
            match catch_unwind(AssertUnwindSafe(|| Component::from_binary(drafting, bytes))) {
                Ok(Ok(draft)) => return Ok(compiled(draft, Tier::Draft)),
                Ok(Err(error)) => tracing::debug!(%digest, ?error, "cannot compile a draft"),
                Err(_) => {
                    tracing::warn!(%digest, "the compiler of drafts panicked; compiling the plugin optimised");
                }
            }
        }
        Ok(compiled(self.compile(digest, bytes)?, Tier::Optimised))
    }

    /// Compiles a component, or finds it compiled, beside the components that somebody waits for.
    ///
    /// # Errors
    /// What the compiler says of a component that is not valid.
    pub(crate) fn optimised(&self, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
        match self.find(digest) {
            (Some(component), _) => Ok(component),
            (None, _) => self.compile(digest, bytes),
        }
    }

    /// Looks a component up.
    fn find(&self, digest: &Digest) -> (Option<Component>, Compilation) {
        let Some(folder) = &self.folder else {
            return (None, Compilation::Miss);
        };
        match folder.read(digest) {
            Ok(Some(verified)) => match verified.load(&self.engine) {
                Ok(component) => return (Some(component), Compilation::Hit),
                Err(error) => {
                    tracing::warn!(%digest, ?error, "cannot load a compiled plugin from the cache; compiling it afresh");
                }
            },
            Ok(None) => return (None, Compilation::Miss),
            Err(error) => {
                tracing::warn!(%digest, %error, "refused a file of the compile cache; compiling the plugin afresh");
            }
        }
        (None, Compilation::Refused)
    }

    fn compile(&self, digest: &Digest, bytes: &[u8]) -> wasmtime::Result<Component> {
        let component = Component::from_binary(&self.engine, bytes)?;
        if let Some(folder) = &self.folder
            && let Err(error) = component
                .serialize()
                .map_err(io::Error::other)
                .and_then(|artifact| folder.write(digest, &artifact))
        {
            // The plugin serves all the same; only the next start is slower.
            tracing::warn!(%digest, %error, "cannot keep a compiled plugin in the cache");
        }
        Ok(component)
    }
}
