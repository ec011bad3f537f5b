//! Where the load goes: a server's URL, and the address that it comes to.

use std::net::SocketAddr;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use hyper::Uri;
use tokio::net::{TcpStream, lookup_host};

/// A server's URL: `http://HOST[:PORT][/PREFIX]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    host: String,
    port: u16,
    prefix: String,
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
        })
    }
}

impl Target {
    /// What the header `host` says.
    pub(super) fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
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
    fn a_name_becomes_one_segment() {
        assert_eq!(segment("a/b c.1"), "a%2Fb%20c.1");
    }
}
