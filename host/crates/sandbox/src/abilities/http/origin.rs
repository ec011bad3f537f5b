//! Origins, and which of them a grant covers. Both sides are read by the parser of the URL standard, which brings upper case,
//! IDNA, percent-encoded hosts, default ports and the many ways to write an address to one form. They are compared in that form,
//! and what is compared is what is connected to.

use url::{Host, Url};

/// Scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Origin {
    secure: bool,
    host: Host<String>,
    port: u16,
}

/// An origin that a grant names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GrantedOrigin {
    origin: Origin,
    /// Whether the origin's subdomains are meant, and not the origin itself.
    subdomains: bool,
}

impl Origin {
    /// The origin of an address. A dot at the end of its host is taken off: it names the same host.
    ///
    /// # Errors
    /// What is wrong with the address.
    pub(super) fn of(url: &mut Url) -> Result<Self, &'static str> {
        let secure = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err("the scheme must be http or https"),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err("an address has no name and password: send a header field");
        }
        if let Some(Host::Domain(name)) = url.host()
            && let Some(rooted) = name.strip_suffix('.')
        {
            let rooted = rooted.to_owned();
            url.set_host(Some(&rooted))
                .map_err(|_| "the host has no name")?;
        }
        let host = url.host().ok_or("there is no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("there is no port")?;
        Ok(Self { secure, host, port })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.secure
    }
}

impl GrantedOrigin {
    /// Reads an origin of a grant: `https://api.example.com`, `http://127.0.0.1:9000`, `https://*.example.com`.
    ///
    /// # Errors
    /// A sentence that quotes the origin and says how to mend it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is no origin: {what}");
        let (exact, subdomains) = match text.split_once("://*.") {
            Some((scheme, rest)) => (format!("{scheme}://{rest}"), true),
            None => (text.to_owned(), false),
        };
        let mut url = Url::parse(&exact)
            .map_err(|_| wrong("write it as scheme://host or scheme://host:port"))?;
        let origin = Origin::of(&mut url).map_err(&wrong)?;
        // The parser takes much that is not what was meant, such as a path, or a host after a backslash.
        let after_scheme = exact.split_once("://").map_or("", |(_, rest)| rest);
        let rest = after_scheme.strip_suffix('/').unwrap_or(after_scheme);
        if rest.is_empty()
            || rest.contains(['/', '?', '#', '\\', '@', '*', '%'])
            || rest.trim() != rest
        {
            return Err(wrong(
                "it has a scheme, a host and maybe a port, and nothing else",
            ));
        }
        if subdomains {
            let several_labels = matches!(&origin.host, Host::Domain(name) if name.contains('.'));
            if !several_labels {
                return Err(wrong("`*.` stands before a domain of two labels or more"));
            }
        }
        Ok(Self { origin, subdomains })
    }

    pub(super) fn is_secure(&self) -> bool {
        self.origin.is_secure()
    }

    /// Whether the grant covers an origin.
    pub(super) fn covers(&self, origin: &Origin) -> bool {
        if !self.subdomains {
            return self.origin == *origin;
        }
        let (Host::Domain(parent), Host::Domain(name)) = (&self.origin.host, &origin.host) else {
            return false;
        };
        let below = name
            .strip_suffix(parent.as_str())
            .and_then(|rest| rest.strip_suffix('.'));
        (self.origin.secure, self.origin.port) == (origin.secure, origin.port)
            && below.is_some_and(|labels| !labels.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(granted: &str, asked: &str) -> bool {
        let granted = GrantedOrigin::parse(granted).unwrap();
        let mut url = Url::parse(asked).unwrap();
        Origin::of(&mut url).is_ok_and(|origin| granted.covers(&origin))
    }

    #[test]
    fn one_origin_has_many_spellings() {
        for asked in [
            "https://api.example.com/v1?x=1#part",
            "https://API.Example.COM",
            "HTTPS://api.example.com:443/",
            "https://api.example.com./v1",
            "https://api.ex%61mple.com",
            "https://ａｐｉ.example.com",
            "https:\\\\api.example.com\\v1",
        ] {
            assert!(covers("https://api.example.com", asked), "{asked}");
        }
        for (granted, asked) in [
            ("http://127.0.0.1:9000", "http://2130706433:9000/"),
            ("http://127.0.0.1:9000", "http://0x7f.1:9000/"),
            ("http://[::1]:9000", "http://[0:0:0:0:0:0:0:1]:9000/"),
            ("https://bücher.example", "https://xn--bcher-kva.example/"),
            ("https://API.example.com:443/", "https://api.example.com"),
        ] {
            assert!(covers(granted, asked), "{granted} {asked}");
        }
    }

    #[test]
    fn another_origin_is_not_covered() {
        for asked in [
            "http://api.example.com",
            "https://api.example.com:8443",
            "https://example.com",
            "https://v1.api.example.com",
            "https://api.example.com.evil.org",
            "https://api.example.com..",
            "https://api.example.com@evil.org/",
            "https://user@api.example.com/",
            "https://evil.org/https://api.example.com",
            "https://evil.org#@api.example.com",
            "https://api.example.com%2eevil.org/",
        ] {
            assert!(!covers("https://api.example.com", asked), "{asked}");
        }
        assert!(!covers("http://127.0.0.1", "http://[::ffff:127.0.0.1]/"));
        assert!(!covers("http://127.0.0.1", "http://localhost/"));
    }

    #[test]
    fn a_star_stands_for_subdomains_alone() {
        let granted = "https://*.example.com";
        assert!(covers(granted, "https://a.example.com"));
        assert!(covers(granted, "https://b.A.example.com./"));
        for asked in [
            "https://example.com",
            "https://.example.com",
            "https://badexample.com",
            "https://a.example.com.evil.org",
            "http://a.example.com",
            "https://a.example.com:8443",
        ] {
            assert!(!covers(granted, asked), "{asked}");
        }
    }

    #[test]
    fn what_is_no_origin_is_refused() {
        for text in [
            "example.com",
            "ftp://example.com",
            "https://",
            "https://example.com/v1",
            "https://example.com?x",
            "https://user:word@example.com",
            "https://*.com",
            "https://*.127.0.0.1",
            "https://*",
            "https://a.*.example.com",
            "https://example.com:99999",
            "https:example.com",
            "https://example.com\\v1",
            " https://example.com ",
        ] {
            let error = GrantedOrigin::parse(text).unwrap_err();
            assert!(error.contains("is no origin"), "{text}: {error}");
        }
    }
}
