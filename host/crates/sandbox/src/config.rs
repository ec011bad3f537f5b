//! The sandbox's settings: `[plugins]` of `wharf.toml`. Every key is optional.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use wharf_core::Name;

use crate::{Limits, SandboxError, SecretSource, TrustedKey, recording};

/// Settings of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where compiled plugins are kept between starts. By default `wharf/aot` in the user's cache folder; the folder
    /// belongs to the host alone (mode 0700).
    pub cache_folder: Option<PathBuf>,
    /// The most compiled plugins that the cache folder keeps; the oldest give way.
    pub cache_files: u32,
    /// Whether a component that the cache does not have serves from a draft, code that wasmtime's baseline compiler makes quickly and
    /// that runs slower, until it is compiled optimised beside its calls.
    pub compile_in_tiers: bool,
    /// The most live instances of all plugins together, and as many of drafts. Address space, not memory, is set aside for them: 4 GiB
    /// each.
    pub max_instances: u32,
    /// The largest component, in MiB.
    pub component_mb: u32,
    /// The most code of a component, in MiB. Compiling takes about 40 MiB of memory and a second of two cores for each.
    pub component_code_mb: u32,
    /// The most functions of a component.
    pub component_functions: u32,
    /// The largest function of a component, in KiB: the compiler's time grows faster than a function does.
    pub function_kb: u32,
    /// The keys whose signatures of plugins are trusted.
    pub trusted_keys: Vec<TrustedKey>,
    /// Whether a plugin without a signature by one of the keys is refused.
    pub require_signatures: bool,
    /// Where the secrets come from that plugins may be granted, by name.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Where recordings of plugin calls go, absolute or in the site: a folder for each plugin that asks for them. By default
    /// `recordings` in the site.
    pub recordings_folder: Option<PathBuf>,
    /// The limits of plugins that set no others.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            cache_folder: None,
            cache_files: 128,
            compile_in_tiers: true,
            max_instances: 1000,
            component_mb: 64,
            component_code_mb: 32,
            component_functions: 100_000,
            function_kb: 1024,
            trusted_keys: Vec::new(),
            require_signatures: false,
            secrets: BTreeMap::new(),
            recordings_folder: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// Checks what the types do not: ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of its bounds.
    pub fn check(&self) -> Result<(), SandboxError> {
        self.limits
            .check()
            .map_err(|(name, message)| SandboxError::Setting {
                key: format!("limits.{name}"),
                message,
            })?;
        if self.max_instances == 0 {
            return Err(SandboxError::Setting {
                key: "max_instances".to_owned(),
                message: "must be at least 1".to_owned(),
            });
        }
        if self.require_signatures && self.trusted_keys.is_empty() {
            return Err(SandboxError::Setting {
                key: "trusted_keys".to_owned(),
                message: "must have a key, since require_signatures is set".to_owned(),
            });
        }
        if let Some(folder) = &self.recordings_folder {
            recording::check_folder(folder).map_err(|message| SandboxError::Setting {
                key: "recordings_folder".to_owned(),
                message,
            })?;
        }
        for (name, source) in &self.secrets {
            Name::new(name)
                .map_err(|error| error.to_string())
                .and_then(|_| source.check())
                .map_err(|message| SandboxError::Setting {
                    key: format!("secrets.{name}"),
                    message,
                })?;
        }
        Ok(())
    }

    /// The cache folder: the one set, or the user's. None where the user has no home.
    pub(crate) fn cache_folder(&self) -> Option<PathBuf> {
        self.cache_folder.clone().or_else(|| {
            let absolute = |name| {
                std::env::var_os(name)
                    .map(PathBuf::from)
                    .filter(|path| path.is_absolute())
            };
            absolute("XDG_CACHE_HOME")
                .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
                .map(|cache| cache.join("wharf").join("aot"))
        })
    }
}
