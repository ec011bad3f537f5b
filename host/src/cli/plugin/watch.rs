//! `wharf plugin watch`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;

use super::build::build;
use super::project::Project;
use super::sources::Sources;
use crate::cli::output;

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf plugin watch --site ../site
  wharf plugin watch plugins/shout --site site --json

It builds once, and again whenever a file of the plugin changes, until it is interrupted. A component that was built replaces
SITE/plugins/NAME.wasm in one step; a running `wharf serve --site SITE` reloads it. Settings are copied where the site has none,
and when they change here. A build that fails leaves the site as it is.

--json writes a line a build, with the keys built, changed, seconds and, where it failed, error.";

/// How often the files are looked at.
const INTERVAL: Duration = Duration::from_millis(200);

/// Flags of `wharf plugin watch`.
#[derive(Args)]
pub(super) struct Watch {
    /// The plugin's folder.
    #[arg(value_name = "DIR", default_value = ".")]
    folder: PathBuf,
    /// The site that gets the component.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    site: PathBuf,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

impl Watch {
    pub(super) fn run(self) -> Result<ExitCode> {
        ensure!(
            self.site.is_dir(),
            "{} is no site: give the folder of one with --site",
            self.site.display()
        );
        let project = Project::open(&self.folder)?;
        let mut settings = fs::read(project.settings()).ok();
        let mut built: Option<Sources> = None;
        loop {
            let now = Sources::of(&project)?;
            // A change is built once it has come to rest: an editor may write several files.
            if built.as_ref() != Some(&now) && sources_after(&project, INTERVAL / 2)? == now {
                let began = Instant::now();
                let outcome = self.publish(&project, &mut settings);
                self.report(&project, began.elapsed(), outcome)?;
                built = Some(now);
            }
            std::thread::park_timeout(INTERVAL);
        }
    }

    /// Builds, and puts what was built into the site. Says whether the site changed.
    fn publish(&self, project: &Project, settings: &mut Option<Vec<u8>>) -> Result<bool> {
        let built = build(project)?;
        let plugins = self.site.join("plugins");
        // Before the component: it must not be loaded with settings that it does not know.
        let new_settings = fs::read(project.settings()).ok();
        let target = plugins.join(format!("{}.toml", project.name));
        let mut changed = false;
        if let Some(text) = &new_settings
            && (!target.exists() || new_settings != *settings)
        {
            changed |= put(&target, text)?;
        }
        *settings = new_settings;
        let target = plugins.join(format!("{}.wasm", project.name));
        changed |= put(&target, &built.component)?;
        Ok(changed)
    }

    fn report(&self, project: &Project, took: Duration, outcome: Result<bool>) -> Result<()> {
        let (name, seconds) = (&project.name, took.as_secs_f64());
        match (outcome, self.json) {
            (Ok(changed), true) => {
                output::line(json!({ "built": true, "changed": changed, "seconds": seconds }))
            }
            (Err(error), true) => {
                let error = format!("{error:#}");
                output::line(
                    json!({ "built": false, "changed": false, "seconds": seconds, "error": error }),
                )
            }
            (Ok(true), false) => {
                output::line(format_args!("{name} is in the site, {seconds:.1} s"))
            }
            (Ok(false), false) => output::line(format_args!("{name} is unchanged, {seconds:.1} s")),
            (Err(error), false) => {
                output::notice(format_args!("wharf: {error:#}"));
                Ok(())
            }
        }
    }
}

fn sources_after(project: &Project, pause: Duration) -> Result<Sources> {
    std::thread::park_timeout(pause);
    Sources::of(project)
}

fn put(file: &Path, bytes: &[u8]) -> Result<bool> {
    wharf_toolchain::write_if_changed(file, bytes)
        .with_context(|| format!("{} cannot be written", file.display()))
}
