//! What `docker login` and `podman login` have stored: names and passwords, or the programs that keep them.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use std::collections::BTreeMap;

/// A name and its password. It is never written anywhere.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Login {
    name: String,
    password: String,
}

/// The configuration files that may hold logins, in the order in which they are asked.
pub(crate) struct Credentials(Vec<PathBuf>);

/// A configuration file of Docker or Podman.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Stored {
    auths: BTreeMap<String, Auth>,
    creds_store: Option<String>,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Auth {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
}

/// What a program that keeps passwords answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Kept {
    username: String,
    secret: String,
}

impl Credentials {
    /// Those of the user that runs this.
    pub(crate) fn of_user() -> Self {
        let path = |variable: &str, file: &str| {
            let value = std::env::var_os(variable).filter(|value| !value.is_empty())?;
            Some(PathBuf::from(value).join(file))
        };
        let named = std::env::var_os("REGISTRY_AUTH_FILE").map(PathBuf::from);
        let files = [
            named,
            path("DOCKER_CONFIG", "config.json").or_else(|| path("HOME", ".docker/config.json")),
            path("XDG_RUNTIME_DIR", "containers/auth.json"),
        ];
        Self(files.into_iter().flatten().collect())
    }

    #[cfg(test)]
    pub(crate) fn of_file(file: PathBuf) -> Self {
        Self(vec![file])
    }

    /// The login for a registry. None where nothing is stored for it.
    ///
    /// # Errors
    /// Where a file cannot be read, or a program that keeps passwords fails.
    pub(crate) fn find(&self, host: &str) -> Result<Option<Login>> {
        for file in &self.0 {
            let text = match std::fs::read(file) {
                Ok(text) => text,
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => {
                    return Err(error).with_context(|| format!("cannot read {}", file.display()));
                }
            };
            let stored: Stored = serde_json::from_slice(&text)
                .with_context(|| format!("{} is no configuration of logins", file.display()))?;
            if let Some(login) = stored.find(host)? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

impl Stored {
    fn find(self, host: &str) -> Result<Option<Login>> {
        let names = |key: &str| same_registry(key, host);
        if let Some((key, program)) = self.cred_helpers.iter().find(|(key, _)| names(key)) {
            return ask(program, key);
        }
        let Some((key, auth)) = self.auths.into_iter().find(|(key, _)| names(key)) else {
            return Ok(None);
        };
        if let (Some(name), Some(password)) = (auth.username, auth.password) {
            return Ok(Some(Login { name, password }));
        }
        if let Some(auth) = auth.auth.filter(|auth| !auth.is_empty()) {
            return decode(&auth).map(Some);
        }
        // With a store the entry only says that there is a login.
        match self.creds_store {
            Some(program) => ask(&program, &key),
            None => Ok(None),
        }
    }
}

impl Login {
    /// The value of the field `authorization`.
    pub(crate) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.name, self.password);
        format!("Basic {}", BASE64_STANDARD.encode(pair))
    }
}

/// Whether a key is this registry. Docker writes its own as an address with a path.
fn same_registry(key: &str, host: &str) -> bool {
    let key = key.split_once("://").map_or(key, |(_, rest)| rest);
    let key = key.split('/').next().unwrap_or(key);
    let of_docker =
        |name: &str| ["docker.io", "index.docker.io", "registry-1.docker.io"].contains(&name);
    key.eq_ignore_ascii_case(host) || (of_docker(key) && of_docker(host))
}

fn decode(auth: &str) -> Result<Login> {
    let pair = BASE64_STANDARD.decode(auth).ok();
    let pair = pair.and_then(|pair| String::from_utf8(pair).ok());
    let (name, password) = pair
        .as_deref()
        .and_then(|pair| pair.split_once(':'))
        .context("a stored login is damaged: log in anew")?;
    Ok(Login {
        name: name.to_owned(),
        password: password.to_owned(),
    })
}

/// Asks the program `docker-credential-NAME`.
fn ask(program: &str, key: &str) -> Result<Option<Login>> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !program.bytes().all(valid) {
        bail!("{program:?} is no name of a credential helper");
    }
    let name = format!("docker-credential-{program}");
    let mut child = Command::new(&name)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot run {name}"))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(key.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        // It ends so where it keeps nothing for the registry.
        return Ok(None);
    }
    let kept: Kept =
        serde_json::from_slice(&output.stdout).with_context(|| format!("{name} gave no login"))?;
    Ok(Some(Login {
        name: kept.username,
        password: kept.secret,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str) -> Result<Option<String>> {
        let stored: Stored = serde_json::from_str(text)?;
        Ok(stored.find(host)?.map(|login| login.basic()))
    }

    #[test]
    fn logins_are_found_by_their_registry() {
        let text = r#"{"auths": {
            "https://index.docker.io/v1/": {"auth": "dTpw"},
            "registry.example.com": {"username": "u", "password": "p:q"},
            "empty.example.com": {}
        }, "credHelpers": {"other.example.com": "no-such-helper"}}"#;
        let basic = |pair: &str| Some(format!("Basic {}", BASE64_STANDARD.encode(pair)));
        assert_eq!(find(text, "docker.io").unwrap(), basic("u:p"));
        assert_eq!(find(text, "registry.example.com").unwrap(), basic("u:p:q"));
        assert_eq!(find(text, "empty.example.com").unwrap(), None);
        assert_eq!(find(text, "example.com").unwrap(), None);
        let error = find(text, "other.example.com").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("docker-credential-no-such-helper")
        );
        assert!(find(r#"{"auths": {"a.b": {"auth": "?"}}}"#, "a.b").is_err());
        assert!(find(r#"{"auths": {"a.b": {}}, "credsStore": "../evil"}"#, "a.b").is_err());
    }
}
