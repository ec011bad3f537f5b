//! What a plugin may use beyond log, metrics and settings, each by a grant: `[grants]` of `plugins/NAME.toml`.
//!
//! A grant is read when the plugin's settings are, opened when the plugin is loaded (files are found, secrets are read), and
//! reached from a call through [`Abilities`]. A plugin that imports what it was not granted is not loaded, so an import that
//! runs has its grant.

pub(crate) mod codec;
pub(crate) mod http;
pub(crate) mod model;
pub(crate) mod secret;
pub(crate) mod state;
mod upkeep;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use opentelemetry::metrics::Meter;
use toml::{Table, Value};
use wharf_core::{LoadError, PluginRelease};

use crate::Config;

/// The names of all grants, which are those of the contract's interfaces.
pub(crate) const NAMES: [&str; 5] = ["state", "model", "codec", "http", "secret"];

/// What the operator grants a plugin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Grants {
    pub(crate) state: Option<state::Grant>,
    pub(crate) model: Option<model::Grant>,
    pub(crate) codec: Option<codec::Grant>,
    pub(crate) http: Option<http::Grant>,
    pub(crate) secret: Option<secret::Grant>,
}

impl Grants {
    /// Reads the table `[grants]`. Each key is a grant; its value is its own table, or `true` for its defaults.
    ///
    /// # Errors
    /// The dotted key and what is wrong with it.
    pub(crate) fn parse(value: &Value) -> Result<Self, (String, String)> {
        let table = value.as_table().ok_or_else(|| {
            let message = format!(
                "must be a table of grants, such as `state = true`, out of {}",
                NAMES.join(", ")
            );
            ("grants".to_owned(), message)
        })?;
        let mut grants = Self::default();
        for (name, value) in table {
            match name.as_str() {
                "state" => grants.state = read(name, value)?,
                "model" => grants.model = read(name, value)?,
                "codec" => grants.codec = read(name, value)?,
                "http" => grants.http = read(name, value)?,
                "secret" => grants.secret = read(name, value)?,
                _ => {
                    let message = format!("there is no such grant: use {}", NAMES.join(", "));
                    return Err((format!("grants.{name}"), message));
                }
            }
        }
        Ok(grants)
    }

    /// The files of the site that the grants name: each is part of what the plugin is.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        self.codec.iter().flat_map(codec::Grant::files).collect()
    }

    /// Whether this one is granted.
    pub(crate) fn has(&self, name: &str) -> bool {
        match name {
            "state" => self.state.is_some(),
            "model" => self.model.is_some(),
            "codec" => self.codec.is_some(),
            "http" => self.http.is_some(),
            "secret" => self.secret.is_some(),
            _ => false,
        }
    }
}

/// A grant's own table, which checks itself.
pub(crate) trait Granted: serde::de::DeserializeOwned {
    /// Checks what the types do not.
    ///
    /// # Errors
    /// The key within the grant and what is wrong with it.
    fn check(&self) -> Result<(), (&'static str, String)>;
}

/// `true` is an empty table, `false` no grant.
fn read<G: Granted>(name: &str, value: &Value) -> Result<Option<G>, (String, String)> {
    let table = match value {
        Value::Boolean(false) => return Ok(None),
        Value::Boolean(true) => Table::new(),
        Value::Table(table) => table.clone(),
        _ => {
            let message = "must be a table, or `true` for its defaults".to_owned();
            return Err((format!("grants.{name}"), message));
        }
    };
    let grant: G = Value::Table(table)
        .try_into()
        .map_err(|error: toml::de::Error| {
            (format!("grants.{name}"), error.message().trim().to_owned())
        })?;
    grant
        .check()
        .map_err(|(key, message)| (format!("grants.{name}.{key}"), message))?;
    Ok(Some(grant))
}

/// What the abilities of all plugins share.
pub(crate) struct Offered {
    pub(crate) state: Arc<state::Stores>,
    pub(crate) model: model::Calls,
    pub(crate) codec: codec::Codecs,
    pub(crate) http: http::Client,
    pub(crate) secret: Arc<secret::Secrets>,
    _upkeep: upkeep::Upkeep,
}

impl Offered {
    /// # Errors
    /// Where the thread that looks after them cannot be started.
    pub(crate) fn new(config: &Config, meter: &Meter) -> std::io::Result<Self> {
        let state = Arc::new(state::Stores::new(meter));
        let secret = Arc::new(secret::Secrets::new(config));
        Ok(Self {
            _upkeep: upkeep::Upkeep::start(Arc::clone(&state), Arc::clone(&secret))?,
            state,
            model: model::Calls::default(),
            codec: codec::Codecs::default(),
            http: http::Client::new(meter),
            secret,
        })
    }
}

/// What a loaded plugin may use: its grants, opened.
#[derive(Default)]
pub(crate) struct Abilities {
    pub(crate) state: Option<state::State>,
    pub(crate) model: Option<model::Model>,
    pub(crate) codec: Option<codec::Codec>,
    pub(crate) http: Option<http::Http>,
    pub(crate) secret: Option<secret::Secret>,
}

impl Abilities {
    /// Opens what is granted to a plugin of a site.
    ///
    /// # Errors
    /// Where a grant names what is not there.
    pub(crate) fn open(
        grants: Grants,
        offered: &Offered,
        release: &PluginRelease,
    ) -> Result<Self, LoadError> {
        let (site, plugin) = (&*release.site, &release.name);
        let refused = |ability: &str, (key, message): (String, String)| {
            LoadError::new(format!("plugins/{plugin}.toml"), message)
                .with_key(format!("grants.{ability}.{key}"))
        };
        Ok(Self {
            state: grants.state.map(|grant| offered.state.open(grant, plugin)),
            model: grants.model.map(|grant| offered.model.open(grant)),
            codec: (grants.codec)
                .map(|grant| offered.codec.open(grant, &release.files))
                .transpose()
                .map_err(|problem| refused("codec", problem))?,
            http: (grants.http)
                .map(|grant| offered.http.open(grant, (site, plugin)))
                .transpose()
                .map_err(|problem| refused("http", problem))?,
            secret: (grants.secret)
                .map(|grant| offered.secret.open(grant, site))
                .transpose()
                .map_err(|problem| refused("secret", problem))?,
        })
    }

    /// The first bytes of a text about the plugin, up to the edge of a character, without the secrets that it was granted.
    pub(crate) fn hide<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        match &self.secret {
            Some(secret) => secret.hide(text, bytes),
            None => Cow::Borrowed(&text[..text.floor_char_boundary(bytes)]),
        }
    }
}
