//! `wharf plugin build`.

mod foreign;
mod rust;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::{Context, Result};
use clap::Args;
use wharf_sandbox::{Config, Summary};

use super::language::Language;
use super::project::Project;
use super::report;
use super::subject::read_settings;
use crate::cli::output;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin build
  wharf plugin build plugins/shout --json

It writes NAME.wasm into the plugin's folder, and only its time where the bytes have not changed. The toolchain is found by the files
of the folder; where it is missing, the command that installs it is said:
  Cargo.toml   a Rust that has wasm32-unknown-unknown or wasm32-wasip2, or Debian's package rust-web-src
  plugin.py    a Python with componentize-py: WHARF_PLUGIN_PYTHON, .venv here or above, or python3 on PATH
  plugin.js    node, with componentize-js in node_modules here or above, or in WHARF_PLUGIN_NODE_MODULES
  plugin.c     a clang with WASI's C library: that of WASI_SDK_PATH, or clang on PATH with Debian's packages
The last three have their world in wit/world.wit.

--json writes one line with the keys of `wharf plugin inspect --json`, and file and changed.";

/// Flags of `wharf plugin build`.
#[derive(Args)]
pub(super) struct Build {
    /// The plugin's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// Writes what was built as JSON.
    #[arg(long)]
    json: bool,
}

/// A component that was built.
pub(super) struct Built {
    pub(super) file: PathBuf,
    /// Whether its bytes are others than before.
    pub(super) changed: bool,
    pub(super) component: Vec<u8>,
}

impl Build {
    pub(super) fn run(self) -> Result<ExitCode> {
        let project = Project::open(&self.folder)?;
        let built = build(&project)?;
        let settings = read_settings(&project.settings())?;
        let summary = Summary::of(
            &project.name,
            &built.component,
            &settings,
            &Config::default(),
        )
        .with_context(|| {
            format!(
                "{} was built, and would not be loaded",
                shown(&built.file).display()
            )
        })?;
        if self.json {
            let mut document = report::document(&project.name, &summary);
            document["file"] = built.file.display().to_string().into();
            document["changed"] = built.changed.into();
            output::line(document)?;
        } else {
            let state = if built.changed { "" } else { " (unchanged)" };
            output::line(format_args!("{}{state}", shown(&built.file).display()))?;
            output::text(report::text(&summary))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Builds the component and puts it into the plugin's folder.
///
/// # Errors
/// Where there is no toolchain, or it refuses the source; what to do is said.
pub(super) fn build(project: &Project) -> Result<Built> {
    // What is written while it is built may not be in it.
    let began = SystemTime::now();
    let component = match project.language {
        Language::Rust => rust::build(project)?,
        Language::Foreign(language) => foreign::build(project, language)?,
    };
    let file = project.component();
    let changed = wharf_toolchain::write_if_changed(&file, &component)
        .and_then(|changed| {
            let component = File::options().write(true).open(&file)?;
            component.set_modified(began).map(|()| changed)
        })
        .with_context(|| format!("{} cannot be written", file.display()))?;
    Ok(Built {
        file,
        changed,
        component,
    })
}

/// A path as short as it can be said from here.
fn shown(file: &Path) -> &Path {
    std::env::current_dir()
        .ok()
        .and_then(|here| file.strip_prefix(here).ok())
        .unwrap_or(file)
}
