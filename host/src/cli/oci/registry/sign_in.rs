//! Signing in: with name and password, or with a token that another server gives for them.

use anyhow::{Context, Result, bail};
use http::{HeaderValue, Method, StatusCode, header};
use serde::Deserialize;
use url::Url;

use super::super::credentials::Credentials;
use super::super::reference::Reference;
use super::transport::{Message, Transport};

/// The largest answer with a token.
const TOKEN_BYTES: usize = 256 << 10;

/// What signs messages in, once the registry asked for it.
pub(super) struct SignIn {
    credentials: Credentials,
    value: Option<HeaderValue>,
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

impl SignIn {
    pub(super) fn new(credentials: Credentials) -> Self {
        Self {
            credentials,
            value: None,
        }
    }

    /// The value of the field `authorization`.
    pub(super) fn value(&self) -> Option<HeaderValue> {
        self.value.clone()
    }

    /// Does what a registry asks for in `www-authenticate`.
    pub(super) async fn answer(
        &mut self,
        asked: &[&str],
        (reference, writes): (&Reference, bool),
        transport: &Transport,
    ) -> Result<()> {
        let login = self.credentials.find(&reference.host)?;
        let bearer = asked.iter().find_map(|asked| parameters(asked, "bearer"));
        let value = if let Some(parameters) = bearer {
            let find = |name: &str| {
                let found = parameters
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name));
                found.map(|(_, value)| value.as_str())
            };
            let realm = find("realm").context("the registry does not say where tokens are")?;
            let mut url = Url::parse(realm).context("the registry names no address for tokens")?;
            let actions = if writes { "pull,push" } else { "pull" };
            let scope = format!("repository:{}:{actions}", reference.name);
            url.query_pairs_mut().append_pair("scope", &scope);
            if let Some(service) = find("service") {
                url.query_pairs_mut().append_pair("service", service);
            }
            let mut message = Message::new(Method::GET, url);
            if let Some(login) = &login {
                message = message.with(header::AUTHORIZATION, &login.basic())?;
            }
            let answer = transport.send(message, TOKEN_BYTES).await?;
            if answer.status != StatusCode::OK {
                bail!(
                    "the registry gives no token: {}; log in with `docker login` or `podman login`",
                    answer.status
                );
            }
            let token: Token =
                serde_json::from_slice(&answer.body).context("the registry gives no token")?;
            let token = token
                .token
                .or(token.access_token)
                .context("the registry gives no token")?;
            format!("Bearer {token}")
        } else if asked
            .iter()
            .any(|asked| parameters(asked, "basic").is_some())
        {
            let login = login.with_context(|| {
                format!(
                    "{} wants a login: use `docker login` or `podman login`",
                    reference.host
                )
            })?;
            login.basic()
        } else {
            bail!("the registry asks for a way to sign in that is not known here");
        };
        let mut value = HeaderValue::from_str(&value).context("the token cannot be sent")?;
        value.set_sensitive(true);
        self.value = Some(value);
        Ok(())
    }
}

/// The parameters of a challenge of this scheme, such as `Bearer realm="...",service="..."`.
fn parameters(challenge: &str, scheme: &str) -> Option<Vec<(String, String)>> {
    let (given, mut rest) = challenge.split_once(' ').unwrap_or((challenge, ""));
    if !given.eq_ignore_ascii_case(scheme) {
        return None;
    }
    let mut found = Vec::new();
    while let Some((key, after)) = rest.split_once('=') {
        let key = key.trim_start_matches([',', ' ']).trim_end().to_owned();
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => after.split_once(',').unwrap_or((after, "")),
        };
        found.push((key, value.to_owned()));
        rest = after;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_read() {
        let given = r#"Bearer realm="https://auth.example.com/token?a=b", service="registry", scope="repository:a/b:pull,push",error=x"#;
        let read = parameters(given, "bearer").unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            read,
            [
                pair("realm", "https://auth.example.com/token?a=b"),
                pair("service", "registry"),
                pair("scope", "repository:a/b:pull,push"),
                pair("error", "x"),
            ]
        );
        assert_eq!(parameters("Basic realm=\"x\"", "bearer"), None);
        assert_eq!(parameters("Basic", "basic"), Some(Vec::new()));
    }
}
