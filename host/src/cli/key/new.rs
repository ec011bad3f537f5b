//! `wharf key new`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use serde_json::json;
use wharf_gateway::{ApiKey, ApiKeyError};

use crate::cli::{output, usage_error};

/// What `--help` says at its end.
pub(super) const HELP: &str = "\
Examples:
  wharf key new --name ci --tenant acme --scope infer:digits >> SITE/api-keys.toml
  wharf key new --name ops --scope '*' --role admin --expires 2027-01-31T00:00:00Z
  wharf key new --name ci --tenant acme --scope infer --json

The key goes to standard error, and is kept nowhere: note it now. The entry goes to standard output: it has the key's SHA-256, and belongs
into the file that gateway.api_keys.file of wharf.toml names. A running server takes it up by itself.

Scopes are infer, models:read, models:write, plugins:write, routes:write and server:write, each with :NAME for one model, plugin or
route alone, or * for everything.

--json writes one line with the keys key and entry to standard output instead. More keys may come.";

/// Flags of `wharf key new`.
#[derive(Args)]
pub(super) struct New {
    /// Whose key it is: what logs and upstreams call the user.
    #[arg(long)]
    name: String,
    /// The tenant that its requests belong to. Without, it is an operator's: it sees and changes what all tenants have.
    #[arg(long)]
    tenant: Option<String>,
    /// What it may do; several are given one by one.
    #[arg(long = "scope", value_name = "SCOPE", required = true)]
    scopes: Vec<String>,
    /// What its holder is to the tenant; several are given one by one.
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// From when on it is good for nothing, such as 2027-01-31T00:00:00Z.
    #[arg(long, value_name = "TIME")]
    expires: Option<String>,
    /// Writes JSON.
    #[arg(long)]
    json: bool,
}

impl New {
    pub(super) fn run(self) -> Result<ExitCode> {
        let as_json = self.json;
        let (key, made) = ApiKey::generate(&self.name, self.tenant.as_deref())?;
        let entry = match self.entry(made) {
            Ok(entry) => entry,
            Err(message) => return usage_error(message),
        };
        if as_json {
            output::line(json!({ "key": key, "entry": entry }))?;
        } else {
            output::notice(format_args!("the key, which is kept nowhere: {key}"));
            output::text(entry.to_toml()?)?;
        }
        Ok(ExitCode::SUCCESS)
    }

    /// The entry of a key that was made, with what the flags say of it.
    ///
    /// # Errors
    /// The flag that no server would take, and why.
    fn entry(self, made: ApiKey) -> Result<ApiKey, String> {
        let entry = ApiKey {
            scopes: self.scopes,
            roles: self.roles,
            expires: self.expires,
            ..made
        };
        entry.check().map_err(|error| flag(&error))?;
        Ok(entry)
    }
}

/// Says what is wrong by the flag that it was given by.
fn flag(error: &ApiKeyError) -> String {
    let ApiKeyError { key, message } = error;
    let flag = match *key {
        "scopes" => "scope",
        "roles" => "role",
        key => key,
    };
    format!("--{flag} {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(scope: &str) -> New {
        New {
            name: "ci".to_owned(),
            tenant: Some("acme".to_owned()),
            scopes: vec![scope.to_owned()],
            roles: Vec::new(),
            expires: None,
            json: false,
        }
    }

    #[test]
    fn the_entry_has_what_was_asked_for_and_not_the_key() {
        let made = New {
            roles: vec!["admin".to_owned()],
            expires: Some("2027-01-31T00:00:00Z".to_owned()),
            ..new("infer:digits")
        };
        let (key, generated) = ApiKey::generate(&made.name, made.tenant.as_deref()).unwrap();
        let entry = made.entry(generated).unwrap();
        assert!(key.starts_with("wharf_"), "{key}");
        let text = entry.to_toml().unwrap();
        assert!(!text.contains(&key), "{text}");
        for line in [
            "[[keys]]",
            "name = \"ci\"",
            "tenant = \"acme\"",
            "scopes = [\"infer:digits\"]",
            "roles = [\"admin\"]",
            "expires = \"2027-01-31T00:00:00Z\"",
        ] {
            assert!(text.lines().any(|have| have == line), "{line}: {text}");
        }
    }

    #[test]
    fn what_no_server_would_take_is_refused_by_its_flag() {
        for (made, flag) in [
            (new("inference"), "--scope \"inference\": "),
            (
                New {
                    name: "a b".to_owned(),
                    ..new("infer")
                },
                "--name \"a b\": ",
            ),
            (
                New {
                    tenant: Some("a/b".to_owned()),
                    ..new("infer")
                },
                "--tenant \"a/b\": ",
            ),
            (
                New {
                    expires: Some("tomorrow".to_owned()),
                    ..new("infer")
                },
                "--expires \"tomorrow\" is no time",
            ),
        ] {
            let (_, generated) = ApiKey::generate(&made.name, made.tenant.as_deref()).unwrap();
            let error = made.entry(generated).unwrap_err();
            assert!(error.starts_with(flag), "{error}");
        }
        let wrong = new("inference").run().unwrap();
        assert_eq!(wrong, ExitCode::from(2), "it is a usage error");
    }
}
