//! The addresses of endpoints.

use std::sync::Arc;

use http::Uri;
use url::Url;

use super::Protocol;

/// Where an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    url: Url,
    /// Host and port: what the endpoint is called in metrics and logs.
    authority: Arc<str>,
}

impl Address {
    /// Reads the address of an endpoint.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(text: &str, protocol: Protocol) -> Result<Self, String> {
        let url = Url::parse(text)
            .map_err(|error| format!("is no address ({error}); write http://HOST:PORT"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("begins with http:// or https://".to_owned());
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err("names a host: http://HOST:PORT".to_owned());
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(
                "has a user in it; where the peer wants credentials, use a client certificate"
                    .to_owned(),
            );
        }
        if url.fragment().is_some() || (url.query().is_some() && protocol != Protocol::Http) {
            return Err("has a query or a fragment; leave it out".to_owned());
        }
        if protocol == Protocol::OipGrpc && url.path() != "/" {
            return Err("has a path, and gRPC has none; leave it out".to_owned());
        }
        let port = url.port_or_known_default().unwrap_or_default();
        let authority = format!("{host}:{port}").into();
        let address = Self { url, authority };
        // So that no request fails for it.
        address.uri(&[]).ok_or("is no address of HTTP")?;
        Ok(address)
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &Arc<str> {
        &self.authority
    }

    /// The address with these parts after its path, each encoded; with none, as it was written.
    pub(crate) fn uri(&self, parts: &[&str]) -> Option<Uri> {
        let mut url = self.url.clone();
        if !parts.is_empty() {
            url.path_segments_mut().ok()?.pop_if_empty().extend(parts);
        }
        url.as_str().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_encoded_and_never_lead_elsewhere() {
        let address = Address::parse("http://peer:81/base/", Protocol::OipHttp).unwrap();
        let uri = address.uri(&["v2", "models", "a/../b ?#"]).unwrap();
        assert_eq!(
            uri.to_string(),
            "http://peer:81/base/v2/models/a%2F..%2Fb%20%3F%23"
        );
        assert_eq!(&**address.authority(), "peer:81");
        let service = Address::parse("https://peer/score?a=1", Protocol::Http).unwrap();
        assert_eq!(service.uri(&[]).unwrap(), "https://peer/score?a=1");
        assert_eq!(&**service.authority(), "peer:443");
    }

    #[test]
    fn what_is_no_address_of_an_endpoint_is_refused() {
        for (text, protocol) in [
            ("peer:80", Protocol::OipHttp),
            ("ftp://peer", Protocol::OipHttp),
            ("http://", Protocol::OipHttp),
            ("http://user:secret@peer", Protocol::OipHttp),
            ("http://peer/?a", Protocol::OipHttp),
            ("http://peer/#a", Protocol::Http),
            ("http://peer/base", Protocol::OipGrpc),
        ] {
            assert!(Address::parse(text, protocol).is_err(), "{text}");
        }
    }
}
