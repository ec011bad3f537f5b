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

macro_rules! abilities {
    ($($name:ident: $opened:ident,)+) => {
        /// The names of all grants, which are those of the contract's interfaces.
        pub(crate) const NAMES: &[&str] = &[$(stringify!($name)),+];

        /// What the operator grants a plugin.
        #[derive(Clone, Debug, Default)]
        pub(crate) struct Grants {
            $(pub(crate) $name: Option<$name::Grant>,)+
        }

        impl Grants {
            /// Whether this one is granted.
            pub(crate) fn has(&self, name: &str) -> bool {
                match name {
                    $(stringify!($name) => self.$name.is_some(),)+
                    _ => false,
                }
            }

            /// # Errors
            /// The dotted key and what is wrong with it.
            fn set(&mut self, name: &str, value: &Value) -> Result<(), (String, String)> {
                match name {
                    $(stringify!($name) => self.$name = read(name, value)?,)+
                    _ => {
                        let message = format!("there is no such grant: use {}", NAMES.join(", "));
                        return Err((format!("grants.{name}"), message));
                    }
                }
                Ok(())
            }
        }

        /// What a loaded plugin may use: its grants, opened.
        #[derive(Default)]
        pub(crate) struct Abilities {
            $(pub(crate) $name: Option<$name::$opened>,)+
        }
    };
}

// Each ability, and what its grant becomes when a plugin is loaded.
abilities! {
    state: State,
    model: Model,
    codec: Codec,
    http: Http,
    secret: Secret,
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
            grants.set(name, value)?;
        }
        Ok(grants)
    }

    /// The files of the site that the grants name: each is part of what the plugin is.
    pub(crate) fn files(&self) -> BTreeSet<&str> {
        let of_codec = self.codec.iter().flat_map(codec::Grant::files);
        let of_http = self.http.iter().flat_map(http::Grant::files);
        of_codec.chain(of_http).collect()
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
    pub(crate) http: http::Clients,
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
            codec: codec::Codecs::new(meter),
            http: http::Clients::new(meter),
            secret,
        })
    }
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
        let owner = release.owner.as_ref();
        let refused = |ability: &str, (key, message): (String, String)| {
            LoadError::new(format!("plugins/{plugin}.toml"), message)
                .with_key(format!("grants.{ability}.{key}"))
        };
        Ok(Self {
            state: grants.state.map(|grant| {
                let bundle = owner.map(|owner| owner.bundle.clone());
                offered.state.open(grant, (bundle, plugin))
            }),
            model: grants.model.map(|grant| offered.model.open(grant, owner)),
            codec: (grants.codec)
                .map(|grant| offered.codec.open(grant, plugin, &release.files))
                .transpose()
                .map_err(|problem| refused("codec", problem))?,
            http: (grants.http)
                .map(|grant| offered.http.open(grant, plugin, &release.files))
                .transpose()
                .map_err(|problem| refused("http", problem))?,
            secret: (grants.secret)
                .map(|grant| offered.secret.open(grant, site))
                .transpose()
                .map_err(|problem| refused("secret", problem))?,
        })
    }

    /// Whether bytes have one of the secrets in them that the plugin was granted.
    pub(crate) fn has_secret(&self, bytes: &[u8]) -> bool {
        (self.secret.as_ref()).is_some_and(|secret| secret.is_in(bytes))
    }

    /// The first bytes of a text about the plugin, up to the edge of a character, without the secrets that it was granted.
    pub(crate) fn hide<'t>(&self, text: &'t str, bytes: usize) -> Cow<'t, str> {
        match &self.secret {
            Some(secret) => secret.hide(text, bytes),
            None => Cow::Borrowed(&text[..text.floor_char_boundary(bytes)]),
        }
    }
}
