//! JavaScript plugins: `componentize-js` puts a JavaScript engine and the author's modules into one component.
//!
//! The modules are evaluated when the component is built, and the engine's memory is kept as it is then: an instance starts from
//! there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;
use crate::source::{Source, read};
use crate::tool::{above, run, setting, works};

/// The module that an author writes.
const MODULE: &str = "plugin.js";

/// Where the package has its function.
const BUILDER: &str = "@bytecodealliance/componentize-js/src/componentize.js";

/// Calls it.
const SCRIPT: &str = include_str!("javascript/componentize.mjs");

/// A Node.js, and a folder that has `componentize-js`.
#[derive(Debug)]
pub struct JavaScriptToolchain {
    builder: PathBuf,
}

impl JavaScriptToolchain {
    /// The package that builds components, and one that it uses without saying so; with the versions that are known to work.
    pub const PACKAGES: [&'static str; 2] = [
        "@bytecodealliance/componentize-js@0.23.0",
        "@bytecodealliance/preview2-shim@0.25.0",
    ];
    /// Names the folder `node_modules` to use; it is looked at before any other.
    pub const VARIABLE: &'static str = "WHARF_PLUGIN_NODE_MODULES";

    /// Finds the package for a plugin's folder: in the folder that [`Self::VARIABLE`] names, or in `node_modules` of the plugin's
    /// folder or of one above it. `node` is on PATH.
    #[must_use]
    pub fn find(folder: &Path) -> Option<Self> {
        if !works(Command::new("node").arg("--version")) {
            return None;
        }
        let named = setting(Self::VARIABLE).map(|modules| Path::new(&modules).join(BUILDER));
        let builder = named
            .filter(|builder| builder.is_file())
            .or_else(|| above(folder, &format!("node_modules/{BUILDER}")))?;
        Some(Self { builder })
    }

    /// One with the packages in this folder `node_modules`.
    #[must_use]
    pub fn with(modules: &Path) -> Self {
        Self {
            builder: modules.join(BUILDER),
        }
    }

    /// What to install where none is found.
    #[must_use]
    pub fn advice() -> String {
        format!(
            "nothing here builds plugins in JavaScript: it needs Node.js 20 or later, and the package componentize-js. Install Node.js, \
             and in the plugin's folder do this and repeat:\n\
             npm install --save-dev {}",
            Self::PACKAGES.join(" ")
        )
    }

    /// The component of a plugin, whose module is `plugin.js`. It may import others by their relative paths. What is made on the
    /// way lies in `scratch`.
    ///
    /// # Errors
    /// Where the tool refuses the source; it has said why on standard error.
    pub fn component(&self, source: &Source, scratch: &Path) -> Result<Vec<u8>, BuildError> {
        let wit = source.write_wit(scratch)?;
        let component = scratch.join("plugin.wasm");
        let mut command = Command::new("node");
        command.args(["--input-type=module", "--eval", SCRIPT, "--"]);
        command.arg(&self.builder).arg(source.folder().join(MODULE));
        command.arg(wit).arg(source.name()).arg(&component);
        run(&mut command)?;
        read(&component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_gives_a_command_with_the_version() {
        let advice = JavaScriptToolchain::advice();
        assert!(advice.contains("npm install --save-dev"), "{advice}");
        assert!(advice.contains("componentize-js@"), "{advice}");
    }
}
