//! Builds a plugin in another language than Rust: a source file and the world that it exports.

use anyhow::{Context, Result, bail};
use wharf_toolchain::{CToolchain, Foreign, JavaScriptToolchain, PythonToolchain, Source};

use crate::cli::plugin::project::Project;
use crate::cli::progress::Busy;

/// Finds the toolchain, and makes the component. What is made on the way lies in `target`.
pub(super) fn build(project: &Project, language: Foreign) -> Result<Vec<u8>> {
    let folder = &project.folder;
    let source = Source::open(folder)?;
    let scratch = folder.join("target");
    let _busy = Busy::new(format!("building {}", project.name));
    let built = match language {
        Foreign::Python => match PythonToolchain::find(folder) {
            Some(python) => python.component(&source, &scratch),
            None => bail!("{}", PythonToolchain::advice()),
        },
        Foreign::JavaScript => match JavaScriptToolchain::find(folder) {
            Some(javascript) => javascript.component(&source, &scratch),
            None => bail!("{}", JavaScriptToolchain::advice()),
        },
        Foreign::C => match CToolchain::find() {
            Some(c) => c.component(&source, &scratch),
            None => bail!("{}", CToolchain::advice()),
        },
    };
    built.with_context(|| format!("{} was not built", project.name))
}
