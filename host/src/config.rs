//! The host's configuration: `wharf.toml`, overridden by the environment, overridden by flags.
//!
//! Each crate owns its section and checks it. A key that no section knows is an error, so that a misspelt one is noticed.

use std::net::SocketAddr;
use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use wharf_core::LoadError;
use wharf_sandbox::SandboxError;

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
    pub(crate) listen: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) admin_listen: Option<SocketAddr>,
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
        // Figment's own error about the syntax is a drawing of several lines.
        if let Err(error) = text.parse::<toml::Table>() {
            return Err(syntax_error(&text, &error));
        }
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
        let wrong = |key: String, message: String| LoadError::new(FILE, message).with_key(key);
        self.server.check().map_err(|error| {
            let message = format!("is {}: {}", error.value, error.rule);
            wrong(format!("server.{}", error.key), message)
        })?;
        self.serving.check()?;
        self.plugins.check().map_err(|error| match error {
            SandboxError::Setting { key, message } => wrong(format!("plugins.{key}"), message),
            error => LoadError::new(FILE, error.to_string()),
        })?;
        self.telemetry.check()
    }
}

/// `WHARF_SECTION__KEY`. Other variables that begin with `WHARF_` are flags, or somebody else's.
fn environment() -> Env {
    Env::prefixed("WHARF_")
        .filter(|name| name.as_str().contains("__"))
        .split("__")
}

fn syntax_error(text: &str, error: &toml::de::Error) -> LoadError {
    let before = error.span().and_then(|span| text.get(..span.start));
    let line = 1 + before.map_or(0, |before| before.matches('\n').count());
    LoadError::new(
        FILE,
        format!("line {line}: this is no TOML: {}", error.message()),
    )
}

/// Puts figment's error into the words of a [`LoadError`].
fn describe(error: &figment::Error) -> LoadError {
    let key = error.path.join(".");
    let what = match &error.kind {
        Kind::UnknownField(_, known) => format!("there is no such key: use {}", known.join(", ")),
        kind => kind.to_string(),
    };
    let place = error
        .metadata
        .as_ref()
        .filter(|metadata| metadata.name.contains("environment"));
    let message = match place {
        Some(_) => format!(
            "{what} (from the environment: WHARF_{})",
            error.path.join("__").to_uppercase()
        ),
        None => what,
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
    use wharf_testkit::Reference;

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
        assert_eq!(error.key.as_deref(), Some("server.listn"));
        assert!(
            error
                .message
                .starts_with("there is no such key: use listen, "),
            "{error}"
        );
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
        overrides.server.listen = Some(SocketAddr::from(([127, 0, 0, 1], 2)));
        let config = Config::load(site.path(), &overrides).unwrap();
        assert!(format!("{:?}", config.server).contains("127.0.0.1:2"));
    }

    #[test]
    fn a_value_out_of_its_range_is_named() {
        for (text, key) in [
            ("[server]\nmax_connections = 0", "server.max_connections"),
            ("[plugins]\nmax_instances = 0", "plugins.max_instances"),
            (
                "[plugins.limits]\nmemory_mb = 0",
                "plugins.limits.memory_mb",
            ),
            ("[telemetry]\nlog_filter = 'a=b=c'", "telemetry.log_filter"),
            (
                "[telemetry]\ntrace_sample_ratio = 7.0",
                "telemetry.trace_sample_ratio",
            ),
            (
                "[telemetry]\notlp_endpoint = 'nowhere'",
                "telemetry.otlp_endpoint",
            ),
        ] {
            let error = load(text).unwrap().check().unwrap_err();
            assert_eq!(error.file, FILE);
            assert_eq!(error.key.as_deref(), Some(key), "{error}");
        }
        Config::default().check().unwrap();
    }

    #[test]
    fn broken_toml_is_an_error_of_the_file() {
        let error = load("# fine\n[server\n").unwrap_err();
        assert_eq!(error.file, "wharf.toml");
        assert!(
            error.message.starts_with("line 2: this is no TOML: "),
            "{error}"
        );
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
            let error = load(&text).unwrap_err();
            let (_, known) = error.message.split_once(": use ").unwrap();
            for key in known.split(", ") {
                assert!(reference.has(section, key), "[{section}] {key} is missing");
            }
        }
    }
}
