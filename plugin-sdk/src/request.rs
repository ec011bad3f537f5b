//! The request that a stage works for.

use std::time::Duration;

use serde::Deserialize;

#[cfg(target_arch = "wasm32")]
pub use crate::bindings::types::Request;

impl Request {
    /// The time left until the deadline of the request; zero when it has passed.
    pub fn remaining(&self) -> Duration {
        Duration::from_millis(self.remaining_ms())
    }
}

/// The name of a header field in a plugin's settings. A text that cannot be one is refused by the setting's name.
///
/// ```
/// use wharf_plugin_sdk::{HeaderName, Request};
///
/// let name: HeaderName = serde_json::from_str(r#""x-user""#)?;
/// let request = Request::new("digits").with_header("X-User", "7");
/// assert_eq!(request.header(name.as_str()).as_deref(), Some("7"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HeaderName(String);

impl HeaderName {
    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HeaderName {
    type Error = &'static str;

    /// Takes a `field-name` of RFC 9110.
    fn try_from(name: String) -> Result<Self, Self::Error> {
        let symbol = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
        let in_names = |byte: u8| byte.is_ascii_alphanumeric() || symbol(byte);
        if name.is_empty() || !name.bytes().all(in_names) {
            return Err("give the name of a header field, such as `x-user`");
        }
        Ok(Self(name))
    }
}

/// The request that a stage works for.
///
/// In the guest each answer costs one host call, so ask only for what you need. In native tests a request is made by
/// [`Request::new`] and the `with_` methods:
///
/// ```
/// use wharf_plugin_sdk::Request;
///
/// let request = Request::new("digits").with_header("X-User", "7");
/// assert_eq!(request.header("x-user").as_deref(), Some("7"));
/// ```
#[cfg(not(target_arch = "wasm32"))]
#[derive(Clone, Debug)]
pub struct Request {
    id: String,
    route: String,
    tenant: Option<String>,
    headers: Vec<(String, String)>,
    remaining: Duration,
}

#[cfg(not(target_arch = "wasm32"))]
impl Request {
    /// Makes a request for a native test: no tenant, no header, 30 seconds left. The guest has no such function.
    pub fn new(route: &str) -> Self {
        Self {
            id: "test-request".to_owned(),
            route: route.to_owned(),
            tenant: None,
            headers: Vec::new(),
            remaining: Duration::from_secs(30),
        }
    }

    /// The same request with another id. Native tests only.
    #[must_use]
    pub fn with_id(self, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..self
        }
    }

    /// The same request with a tenant. Native tests only.
    #[must_use]
    pub fn with_tenant(self, tenant: &str) -> Self {
        Self {
            tenant: Some(tenant.to_owned()),
            ..self
        }
    }

    /// The same request with one more header field. Native tests only.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers
            .push((name.to_ascii_lowercase(), value.to_owned()));
        self
    }

    /// The same request with another time left. Native tests only.
    #[must_use]
    pub fn with_remaining(self, remaining: Duration) -> Self {
        Self { remaining, ..self }
    }

    /// The request id: the one of the `x-request-id` field, or one that the host made.
    pub fn id(&self) -> String {
        self.id.clone()
    }

    /// The name of the route.
    pub fn route(&self) -> String {
        self.route.clone()
    }

    /// The tenant, where the host knows one.
    pub fn tenant(&self) -> Option<String> {
        self.tenant.clone()
    }

    /// The first value of a header field. The name is matched without regard to case.
    pub fn header(&self, name: &str) -> Option<String> {
        let found = self
            .headers
            .iter()
            .find(|(given, _)| given.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    }

    /// Every header field, names in lower case. Credentials (`authorization`, `cookie`) are not among them.
    pub fn headers(&self) -> Vec<(String, String)> {
        let secret = |name: &str| ["authorization", "cookie"].contains(&name);
        self.headers
            .iter()
            .filter(|(name, _)| !secret(name))
            .cloned()
            .collect()
    }

    /// The milliseconds left until the deadline of the request; 0 when it has passed.
    pub fn remaining_ms(&self) -> u64 {
        u64::try_from(self.remaining.as_millis()).unwrap_or(u64::MAX)
    }
}
