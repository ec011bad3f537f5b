//! Python plugins: `componentize-py` puts an interpreter and the author's modules into one component.
//!
//! The modules are imported when the component is built, and the interpreter's memory is kept as it is then: an instance starts
//! from there.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::BuildError;
use crate::source::{Source, read};
use crate::tool::{above, run, setting, works};

/// The module that an author writes.
const MODULE: &str = "plugin";

/// The program of the package, without its script: a script names the folder that it was installed into.
const PROGRAM: &str = "import sys; from componentize_py import script; sys.exit(script())";

/// A Python that has `componentize-py`.
#[derive(Debug)]
pub struct PythonToolchain {
    python: PathBuf,
}

impl PythonToolchain {
    /// The package that builds components, with the version that is known to work.
    pub const PACKAGE: &'static str = "componentize-py==0.25.1";
    /// Names the interpreter to use; it is looked for before any other.
    pub const VARIABLE: &'static str = "WHARF_PLUGIN_PYTHON";

    /// Finds one for a plugin's folder: the one that [`Self::VARIABLE`] names, the virtual environment `.venv` of the folder or of
    /// one above it, or `python3` on PATH.
    #[must_use]
    pub fn find(folder: &Path) -> Option<Self> {
        let named = setting(Self::VARIABLE).map(PathBuf::from);
        let environment = above(folder, ".venv/bin/python");
        named
            .into_iter()
            .chain(environment)
            .chain(["python3", "python"].map(PathBuf::from))
            .find(|python| works(Command::new(python).args(["-c", "import componentize_py"])))
            .map(Self::with)
    }

    /// One with this interpreter.
    #[must_use]
    pub fn with(python: PathBuf) -> Self {
        Self { python }
    }

    /// What to install where none is found.
    #[must_use]
    pub fn advice() -> String {
        format!(
            "no Python here builds plugins: it lacks the package componentize-py. In the plugin's folder, do this and repeat:\n\
             python3 -m venv .venv && .venv/bin/pip install {}\n\
             (on Debian, `apt-get install python3 python3-venv` first)",
            Self::PACKAGE
        )
    }

    /// The component of a plugin, whose module is `plugin.py`. What is made on the way lies in `scratch`.
    ///
    /// # Errors
    /// Where the tool refuses the source; it has said why on standard error.
    pub fn component(&self, source: &Source, scratch: &Path) -> Result<Vec<u8>, BuildError> {
        let wit = source.write_wit(scratch)?;
        let component = scratch.join("plugin.wasm");
        let mut command = Command::new(&self.python);
        command.args(["-c", PROGRAM, "--wit-path"]).arg(wit);
        command.args(["--world", source.name()]);
        command.args(["componentize", MODULE, "--python-path"]);
        command.arg(source.folder()).arg("--output").arg(&component);
        run(&mut command)?;
        read(&component)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_gives_a_command_with_the_version() {
        let advice = PythonToolchain::advice();
        assert!(advice.contains("pip install componentize-py=="), "{advice}");
    }
}
