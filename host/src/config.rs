//! The host's configuration: `wharf.toml`, overridden by the environment, overridden by flags.
//!
//! Each crate owns its section and checks it. A key that no section knows is an error, so that a misspelt one is noticed.

use std::net::SocketAddr;
use std::path::Path;

use figment::Figment;
use figment::error::Kind;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use wharf_artifacts::OpenError;
use wharf_core::LoadError;
use wharf_gateway::{Access, Gateway};
use wharf_sandbox::SandboxError;
use wharf_server::ConfigError;

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
    /// Who may send requests, and how much.
    pub(crate) gateway: wharf_gateway::Config,
    /// The artifacts of models.
    pub(crate) artifacts: wharf_artifacts::Config,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) management: Option<bool>,
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

    /// Checks the files that settings name: certificates, keys and tokens of the listeners, key sets and API keys of the gateway.
    /// Nothing is fetched.
    ///
    /// # Errors
    /// Names the first setting whose file cannot be used.
    pub(crate) fn check_files(&self, site: &Path) -> Result<(), LoadError> {
        let settings = self.server.clone().in_site(site);
        settings.check_files().map_err(of_server)?;
        Gateway::check(&self.gateway, site)
    }

    /// Checks what the types do not: ranges.
    ///
    /// # Errors
    /// Names the first setting that is out of its range.
    pub(crate) fn check(&self) -> Result<(), LoadError> {
        self.server.check().map_err(of_server)?;
        let wrong = |key: String, message: String| LoadError::new(FILE, message).with_key(key);
        self.serving.check()?;
        self.plugins.check().map_err(|error| match error {
            SandboxError::Setting { key, message } => wrong(format!("plugins.{key}"), message),
            error => LoadError::new(FILE, error.to_string()),
        })?;
        self.gateway.check()?;
        let is_local = self.server.listen.ip().to_canonical().is_loopback();
        if self.gateway.auth == Access::None && !is_local {
            let message = "nobody is asked who they are, and server.listen is an address that other machines reach: set auth to \
                \"required\" with [[gateway.issuers]] or [gateway.api_keys], or to \"trusted-network\" where something before this \
                server lets only those through who may, or listen on 127.0.0.1";
            return Err(wrong("gateway.auth".to_owned(), message.to_owned()));
        }
        self.artifacts.check().map_err(|error| match error {
            OpenError::Setting { key, message } => wrong(format!("artifacts.{key}"), message),
            error => LoadError::new(FILE, error.to_string()),
        })?;
        self.telemetry.check()
    }
}

/// A setting of the listeners that cannot be used.
pub(crate) fn of_server(error: ConfigError) -> LoadError {
    LoadError::new(FILE, error.message).with_key(format!("server.{}", error.key))
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
            (
                "[server]\nadmin_listen = '0.0.0.0:9090'",
                "server.admin_token_file",
            ),
            (
                "[server.cors]\norigins = ['*']\ncredentials = true",
                "server.cors.credentials",
            ),
            (
                "[server.tls]\ncertificate = 'a'\nkey = 'b'\nclient_auth = 'required'",
                "server.tls.client_ca",
            ),
            ("[plugins]\nmax_instances = 0", "plugins.max_instances"),
            (
                "[plugins.limits]\nmemory_mb = 0",
                "plugins.limits.memory_mb",
            ),
            ("[artifacts]\nmax_bytes = 0", "artifacts.max_bytes"),
            ("[artifacts]\nurl = 'nowhere'", "artifacts.url"),
            ("[telemetry]\nlog_filter = 'a=b=c'", "telemetry.log_filter"),
            (
                "[telemetry]\ntrace_sample_ratio = 7.0",
                "telemetry.trace_sample_ratio",
            ),
            (
                "[telemetry]\notlp_endpoint = 'nowhere'",
                "telemetry.otlp_endpoint",
            ),
            ("[gateway]\nauth = 'required'", "gateway.auth"),
            (
                "[[gateway.issuers]]\naudience = 'wharf'",
                "gateway.issuers[0].issuer",
            ),
        ] {
            let error = load(text).unwrap().check().unwrap_err();
            assert_eq!(error.file, FILE);
            assert_eq!(error.key.as_deref(), Some(key), "{error}");
        }
        Config::default().check().unwrap();
    }

    #[test]
    fn a_server_that_others_reach_asks_who_they_are() {
        let check = |listen: &str, gateway: &str| {
            let text = format!("[server]\nlisten = '{listen}'\n[gateway]\n{gateway}");
            load(&text).unwrap().check()
        };
        for listen in ["0.0.0.0:80", "[::]:80", "10.0.0.1:80"] {
            let error = check(listen, "").unwrap_err();
            assert_eq!(error.key.as_deref(), Some("gateway.auth"), "{error}");
            check(listen, "auth = 'trusted-network'").unwrap();
            check(listen, "auth = 'required'\napi_keys.file = 'keys.toml'").unwrap();
        }
        for listen in ["127.0.0.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80"] {
            check(listen, "").unwrap();
        }
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
            "server.tls",
            "server.admin_tls",
            "server.cors",
            "server.access_log",
            "serving",
            "plugins",
            "plugins.limits",
            "models",
            "artifacts",
            "telemetry",
            "gateway",
            "gateway.issuers",
            "gateway.api_keys",
            "gateway.plans.free",
            "gateway.plans.free.models.digits",
            "gateway.tenants.acme",
            "gateway.quota",
        ] {
            let text = match section {
                "" => "no-such-key = 1".to_owned(),
                "gateway.issuers" => format!("[[{section}]]\nno-such-key = 1"),
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
