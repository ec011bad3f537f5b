//! Where the load goes: a server's URL, the address that it comes to, and what it asks of every request.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use hyper::Uri;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TE, TRANSFER_ENCODING,
    USER_AGENT,
};
use tokio::net::{TcpStream, lookup_host};

/// A server's URL: `http://HOST[:PORT][/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    prefix: String,
    fields: Vec<Field>,
}

/// A header field of every request.
pub(super) type Field = (HeaderName, HeaderValue);

/// Names that a request or its connection sets itself.
const OWN: [HeaderName; 7] = [
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    HOST,
    TE,
    TRANSFER_ENCODING,
    USER_AGENT,
];

/// Reads header fields: `NAME: VALUE`, or `@FILE` with a field a line.
///
/// # Errors
/// Where it is none; since a value may be a secret, no error repeats it.
pub(super) fn header_fields(text: &str) -> Result<Vec<Field>, String> {
    let lines = match text.strip_prefix('@') {
        None => text.to_owned(),
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| format!("cannot read {file}: {error}"))?
        }
    };
    let lines = lines.lines().filter(|line| !line.trim().is_empty());
    lines.map(header_field).collect()
}

fn header_field(line: &str) -> Result<Field, String> {
    let field = || {
        let (name, value) = line.split_once(':')?;
        let mut value = HeaderValue::from_str(value.trim()).ok()?;
        value.set_sensitive(true);
        Some((name.trim().parse::<HeaderName>().ok()?, value))
    };
    match field() {
        Some((name, _)) if OWN.contains(&name) => {
            Err(format!("the field {name} is the request's own"))
        }
        Some(field) => Ok(field),
        None => Err("give a field as \"NAME: VALUE\", or a file of such lines as @FILE".to_owned()),
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let uri: Uri = text
            .parse()
            .map_err(|error| format!("no URL ({error}): give http://HOST:PORT"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(
                    "https is not spoken here: measure the http port behind the proxy".to_owned(),
                );
            }
            _ => return Err("the URL begins with http://".to_owned()),
        }
        if uri.query().is_some() {
            return Err("the URL has no query: give http://HOST:PORT".to_owned());
        }
        let host = uri.host().filter(|host| !host.is_empty());
        Ok(Self {
            host: host.ok_or("the URL names no host")?.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            fields: Vec::new(),
        })
    }
}

impl Target {
    /// What the header `host` says.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Adds fields to every request.
    pub(super) fn add(&mut self, fields: Vec<Field>) {
        self.fields.extend(fields);
    }

    /// What every request has in its header.
    pub(super) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// A path on the server.
    pub(super) fn path(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// The first of the host's addresses that takes a connection.
    ///
    /// # Errors
    /// Where the host has no address, or none takes one.
    pub(super) async fn reach(&self) -> Result<SocketAddr> {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        let addresses: Vec<_> = lookup_host((host, self.port))
            .await
            .with_context(|| format!("the host {host} has no address"))?
            .collect();
        let mut refused = None;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(_) => return Ok(address),
                Err(error) => refused = Some(error),
            }
        }
        match refused {
            Some(error) => Err(error)
                .with_context(|| format!("no server answers at {self}: start it, or mend --url")),
            None => bail!("the host {host} has no address"),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}:{}{}", self.host, self.port, self.prefix)
    }
}

/// Writes a name so that it is one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            segment.push(char::from(byte));
        } else {
            segment.push_str(&format!("%{byte:02X}"));
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart() {
        let target: Target = "http://[::1]:8080/behind/".parse().unwrap();
        assert_eq!(target.authority(), "[::1]:8080");
        assert_eq!(target.path("/v2"), "/behind/v2");
        assert_eq!(target.to_string(), "http://[::1]:8080/behind");
        let target: Target = "http://server".parse().unwrap();
        assert_eq!(
            (target.authority(), target.path("/v2")),
            ("server:80".into(), "/v2".into())
        );
    }

    #[test]
    fn what_is_no_url_says_what_to_give() {
        for (text, hint) in [
            ("127.0.0.1:8080", "http://"),
            ("https://server", "https"),
            ("http://server/?a=b", "query"),
            ("ftp://server", "http://"),
            ("not a url", "http://"),
        ] {
            let error = text.parse::<Target>().unwrap_err();
            assert!(error.contains(hint), "{text}: {error}");
        }
    }

    #[test]
    fn fields_are_read_from_the_flag_and_from_a_file() {
        let mut target: Target = "http://server".parse().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "X-A: 1\n\nx-a:2 \n").unwrap();
        for fields in [
            "authorization: Bearer a:b",
            &format!("@{}", file.path().display()),
        ] {
            target.add(header_fields(fields).unwrap());
        }
        let fields: Vec<_> = target
            .fields()
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        let expected = [("authorization", "Bearer a:b"), ("x-a", "1"), ("x-a", "2")];
        assert_eq!(fields, expected);
        for wrong in [
            "secret",
            "a b: secret",
            "a: secret\u{7f}",
            "Host: secret",
            "@/none",
        ] {
            let error = header_fields(wrong).unwrap_err();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_name_becomes_one_segment() {
        assert_eq!(segment("a/b c.1"), "a%2Fb%20c.1");
    }
}
