//! The component that a command is about: the one of a plugin's folder, or a file.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use wharf_core::Name;

use super::project::Project;
use super::sources::Sources;
use crate::cli::output;
use crate::config::{Config, Overrides};

/// Which component, and under whose limits.
#[derive(Args)]
pub(super) struct Choice {
    /// The plugin's folder, or a component. Settings are those of the file NAME.toml beside it.
    #[arg(value_name = "DIR or FILE", default_value = ".")]
    plugin: PathBuf,
    /// The site whose wharf.toml gives the limits; without it they are the host's defaults.
    #[arg(long, value_name = "DIR", env = "WHARF_SITE")]
    site: Option<PathBuf>,
}

/// A component with its settings.
pub(super) struct Subject {
    pub(super) name: Name,
    /// The folder that holds the component, its settings and its cases.
    pub(super) folder: PathBuf,
    /// The folder that other files which the settings name, such as tokenizers, lie in: the site, or else the same one.
    pub(super) site: PathBuf,
    pub(super) component: Bytes,
    /// The text of its settings; empty where it has none.
    pub(super) settings: String,
    /// The host's settings of plugins.
    pub(super) config: wharf_sandbox::Config,
}

impl Choice {
    /// The folder with the plugin's source.
    ///
    /// # Errors
    /// Where a file is chosen, or a folder without a plugin.
    pub(super) fn project(&self) -> Result<Project> {
        Project::open(&self.plugin)
    }

    /// Reads the component and its settings. Says so where the component is older than its source.
    ///
    /// # Errors
    /// Where it is not there or not built; a [`wharf_core::LoadError`] where the site's configuration is wrong.
    pub(super) fn open(&self) -> Result<Subject> {
        let mut config = match &self.site {
            Some(site) => {
                let config = Config::load(site, &Overrides::default())?;
                config.check()?;
                config.plugins
            }
            None => wharf_sandbox::Config::default(),
        };
        // Nothing is tried or measured that is replaced while it runs.
        config.compile_in_tiers = false;
        let mut subject = Subject::open(&self.plugin, config)?;
        if let Some(site) = &self.site {
            subject.site = std::path::absolute(site)?;
        }
        Ok(subject)
    }
}

impl Subject {
    fn open(plugin: &Path, config: wharf_sandbox::Config) -> Result<Self> {
        let (name, file) = if plugin.is_dir() {
            let project = Project::open(plugin)?;
            let file = project.component();
            if !file.is_file() {
                bail!("{} is not built: run `wharf plugin build`", file.display());
            }
            if let Some(source) = Sources::of(&project)?.newer_than_component(&project) {
                output::notice(format_args!(
                    "wharf: {} is newer than the component: run `wharf plugin build`",
                    source.display()
                ));
            }
            (project.name, file)
        } else {
            (name_of(plugin)?, plugin.to_owned())
        };
        let component =
            fs::read(&file).with_context(|| format!("{} cannot be read", file.display()))?;
        let settings = read_settings(&file.with_extension("toml"))?;
        let file = std::path::absolute(&file)?;
        let folder = file.parent().unwrap_or(Path::new("."));
        Ok(Self {
            name,
            folder: folder.to_owned(),
            site: folder.to_owned(),
            component: component.into(),
            settings,
            config,
        })
    }
}

fn name_of(file: &Path) -> Result<Name> {
    let name = file
        .file_stem()
        .filter(|_| {
            file.extension()
                .is_some_and(|extension| extension == "wasm")
        })
        .and_then(|stem| stem.to_str())
        .with_context(|| {
            format!(
                "{} is neither a plugin's folder nor a .wasm file",
                file.display()
            )
        })?;
    Name::new(name).with_context(|| format!("{name:?} cannot be a plugin's name"))
}

/// The text of a settings file; empty where there is none.
pub(super) fn read_settings(file: &Path) -> Result<String> {
    match fs::read_to_string(file) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).with_context(|| format!("{} cannot be read", file.display())),
    }
}
