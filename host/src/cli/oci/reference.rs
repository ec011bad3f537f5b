//! The name of an artifact: `HOST[:PORT]/NAME[:TAG][@sha256:DIGEST]`.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// Where an artifact is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The registry, with its port where it has one.
    pub(crate) host: String,
    /// The repository in the registry.
    pub(crate) name: String,
    tag: Option<String>,
    digest: Option<String>,
}

impl Reference {
    /// What the manifest is asked for by: the digest where there is one, else the tag.
    pub(crate) fn version(&self) -> &str {
        self.digest().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// The digest that the manifest must have.
    pub(crate) fn digest(&self) -> Option<&str> {
        self.digest.as_deref()
    }

    /// The last part of the repository's name.
    pub(crate) fn last_part(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }

    /// Whether the registry is on this machine, and so asked in plain HTTP.
    pub(crate) fn is_local(&self) -> bool {
        let name = match self.host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => &self.host,
        };
        let address = name.trim_start_matches('[').trim_end_matches(']');
        name == "localhost"
            || address
                .parse()
                .is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The server that is asked. Docker's registry has another name than what people write.
    pub(crate) fn server(&self) -> String {
        let scheme = if self.is_local() { "http" } else { "https" };
        match self.host.as_str() {
            "docker.io" | "index.docker.io" => "https://registry-1.docker.io".to_owned(),
            host => format!("{scheme}://{host}"),
        }
    }
}

impl FromStr for Reference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| format!("{text:?} is no reference: {what}");
        let rest = text.strip_prefix("oci://").unwrap_or(text);
        let (host, path) = rest
            .split_once('/')
            .ok_or_else(|| wrong("write it as HOST/NAME:TAG"))?;
        let known = host == "localhost" || host.contains(['.', ':']);
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b".-:[]".contains(&byte);
        if !known || !host.bytes().all(valid) {
            return Err(wrong(
                "it begins with the registry, such as registry.example.com or localhost:5000",
            ));
        }
        let (path, digest) = match path.split_once('@') {
            Some((path, digest)) if is_digest(digest) => (path, Some(digest.to_owned())),
            Some(_) => {
                return Err(wrong(
                    "a digest is sha256: and 64 hexadecimal digits in lower case",
                ));
            }
            None => (path, None),
        };
        let (name, tag) = match path.split_once(':') {
            Some((name, tag)) if is_tag(tag) => (name, Some(tag.to_owned())),
            Some(_) => {
                return Err(wrong(
                    "a tag has up to 128 letters, digits, `_`, `.` and `-`",
                ));
            }
            None => (path, None),
        };
        if !name.split('/').all(is_part) || name.len() > 255 {
            return Err(wrong(
                "parts of a name have lower-case letters and digits, and `.`, `_` or `-` between",
            ));
        }
        Ok(Self {
            host: host.to_ascii_lowercase(),
            name: name.to_owned(),
            tag,
            digest,
        })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(f, "@{digest}"),
            None if self.tag.is_none() => f.write_str(":latest"),
            None => Ok(()),
        }
    }
}

/// Whether this is a digest that is checked here.
pub(crate) fn is_digest(text: &str) -> bool {
    let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.strip_prefix("sha256:"))
        .is_some_and(|digits| digits.len() == 64 && digits.bytes().all(digit))
}

fn is_tag(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&text.len()) && text.bytes().all(inner) && !text.starts_with(['.', '-'])
}

fn is_part(text: &str) -> bool {
    let edge = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let bytes = text.as_bytes();
    let inner =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-".contains(byte);
    edge(bytes.first()) && edge(bytes.last()) && bytes.iter().all(inner) && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        for (text, host, version, server) in [
            (
                "localhost:5000/top-k",
                "localhost:5000",
                "latest",
                "http://localhost:5000",
            ),
            (
                "oci://Registry.example.com/a/b.c/d:1.2",
                "registry.example.com",
                "1.2",
                "https://registry.example.com",
            ),
            (
                "docker.io/user/plugin:v1",
                "docker.io",
                "v1",
                "https://registry-1.docker.io",
            ),
            ("[::1]:5000/a:b", "[::1]:5000", "b", "http://[::1]:5000"),
        ] {
            let reference: Reference = text.parse().unwrap();
            assert_eq!(
                (reference.host.as_str(), reference.version()),
                (host, version),
                "{text}"
            );
            assert_eq!(reference.server(), server);
        }
        let pinned: Reference = format!("a.b/c:1@{digest}").parse().unwrap();
        assert_eq!(
            (pinned.version(), pinned.digest()),
            (digest.as_str(), Some(digest.as_str()))
        );
        assert_eq!(pinned.to_string(), format!("a.b/c:1@{digest}"));
        assert_eq!(
            "a.b/x/c".parse::<Reference>().unwrap().to_string(),
            "a.b/x/c:latest"
        );
    }

    #[test]
    fn what_is_no_reference_is_refused() {
        for text in [
            "top-k",
            "plugins/top-k",
            "a.b/",
            "a.b/C",
            "a.b/c:",
            "a.b/c:-x",
            "a.b/../c",
            "a.b/c@sha256:12",
            "a.b/c@md5:12",
            "a.b/c//d",
            "user@a.b/c",
            "a.b?x/c",
            "a.b/c d",
            "https://a.b/c",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
