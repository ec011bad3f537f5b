//! Who may ask the admin listener, by the settings.

use super::{Config, ConfigError};
use crate::access::Management;
use crate::admin::{Audience, Operators, Token};
use crate::files;

impl Config {
    /// Whoever reaches the admin listener sees what is loaded and orders reloads: others than this machine must prove themselves.
    pub(super) fn check_admin(&self) -> Result<(), ConfigError> {
        let is_local = self.admin_listen.ip().to_canonical().is_loopback();
        match (&self.admin_token, &self.admin_token_file) {
            (Some(_), Some(_)) => Err(ConfigError::new(
                "admin_token_file",
                "is set, and so is admin_token: remove one of them",
            )),
            (Some(token), None) => token.ready().map(drop).map_err(wrong_token),
            (None, None) if !is_local => {
                let message = format!(
                    "is missing, and admin_listen is {}, which others can reach: name a file with a token there, or set \
                     WHARF_SERVER__ADMIN_TOKEN, or listen on 127.0.0.1",
                    self.admin_listen
                );
                Err(ConfigError::new("admin_token_file", message))
            }
            (None, _) => Ok(()),
        }
    }

    /// Who may ask the admin listener: whoever reaches it. A page in a browser of this machine reaches it as well, under a name of
    /// its own, but knows no token.
    pub(crate) fn admin_audience(&self) -> Audience {
        let is_local = self.admin_listen.ip().to_canonical().is_loopback();
        let asks_for_token = self.admin_token.is_some() || self.admin_token_file.is_some();
        let rest = match is_local && !asks_for_token {
            true => Management::ThisMachine,
            false => Management::Everybody,
        };
        let metrics = match self.admin_open_metrics {
            true => Management::Everybody,
            false => rest,
        };
        Audience { metrics, rest }
    }

    /// Who proves to be an operator on the admin listener; none where that is everybody who reaches it. Reads the token's file.
    pub(crate) fn operators(&self) -> Result<Option<Operators>, ConfigError> {
        let operators = match (&self.admin_token, &self.admin_token_file) {
            (Some(token), _) => token.ready().map_err(wrong_token)?,
            (None, Some(path)) => {
                let wrong = |message: String| ConfigError::new("admin_token_file", message);
                let content = files::read(path).map_err(wrong)?;
                // What is no text is no token, either.
                let token = Token::from(String::from_utf8_lossy(&content).into_owned());
                token.ready().map_err(|rule| wrong(rule.to_owned()))?
            }
            (None, None) => return Ok(None),
        };
        Ok(Some(match self.admin_open_metrics {
            true => operators.leaving_open(&["/metrics"]),
            false => operators,
        }))
    }
}

fn wrong_token(rule: &'static str) -> ConfigError {
    ConfigError::new("admin_token", rule)
}
