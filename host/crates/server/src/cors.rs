//! Cross-Origin Resource Sharing: which pages of other sites a browser lets read the answers (Fetch standard, 3.2).
//!
//! Written here and not taken as a layer of `tower-http`: inference does not go through the router, and needs no more than a
//! look for one header field.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use serde::Deserialize;
use wharf_core::{Error, ErrorKind};

use crate::config::ConfigError;

/// What scripts may read of an answer's header beside what they always may.
const EXPOSED: &str = "accept-ranges, content-range, etag, idempotency-replayed, inference-header-content-length, location, \
     preference-applied, ratelimit, ratelimit-policy, repr-digest, retry-after, upload-complete, upload-length, upload-offset, x-request-id";
/// Browsers cut longer ones down.
const MAX_AGE_S: u64 = 86_400;

/// Which pages of other sites may use the public listener: the table `[server.cors]`. None, unless `origins` names them.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CorsConfig {
    /// The sites, such as `https://app.example`, or `*` alone for all. Those that are named may also change the server where
    /// their users may.
    pub origins: Vec<String>,
    /// The methods that their pages may use.
    pub methods: Vec<String>,
    /// The header fields that their pages may send.
    pub headers: Vec<String>,
    /// How long a browser may keep what it was told, in seconds.
    pub max_age_s: u64,
    /// Whether browsers send cookies and client certificates along. Never with `*`.
    pub credentials: bool,
}

impl Default for CorsConfig {
    fn default() -> Self {
        let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Self {
            origins: Vec::new(),
            methods: texts(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]),
            headers: texts(&[
                "authorization",
                "content-digest",
                "content-encoding",
                "content-type",
                "idempotency-key",
                "if-match",
                "if-none-match",
                "if-range",
                "inference-header-content-length",
                "prefer",
                "range",
                "repr-digest",
                "traceparent",
                "upload-offset",
                "x-api-key",
                "x-request-id",
            ]),
            max_age_s: 600,
            credentials: false,
        }
    }
}

impl CorsConfig {
    /// Makes what the settings say; nothing where no page of another site is to be let in.
    ///
    /// # Errors
    /// Names the first setting that cannot be used.
    pub(crate) fn ready(&self) -> Result<Option<Cors>, ConfigError> {
        let wrong = |key: &str, message: String| ConfigError::new(format!("cors.{key}"), message);
        let origins = self.allowed()?;
        let mut methods = self.methods.iter();
        if let Some(method) = methods.find(|method| Method::from_bytes(method.as_bytes()).is_err())
        {
            return Err(wrong(
                "methods",
                format!("has {method:?}, which is no method"),
            ));
        }
        let mut fields = self.headers.iter();
        if let Some(field) = fields.find(|field| HeaderName::from_bytes(field.as_bytes()).is_err())
        {
            let message = format!("has {field:?}, which is no header field");
            return Err(wrong("headers", message));
        }
        if self.max_age_s > MAX_AGE_S {
            let message = format!("is {}: use 0 to {MAX_AGE_S} (a day)", self.max_age_s);
            return Err(wrong("max_age_s", message));
        }
        if self.credentials && matches!(origins, Origins::All) {
            let message = "is true although origins is \"*\": name the sites whose pages may act for their users";
            return Err(wrong("credentials", message.to_owned()));
        }
        if matches!(&origins, Origins::These(these) if these.is_empty()) {
            return Ok(None);
        }
        let list = |key: &str, texts: &[String]| {
            HeaderValue::from_str(&texts.join(", "))
                .map_err(|_| wrong(key, "cannot be written in a header field".to_owned()))
        };
        Ok(Some(Cors {
            origins,
            methods: list("methods", &self.methods)?,
            headers: list("headers", &self.headers)?,
            max_age: HeaderValue::from(self.max_age_s),
            credentials: self.credentials,
        }))
    }

