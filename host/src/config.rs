//! The host's configuration: `wharf.toml`, overridden by the environment, overridden by flags.
//!
//! Each crate owns its section and checks it. A key that no section knows is an error, so that a misspelt one is noticed.

use std::path::Path;

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use wharf_core::LoadError;

/// The name of the file in the site folder.
pub(crate) const FILE: &str = "wharf.toml";

/// Everything that `wharf.toml` may hold. Every key is optional.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Listeners and limits of connections and requests.
    pub(crate) server: wharf_server::Config,
    /// Routes, watching and reload.
    pub(crate) serving: wharf_serving::Config,
    /// Default limits of plugins, their pool, and the cache of compiled components.
    pub(crate) plugins: wharf_sandbox::Config,
    /// ONNX Runtime, and defaults of models.
    pub(crate) models: wharf_engine::Config,
    /// Logs and traces.
    pub(crate) telemetry: crate::telemetry::Config,
}

/// What flags say; each is laid over the file and the environment.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Overrides {
    pub(crate) server: ServerOverrides,
    pub(crate) telemetry: TelemetryOverrides,
    pub(crate) models: ModelOverrides,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ServerOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) listen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_listen: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct TelemetryOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) log_format: Option<crate::telemetry::LogFormat>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct ModelOverrides {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) onnxruntime: Option<std::path::PathBuf>,
}

impl Config {
    /// Reads the configuration of a site.
    ///
    /// # Errors
    /// Where the site is no folder, the file cannot be read, or a key or value is wrong: with the key, and whether the
    /// file or the environment has it.
    pub(crate) fn load(site: &Path, overrides: &Overrides) -> Result<Self, LoadError> {
        if !site.is_dir() {
            return Err(LoadError::new(
                site.display().to_string(),
                "the site is no folder: give one with --site, such as examples/quickstart",
            ));
        }
        let text = match std::fs::read_to_string(site.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(LoadError::new(FILE, "the file cannot be read").with_source(error));
            }
        };
        Figment::new()
            .merge(Toml::string(&text))
            .merge(environment())
            .merge(Serialized::defaults(overrides))
            .extract()
            .map_err(|error| describe(&error))
    }

    /// Checks what the types do not: ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.server
            .check()
            .map_err(|error| LoadError::new(FILE, error.to_string()))?;
        self.serving.check()
    }
}

/// `WHARF_SECTION__KEY`. Other variables that begin with `WHARF_` are flags, or somebody else's.
fn environment() -> Env {
    Env::prefixed("WHARF_")
        .filter(|name| name.as_str().contains("__"))
        .split("__")
}

/// Puts figment's error into the words of a [`LoadError`].
fn describe(error: &figment::Error) -> LoadError {
    let key = error.path.join(".");
    let place = error
        .metadata
        .as_ref()
        .filter(|metadata| metadata.name.contains("environment"));
    let message = match place {
        Some(_) => format!(
            "{} (from the environment: WHARF_{})",
            error.kind,
            error.path.join("__").to_uppercase()
        ),
        None => error.kind.to_string(),
    };
    let problem = LoadError::new(FILE, message);
    if key.is_empty() {
        problem
    } else {
        problem.with_key(key)
    }
}

#[cfg(test)]
mod tests {
    use wharf_testkit::{Reference, known_keys};

    use super::*;

    fn load(text: &str) -> Result<Config, LoadError> {
        let site = tempfile::tempdir().unwrap();
        std::fs::write(site.path().join(FILE), text).unwrap();
        Config::load(site.path(), &Overrides::default())
    }

    #[test]
    fn no_file_is_no_error() {
        let site = tempfile::tempdir().unwrap();
        assert!(Config::load(site.path(), &Overrides::default()).is_ok());
    }

    #[test]
    fn a_misspelt_key_is_named() {
        let error = load("[server]\nlistn = \"127.0.0.1:0\"\n").unwrap_err();
        assert_eq!(error.file, "wharf.toml");
        assert!(error.to_string().contains("listn"), "{error}");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let site = tempfile::tempdir().unwrap();
        std::fs::write(
            site.path().join(FILE),
            "[server]\nlisten = \"127.0.0.1:1\"\n",
        )
        .unwrap();
        let mut overrides = Overrides::default();
        overrides.server.listen = Some("127.0.0.1:2".into());
        let config = Config::load(site.path(), &overrides).unwrap();
        assert!(format!("{:?}", config.server).contains("127.0.0.1:2"));
    }

    #[test]
    fn broken_toml_is_an_error_of_the_file() {
        let error = load("[server\n").unwrap_err();
        assert_eq!(error.file, "wharf.toml");
    }

    const REFERENCE: &str = include_str!("../reference/wharf.toml");

    #[test]
    fn the_reference_gives_the_defaults() {
        assert_eq!(
            format!("{:?}", load(REFERENCE).unwrap()),
            format!("{:?}", Config::default())
        );
    }

    #[test]
    fn the_reference_has_every_key() {
        let reference = Reference::new(REFERENCE);
        load(reference.text()).unwrap();
        for section in [
            "",
            "server",
            "serving",
            "plugins",
            "plugins.limits",
            "models",
            "telemetry",
        ] {
            let text = match section {
                "" => "no-such-key = 1".to_owned(),
                section => format!("[{section}]\nno-such-key = 1"),
            };
            let error = load(&text).unwrap_err().to_string();
            for key in known_keys(&error) {
                assert!(reference.has(section, key), "[{section}] {key} is missing");
            }
        }
    }
}
