//! The request that a pipeline works for.

use std::num::{NonZeroU32, NonZeroU64};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::Principal;

/// The target of the spans on a request's path. The program turns them on only where traces are exported: logs name the
/// request by a field, and a span that nobody reads still costs.
pub const SPAN_TARGET: &str = "wharf::trace";

/// Makes the span of a stage, with a name and fields as `tracing::info_span!` takes them. A request that is not traced has no
/// span, and then neither have its stages: theirs would be traces of their own. Whoever uses it depends on `tracing`.
#[macro_export]
macro_rules! stage_span {
    ($($span:tt)+) => {
        if ::tracing::Span::current().is_none() {
            ::tracing::Span::none()
        } else {
            ::tracing::info_span!(target: $crate::SPAN_TARGET, $($span)+)
        }
    };
}

/// What every stage knows of its request. Shared: a stage keeps it as long as it works.
///
/// A request is cancelled by dropping the future that works for it; whoever holds a resource for a request gives it back
/// in `Drop`. The deadline is checked by those who wait or compute.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The request id: the client's `x-request-id`, or one that the server made.
    pub id: Arc<str>,
    /// The name of the route.
    pub route: Arc<str>,
    /// The tenant, where one is known.
    pub tenant: Option<Arc<str>>,
    /// The header fields, without credentials.
    pub headers: Headers,
    /// When the answer is of no use any more.
    pub deadline: Instant,
    /// How long the operator lets a request of the route take. A client may ask for less, and then the deadline is nearer.
    pub timeout: Duration,
    /// What the client says of its place among others.
    pub scheduling: Scheduling,
    /// How many calls by plugins lie between the client and this request; 0 for the client's own.
    pub depth: u32,
}

/// What a client says of a request's place among others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scheduling {
    /// The level of priority, 1 the highest; none for the model's default.
    pub priority: Option<NonZeroU32>,
    /// The longest that it may wait in the model's queue.
    pub queue_timeout: Option<Duration>,
    /// The sequence that it is part of.
    pub sequence: Option<Sequence>,
}

/// A request's place in a sequence: requests that a model with a memory must see in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequence {
    /// Which one.
    pub id: SequenceId,
    /// Whether it begins with this request.
    pub start: bool,
    /// Whether it ends with this request.
    pub end: bool,
}

/// The name of a sequence, by its client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SequenceId {
    /// A number; 0 is none, and never here.
    Number(NonZeroU64),
    /// Text; the empty one is none, and never here.
    Text(Arc<str>),
}

impl RequestContext {
    /// The time left until the deadline; zero when it has passed.
    #[must_use]
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

/// The header fields of a request that stages may see: credentials are taken out when it is made. Cheap to clone: the fields
/// are shared.
#[derive(Clone, Debug, Default)]
pub struct Headers(Arc<HeaderMap>);

/// What nobody behind the server is to see.
const CREDENTIALS: [HeaderName; 4] = [
    http::header::AUTHORIZATION,
    http::header::PROXY_AUTHORIZATION,
    http::header::COOKIE,
    HeaderName::from_static("x-api-key"),
];
/// The field that says whose request it is. What a client says in it is taken out.
const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
/// The field that says who sent it. What a client says in it is taken out.
const CONTEXT: HeaderName = HeaderName::from_static("x-request-context");

impl Headers {
    /// Takes the fields of a client that nobody knows.
    #[must_use]
    pub fn new(fields: HeaderMap) -> Self {
        Self::of(fields, None)
    }

    /// Takes the fields, without the credentials in `authorization`, `proxy-authorization`, `x-api-key` and `cookie`. What they
    /// say in `x-tenant-id` and `x-request-context` is not what the client said, but what its credentials proved.
    #[must_use]
    pub fn of(mut fields: HeaderMap, principal: Option<&Principal>) -> Self {
        for hidden in CREDENTIALS.iter().chain([&TENANT, &CONTEXT]) {
            fields.remove(hidden);
        }
        if let Some(principal) = principal {
            // A tenant's name is a name: what a field can hold.
            let tenant = principal.tenant.as_deref().map(HeaderValue::from_str);
            if let Some(Ok(tenant)) = tenant {
                fields.insert(TENANT, tenant);
            }
            fields.insert(CONTEXT, principal.context.clone());
        }
        Self(Arc::new(fields))
    }

    /// What [`Headers::of`] would have in a field, of fields that are not taken yet.
    #[must_use]
    pub fn peek<'a>(
        fields: &'a HeaderMap,
        principal: Option<&'a Principal>,
        name: &str,
    ) -> Option<&'a str> {
        if TENANT.as_str().eq_ignore_ascii_case(name) {
            return principal?.tenant.as_deref();
        }
        if CONTEXT.as_str().eq_ignore_ascii_case(name) {
            return principal?.context.to_str().ok();
        }
        let is_hidden = |hidden: &HeaderName| hidden.as_str().eq_ignore_ascii_case(name);
        match CREDENTIALS.iter().any(is_hidden) {
            true => None,
            false => fields.get(name)?.to_str().ok(),
        }
    }

    /// The first value of a field, where it is text. The name is matched without regard to case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.to_str().ok()
    }

    /// Every value of a field that is text, in their order. The name is matched without regard to case.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &str> {
        let values = self.0.get_all(name).iter();
        values.filter_map(|value| value.to_str().ok())
    }

    /// Every field that is text, names in lower case.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_see_no_credentials() {
        let mut fields = HeaderMap::new();
        fields.insert("authorization", "Bearer secret".parse().unwrap());
        fields.insert("cookie", "session=secret".parse().unwrap());
        fields.insert("x-user", "7".parse().unwrap());
        let headers = Headers::new(fields);
        assert_eq!(headers.get("Authorization"), None);
        assert_eq!(headers.get("X-User"), Some("7"));
        assert_eq!(headers.iter().collect::<Vec<_>>(), [("x-user", "7")]);
    }

    #[test]
    fn a_client_does_not_say_whose_request_it_is() {
        let mut fields = HeaderMap::new();
        for value in ["rival", "other"] {
            fields.append("x-tenant-id", value.parse().unwrap());
        }
        fields.insert("x-request-context", "{\"user\":\"root\"}".parse().unwrap());
        fields.insert("x-api-key", "secret".parse().unwrap());
        let headers = Headers::new(fields.clone());
        assert_eq!(headers.iter().count(), 0);

        let principal = Principal {
            tenant: Some("acme".into()),
            subject: "ada".into(),
            roles: Vec::new(),
            scopes: Vec::new(),
            context: HeaderValue::from_static("{\"user\":\"ada\"}"),
        };
        for (name, value) in [
            ("X-Tenant-ID", Some("acme")),
            ("x-request-context", Some("{\"user\":\"ada\"}")),
            ("X-API-Key", None),
        ] {
            assert_eq!(Headers::peek(&fields, Some(&principal), name), value);
        }
        assert_eq!(Headers::peek(&fields, None, "x-tenant-id"), None);
        let headers = Headers::of(fields, Some(&principal));
        let mut seen: Vec<_> = headers.iter().collect();
        seen.sort_unstable();
        let context = ("x-request-context", "{\"user\":\"ada\"}");
        assert_eq!(seen, [context, ("x-tenant-id", "acme")]);
    }
}