    fn allowed(&self) -> Result<Origins, ConfigError> {
        let wrong = |message: String| ConfigError::new("cors.origins", message);
        if self.origins == ["*"] {
            return Ok(Origins::All);
        }
        let these = self.origins.iter().map(|origin| {
            if origin == "*" {
                return Err(wrong("has \"*\" beside others: name it alone".to_owned()));
            }
            if !is_origin(origin) {
                let message = format!(
                    "has {origin:?}: write an origin as browsers do, in lower case and without a path, such as \
                     https://app.example or http://localhost:3000"
                );
                return Err(wrong(message));
            }
            HeaderValue::from_str(origin).map_err(|error| wrong(error.to_string()))
        });
        these.collect::<Result<_, _>>().map(Origins::These)
    }
}

/// Whether a text is an origin as browsers serialise it: scheme, host, and a port that is not the scheme's own.
fn is_origin(text: &str) -> bool {
    let Some((scheme, site)) = text.split_once("://") else {
        return false;
    };
    let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_lowercase());
    let own_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    let has_own_port = !own_port.is_empty() && site.ends_with(own_port);
    let is_site = site
        .parse::<Authority>()
        .is_ok_and(|authority| !authority.host().is_empty() && !site.contains('@'));
    is_scheme && is_site && !has_own_port && site == site.to_ascii_lowercase()
}

/// Which pages of other sites may use a listener, and how.
#[derive(Clone, Debug)]
pub(crate) struct Cors {
    origins: Origins,
    methods: HeaderValue,
    headers: HeaderValue,
    max_age: HeaderValue,
    credentials: bool,
}

#[derive(Clone, Debug)]
enum Origins {
    All,
    These(Vec<HeaderValue>),
}

/// What a request is to a listener that other sites' pages may use.
#[derive(Debug)]
pub(crate) struct Crossing {
    /// The origin that its page may be told; none where it has none, or another one.
    allowed: Option<HeaderValue>,
    /// Whether a browser asks before it sends the request itself.
    pub(crate) is_preflight: bool,
}

impl Cors {
    /// Says what a request is.
    pub(crate) fn crossing(&self, method: &Method, headers: &HeaderMap) -> Crossing {
        let origin = headers.get(ORIGIN);
        let allowed = origin.and_then(|origin| match &self.origins {
            Origins::All => Some(HeaderValue::from_static("*")),
            Origins::These(these) => these.iter().find(|allowed| *allowed == origin).cloned(),
        });
        Crossing {
            allowed,
            is_preflight: method == Method::OPTIONS
                && origin.is_some()
                && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD),
        }
    }

    /// Whether a page of this origin may change the server for its user: only one that is named, and none that is merely let
    /// read.
    pub(crate) fn trusts(&self, origin: &HeaderValue) -> bool {
        matches!(&self.origins, Origins::These(these) if these.contains(origin))
    }

    /// Answers a browser that asks first. It has no credentials yet, so nothing else is asked.
    ///
    /// # Errors
    /// `PermissionDenied` where pages of its site may not.
    pub(crate) fn preflight<B: Default>(&self, crossing: &Crossing) -> Result<Response<B>, Error> {
        if crossing.allowed.is_none() {
            let message =
                "pages of this site may not use the server; its operator names those that may";
            return Err(Error::new(ErrorKind::PermissionDenied, message).with_field("origin"));
        }
        let mut response = Response::new(B::default());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let fields = response.headers_mut();
        fields.insert(ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone());
        fields.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone());
        fields.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        Ok(response)
    }

    /// Says in an answer who may read it.
    pub(crate) fn name<B>(&self, crossing: Crossing, response: &mut Response<B>) {
        let fields = response.headers_mut();
        if matches!(self.origins, Origins::These(_)) {
            // A cache must not give one site's answer to another.
            fields.append(VARY, HeaderValue::from_static("origin"));
        }
        let Some(allowed) = crossing.allowed else {
            return;
        };
        fields.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if self.credentials {
            let yes = HeaderValue::from_static("true");
            fields.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
        }
        if !crossing.is_preflight {
            let exposed = HeaderValue::from_static(EXPOSED);
            fields.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
        }
    }
}

#[cfg(test)]
mod tests;
